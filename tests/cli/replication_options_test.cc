#include "cli/replication_options.h"

#include <gtest/gtest.h>

#include "cli/command_line.h"

namespace cairn::cli {
namespace {

ParsedCommandLine Parse(const std::vector<std::string>& args, const std::string& admin = "") {
  return ParseCommandLine(args, {.server = "", .admin = admin});
}

Options MustParse(const std::vector<std::string>& args, const std::string& admin = "") {
  ParsedCommandLine parsed = Parse(args, admin);
  EXPECT_TRUE(parsed.options.has_value()) << parsed.text;
  return parsed.options ? *parsed.options : Options{};
}

TEST(ReplicationOptionsTest, EveryCommandIsKnown) {
  EXPECT_EQ(MustParse({"replicate", "add", "h:1"}).command, Command::kReplicateAdd);
  EXPECT_EQ(MustParse({"replicate", "remove", "h:1"}).command, Command::kReplicateRemove);
  EXPECT_EQ(MustParse({"replicate", "list"}).command, Command::kReplicateList);
  EXPECT_EQ(MustParse({"replicate", "watch"}).command, Command::kReplicateWatch);
  EXPECT_EQ(MustParse({"replicate", "verify", "--peer", "h"}).command, Command::kReplicateVerify);
  EXPECT_EQ(MustParse({"tap"}).command, Command::kTap);
  EXPECT_EQ(MustParse({"promote"}).command, Command::kPromote);
  EXPECT_EQ(MustParse({"demote", "--all"}).command, Command::kDemote);
  EXPECT_EQ(MustParse({"takeover", "h:1"}).command, Command::kTakeover);
  EXPECT_EQ(MustParse({"durability"}).command, Command::kDurability);
}

TEST(ReplicationOptionsTest, TheAdminPortComesFromTheFlagThenTheEnvironmentThenTheDefault) {
  EXPECT_EQ(MustParse({"tap"}).replication.admin.address, "127.0.0.1:11212");
  EXPECT_EQ(MustParse({"tap"}, "node-b").replication.admin.address, "node-b:11212");
  EXPECT_EQ(MustParse({"tap", "--admin", "[::1]:9"}, "node-b").replication.admin.address, "[::1]:9");
  EXPECT_EQ(Parse({"tap"}, "unix:/x").exit_code, 2);
  EXPECT_EQ(Parse({"tap", "--admin", ":1"}).exit_code, 2);
}

TEST(ReplicationOptionsTest, ASourceNeedsAPortAndAPeersAdminPortHasADefault) {
  EXPECT_EQ(Parse({"replicate", "add", "host"}).exit_code, 2);
  EXPECT_EQ(Parse({"takeover", "host"}).exit_code, 2);
  EXPECT_EQ(MustParse({"takeover", "[::1]:11209"}).replication.address, "[::1]:11209");
  EXPECT_EQ(MustParse({"replicate", "verify", "--peer", "host"}).replication.address, "host:11212");
}

TEST(ReplicationOptionsTest, VbucketsAreAllOrThoseOfTheList) {
  EXPECT_TRUE(MustParse({"promote"}).replication.choice.all);
  EXPECT_TRUE(MustParse({"promote", "--all"}).replication.choice.all);
  const ReplicationOptions some =
      MustParse({"promote", "--vbuckets", "2,0-1", "--epoch-min", "9", "--wait", "1.5"}).replication;
  EXPECT_FALSE(some.choice.all);
  EXPECT_EQ(some.choice.vbuckets, (std::vector<uint32_t>{0, 1, 2}));
  EXPECT_EQ(some.epoch_min, 9u);
  EXPECT_FALSE(some.force);
  EXPECT_TRUE(MustParse({"promote", "--force"}).replication.force);
  EXPECT_EQ(some.wait_ms, 1500);
  EXPECT_EQ(MustParse({"tap", "--vbuckets", "5"}).replication.streams.vbuckets, std::vector<uint32_t>{5});
}

TEST(ReplicationOptionsTest, DemoteNamesWhatClientsLose) {
  EXPECT_EQ(Parse({"demote"}).exit_code, 2);
  EXPECT_NE(Parse({"demote"}).text.find("--vbuckets LIST or --all"), std::string::npos);
  EXPECT_EQ(MustParse({"demote", "--vbuckets", "1"}).replication.state, "replica");
  EXPECT_EQ(MustParse({"demote", "--all", "--to", "dead"}).replication.state, "dead");
}

TEST(ReplicationOptionsTest, DurabilitySetsOnlyWhatIsNamed) {
  const ReplicationOptions shown = MustParse({"durability"}).replication;
  EXPECT_EQ(shown.level, "");
  EXPECT_FALSE(shown.copies || shown.timeout_ms);
  const ReplicationOptions set =
      MustParse({"durability", "persisted-majority", "--copies", "3", "--timeout-ms", "250"}).replication;
  EXPECT_EQ(set.level, "persisted-majority");
  EXPECT_EQ(set.copies, 3u);
  EXPECT_EQ(set.timeout_ms, 250u);
}

TEST(ReplicationOptionsTest, WrongUsageIsSaidAndHasItsExitCode) {
  const std::vector<std::vector<std::string>> wrong = {{"replicate"},
                                                       {"replicate", "add"},
                                                       {"replicate", "add", "h:1", "--vbuckets", "3-1"},
                                                       {"replicate", "add", "h:1", "--name", "with blank"},
                                                       {"replicate", "verify"},
                                                       {"replicate", "watch", "--interval", "0"},
                                                       {"promote", "--all", "--vbuckets", "1"},
                                                       {"demote", "--all", "--to", "active"},
                                                       {"tap", "--sort", "name"},
                                                       {"tap", "--state", "asleep"},
                                                       {"tap", "--tls-cert", "f"},
                                                       {"tap", "--tls-ca", "f"},
                                                       {"durability", "safe"},
                                                       {"durability", "--copies", "0"},
                                                       {"durability", "--timeout-ms", "0"}};
  for (const auto& args : wrong) {
    const ParsedCommandLine parsed = Parse(args);
    EXPECT_FALSE(parsed.options.has_value()) << testing::PrintToString(args);
    EXPECT_EQ(parsed.exit_code, 2) << testing::PrintToString(args);
    EXPECT_EQ(parsed.text.find("cairnctl: "), 0u) << parsed.text;
  }
}

TEST(ReplicationOptionsTest, AnAnswerIsTheNodesWordsOrTheTransports) {
  AdminOptions options;
  options.address = "h:1";
  const auto code = [&](int grpc_code, const std::string& details) {
    return StatusOfAnswer(grpc_code, details, options).code();
  };
  EXPECT_EQ(code(0, ""), Code::kOk);
  EXPECT_EQ(code(9, "NOT_SUPPORTED: an online update is open"), Code::kNotSupported);
  EXPECT_EQ(StatusOfAnswer(9, "NOT_SUPPORTED: x", options).message(), "NOT_SUPPORTED: x");
  // The node has answered: these are no broken connections, and no missing key.
  EXPECT_EQ(code(4, "TIMEOUT: 3 vbuckets have not arrived"), Code::kInternal);
  EXPECT_EQ(code(5, "NOT_FOUND: no such source"), Code::kInternal);
  // It has not.
  EXPECT_EQ(code(14, "failed to connect to all addresses"), Code::kIoError);
  EXPECT_EQ(code(4, "Deadline Exceeded"), Code::kTimeout);
  EXPECT_EQ(code(12, ""), Code::kNotSupported);
  EXPECT_EQ(code(13, "stream broken"), Code::kInternal);
  EXPECT_EQ(StatusOfAnswer(14,
                           "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: "
                           "Connection refused",
                           options)
                .message(),
            "cannot reach the admin port h:1: ipv4:127.0.0.1:1: Connection refused");
}

TEST(ReplicationOptionsTest, AConnectionThatTheNodeClosesMayBeForWantOfACertificate) {
  AdminOptions options;
  options.address = "h:1";
  const auto text = [&](const std::string& details) {
    return std::string(StatusOfAnswer(14, details, options).message());
  };
  EXPECT_NE(text("UNAVAILABLE: ipv4:127.0.0.1:1: Socket closed").find("wants TLS there"), std::string::npos);
  EXPECT_NE(text("Connection reset by peer").find("wants TLS there"), std::string::npos);
  EXPECT_EQ(text("Connection refused").find("TLS"), std::string::npos);
  options.tls_cert = "c";
  EXPECT_NE(text("Socket closed").find("does not believe the certificate"), std::string::npos);
  EXPECT_EQ(text("Socket closed").find("wants TLS"), std::string::npos);
}

}  // namespace
}  // namespace cairn::cli
