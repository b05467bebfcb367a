#include "cli/command_line.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace cairn::cli {
namespace {

ParsedCommandLine Parse(const std::vector<std::string>& args, const std::string& environment = "") {
  return ParseCommandLine(args, {.server = environment, .admin = ""});
}

Options MustParse(const std::vector<std::string>& args, const std::string& environment = "") {
  ParsedCommandLine parsed = Parse(args, environment);
  EXPECT_TRUE(parsed.options.has_value()) << parsed.text;
  return parsed.options ? *parsed.options : Options{};
}

TEST(CommandLineTest, EveryCommandIsKnown) {
  EXPECT_EQ(MustParse({"update", "start"}).command, Command::kUpdateStart);
  EXPECT_EQ(MustParse({"update", "complete"}).command, Command::kUpdateComplete);
  EXPECT_EQ(MustParse({"update", "revert"}).command, Command::kUpdateRevert);
  EXPECT_EQ(MustParse({"update", "status"}).command, Command::kUpdateStatus);
  EXPECT_EQ(MustParse({"update", "watch"}).command, Command::kUpdateWatch);
  EXPECT_EQ(MustParse({"status"}).command, Command::kStatus);
  EXPECT_EQ(MustParse({"stats"}).command, Command::kStats);
  EXPECT_EQ(MustParse({"vbuckets"}).command, Command::kVbuckets);
  EXPECT_EQ(MustParse({"checkpoints"}).command, Command::kCheckpoints);
  EXPECT_EQ(MustParse({"load", "f"}).command, Command::kLoad);
  EXPECT_EQ(MustParse({"dump"}).command, Command::kDump);
  EXPECT_EQ(MustParse({"verify", "f"}).command, Command::kVerify);
  EXPECT_EQ(MustParse({"get", "k"}).command, Command::kGet);
  EXPECT_EQ(MustParse({"set", "k", "v"}).command, Command::kSet);
  EXPECT_EQ(MustParse({"delete", "k"}).command, Command::kDelete);
  EXPECT_EQ(MustParse({"version"}).command, Command::kVersion);
}

TEST(CommandLineTest, TheServerComesFromTheFlagThenTheEnvironmentThenTheDefault) {
  EXPECT_EQ(MustParse({"status"}).client.address.ToString(), "127.0.0.1:11211");
  EXPECT_EQ(MustParse({"status"}, "unix:/run/cairn.sock").client.address.unix_path, "/run/cairn.sock");
  EXPECT_EQ(MustParse({"--server", "h:1", "status"}, "unix:/x").client.address.ToString(), "h:1");
  // Behind the command too.
  EXPECT_EQ(MustParse({"update", "status", "--server", "h:2"}).client.address.ToString(), "h:2");
  EXPECT_EQ(Parse({"status"}, "h:").exit_code, 2);
}

TEST(CommandLineTest, OptionsOfLoadReachIt) {
  const Options options =
      MustParse({"load", "--connections", "4", "--flags", "7", "--expiry", "60", "--prefix", "p:", "--format",
                 "jsonl", "--timeout", "2.5", "--json", "--progress", "-"});
  EXPECT_EQ(options.connections, 4u);
  EXPECT_EQ(options.flags, 7u);
  EXPECT_EQ(options.expiry, 60u);
  EXPECT_EQ(options.prefix, "p:");
  EXPECT_EQ(options.format, RecordFormat::kJsonl);
  EXPECT_EQ(options.client.timeout_ms, 2500);
  EXPECT_TRUE(options.json);
  EXPECT_EQ(options.progress, Progress::Mode::kOn);
  EXPECT_EQ(options.file, "-");
}

TEST(CommandLineTest, TheFormatFollowsTheFilesNameUnlessGiven) {
  EXPECT_EQ(MustParse({"load", "x_Packages"}).format, RecordFormat::kDebian);
  EXPECT_EQ(MustParse({"load", "x.jsonl"}).format, RecordFormat::kJsonl);
  EXPECT_EQ(MustParse({"load", "x.tsv"}).format, RecordFormat::kTsv);
  EXPECT_EQ(MustParse({"load", "-"}).format, RecordFormat::kTsv);
  EXPECT_EQ(MustParse({"load", "x.jsonl", "--format", "tsv"}).format, RecordFormat::kTsv);
  // A dump cannot write stanzas.
  EXPECT_EQ(MustParse({"dump", "x_Packages"}).format, RecordFormat::kTsv);
  EXPECT_EQ(Parse({"dump", "--format", "debian"}).exit_code, 2);
}

TEST(CommandLineTest, UpdateTakesNameAndId) {
  const Options options =
      MustParse({"update", "start", "--name", "catalogue-2", "--id", "000102030405060708090A0B0C0D0E0F"});
  EXPECT_EQ(options.name, "catalogue-2");
  ASSERT_TRUE(options.id.has_value());
  EXPECT_EQ(options.id->ToHex(), "000102030405060708090a0b0c0d0e0f");
  EXPECT_EQ(Parse({"update", "revert", "--id", "abc"}).exit_code, 2);
  EXPECT_EQ(Parse({"update", "revert", "--id", std::string(32, '0')}).exit_code, 2);
  EXPECT_EQ(Parse({"update", "start", "--name", "with blank"}).exit_code, 2);
  EXPECT_EQ(Parse({"update", "start", "--name", std::string(65, 'x')}).exit_code, 2);
}

TEST(CommandLineTest, OnlyDeleteTakesManyKeys) {
  EXPECT_EQ(MustParse({"delete", "--", "a", "-b", "c"}).keys, (std::vector<std::string>{"a", "-b", "c"}));
  const Options set = MustParse({"set", "k", "v", "--flags", "3"});
  EXPECT_EQ(set.keys, std::vector<std::string>{"k"});
  EXPECT_EQ(set.value, "v");
  EXPECT_EQ(set.flags, 3u);
}

TEST(CommandLineTest, WrongUsageIsSaidAndHasItsExitCode) {
  const std::vector<std::vector<std::string>> wrong = {{},
                                                       {"nonsense"},
                                                       {"update"},
                                                       {"update", "nonsense"},
                                                       {"get"},
                                                       {"get", ""},
                                                       {"get", std::string(251, 'k')},
                                                       {"get", "a", "b"},
                                                       {"load"},
                                                       {"load", "f", "--format", "xml"},
                                                       {"load", "f", "--connections", "0"},
                                                       {"load", "f", "--flags", "-1"},
                                                       {"load", "f", "--prefix", std::string(250, 'p')},
                                                       {"vbuckets", "--state", "asleep"},
                                                       {"checkpoints", "65536"},
                                                       {"status", "--timeout", "0"},
                                                       {"status", "--progress", "--no-progress"}};
  for (const auto& args : wrong) {
    const ParsedCommandLine parsed = Parse(args);
    EXPECT_FALSE(parsed.options.has_value()) << testing::PrintToString(args);
    EXPECT_EQ(parsed.exit_code, 2) << testing::PrintToString(args);
    EXPECT_EQ(parsed.text.find("cairnctl: "), 0u) << parsed.text;
  }
  EXPECT_NE(Parse({"nonsense"}).text.find("nonsense"), std::string::npos);
}

TEST(CommandLineTest, HelpNamesCommandsExamplesAndExitCodes) {
  const ParsedCommandLine parsed = Parse({"--help"});
  EXPECT_EQ(parsed.exit_code, 0);
  EXPECT_FALSE(parsed.options.has_value());
  for (const char* part : {"update", "load", "verify", "Examples:", "Exit codes:", "--server"}) {
    EXPECT_NE(parsed.text.find(part), std::string::npos) << part;
  }
  EXPECT_NE(Parse({"load", "--help"}).text.find("Formats:"), std::string::npos);
  EXPECT_NE(Parse({"update", "start", "--help"}).text.find("--name"), std::string::npos);
  EXPECT_EQ(Parse({"--version"}).text, std::string("cairnctl ") + kToolVersion + "\n");
}

TEST(AddressTest, ReadsAllForms) {
  const auto text = [](std::string_view from) {
    const Result<Address> address = ParseAddress(from);
    return address.ok() ? address->ToString() : "refused";
  };
  EXPECT_EQ(text("localhost:11211"), "localhost:11211");
  EXPECT_EQ(text("localhost"), "localhost:11211");
  EXPECT_EQ(text("[::1]:4000"), "[::1]:4000");
  EXPECT_EQ(text("[::1]"), "[::1]:11211");
  EXPECT_EQ(text("unix:/a:b"), "unix:/a:b");
  for (const char* bad :
       {"", ":1", "h:", "h:0", "h:65536", "h:x", "::1", "::1:11211", "[::1", "[::1]x", "[]:1", "unix:"}) {
    EXPECT_EQ(text(bad), "refused") << bad;
  }
}

}  // namespace
}  // namespace cairn::cli
