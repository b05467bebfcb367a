#include "server/config.h"

#include <gmock/gmock.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

namespace cairn::server {
namespace {

using ::testing::HasSubstr;

ParsedConfig Parse(const std::vector<std::string>& args) { return ParseConfig(args); }

Config Accept(const std::vector<std::string>& args) {
  const ParsedConfig parsed = Parse(args);
  EXPECT_TRUE(parsed.config.has_value()) << parsed.text;
  return parsed.config.value_or(Config{});
}

std::string Refused(const std::vector<std::string>& args) {
  const ParsedConfig parsed = Parse(args);
  EXPECT_FALSE(parsed.config.has_value());
  EXPECT_EQ(parsed.exit_code, kExitUsage);
  return parsed.text;
}

TEST(ParseConfig, DefaultsJustWork) {
  const Config config = Accept({});
  EXPECT_EQ(config.server.port, 11211);
  EXPECT_TRUE(config.server.listen.empty());
  EXPECT_GE(config.server.threads, 1U);
  EXPECT_LE(config.server.threads, 4U);
  EXPECT_EQ(config.engine.data_dir, "cairn-data");
  EXPECT_EQ(config.engine.vbuckets, 1024U);
  EXPECT_EQ(config.engine.sync, engine::SyncPolicy::kInterval);
}

TEST(ParseConfig, ReadsEveryKindOfSetting) {
  const Config config = Accept({"-l",
                                "127.0.0.2",
                                "--listen",
                                "::1",
                                "-p",
                                "12000",
                                "-m",
                                "64m",
                                "--vbuckets=64",
                                "-t",
                                "3",
                                "--max-item-size",
                                "2MiB",
                                "--unix-socket",
                                "/run/c.sock",
                                "--unix-socket-mode",
                                "0660",
                                "--sync",
                                "always",
                                "--update-on-restart",
                                "revert",
                                "--update-at-cap",
                                "complete",
                                "--log-level",
                                "warn",
                                "--idle-timeout",
                                "30",
                                "-c",
                                "77",
                                "--data-dir",
                                "/data"});
  EXPECT_EQ(config.server.listen, (std::vector<std::string>{"127.0.0.2", "::1"}));
  EXPECT_EQ(config.server.port, 12000);
  EXPECT_EQ(config.engine.memory_quota, 64U << 20);
  EXPECT_EQ(config.engine.vbuckets, 64U);
  EXPECT_EQ(config.server.threads, 3U);
  EXPECT_EQ(config.engine.max_item_size, 2U << 20);
  EXPECT_EQ(config.server.unix_socket, "/run/c.sock");
  EXPECT_EQ(config.server.unix_socket_mode, 0660U);
  EXPECT_EQ(config.engine.sync, engine::SyncPolicy::kAlways);
  EXPECT_EQ(config.engine.update_on_restart, engine::OnRestart::kRevert);
  EXPECT_EQ(config.engine.update_at_cap, engine::AtWindowCap::kComplete);
  EXPECT_EQ(config.log.level, LogLevel::kWarn);
  EXPECT_EQ(config.server.idle_timeout_s, 30U);
  EXPECT_EQ(config.server.connections_max, 77U);
  EXPECT_EQ(config.engine.data_dir, "/data");
}

TEST(ParseConfig, RefusalsSayWhatWouldBeAccepted) {
  EXPECT_THAT(Refused({"--port", "70000"}), HasSubstr("0 to 65535"));
  EXPECT_THAT(Refused({"--port", "x"}), HasSubstr("--port"));
  EXPECT_THAT(Refused({"--memory-quota", "lots"}), HasSubstr("is not a size"));
  EXPECT_THAT(Refused({"--memory-quota", "1k"}), HasSubstr("16.0 MiB"));
  EXPECT_THAT(Refused({"--max-item-size", "21m"}), HasSubstr("20 MiB"));
  EXPECT_THAT(Refused({"--vbuckets", "1000"}), HasSubstr("power of two"));
  EXPECT_THAT(Refused({"--sync", "sometimes"}), HasSubstr("always|interval|none"));
  EXPECT_THAT(Refused({"--unix-socket-mode", "999"}), HasSubstr("mode"));
  EXPECT_THAT(Refused({"--listen", "example.org"}), HasSubstr("numeric"));
  EXPECT_THAT(Refused({"--no-such-flag"}), HasSubstr("--no-such-flag"));
  EXPECT_THAT(Refused({"stray"}), HasSubstr("stray"));
  EXPECT_THAT(Refused({"--low-watermark", "90"}), HasSubstr("--low-watermark"));
  EXPECT_THAT(Refused({"--port", "0"}), HasSubstr("nothing to listen on"));
  EXPECT_THAT(Refused({"--memory-only", "--sync", "always"}), HasSubstr("--memory-only"));
  EXPECT_THAT(Refused({"--unix-socket", std::string(200, 'x')}), HasSubstr("107"));
}

TEST(ParseConfig, ReplicationIsOffUnlessAskedFor) {
  const Config off = Accept({"--tap-port", "0"});
  EXPECT_FALSE(off.replication.tap_port.has_value());
  EXPECT_FALSE(off.replication.admin_port.has_value());
  EXPECT_TRUE(off.replication.urgent);
  const Config on = Accept({"--tap-port",
                            "11209",
                            "--admin-port",
                            "auto",
                            "--replica-of",
                            "[::1]:11309",
                            "--node-name",
                            "b",
                            "--tap-window",
                            "64m",
                            "--tombstone-retention",
                            "7",
                            "--durability",
                            "majority",
                            "--copies",
                            "3",
                            "--listen",
                            "127.0.0.2",
                            "--urgent-replication",
                            "off"});
  EXPECT_EQ(on.replication.tap_port, 11209);
  EXPECT_EQ(on.replication.admin_port, 0);
  EXPECT_EQ(on.replication.replica_of, "[::1]:11309");
  EXPECT_EQ(on.replication.node_name, "b");
  EXPECT_EQ(on.replication.window_bytes, 64U << 20);
  EXPECT_EQ(on.replication.listen, std::vector<std::string>{"127.0.0.2"});
  EXPECT_EQ(on.engine.tombstone_retention_s, 7U);
  EXPECT_EQ(on.engine.durability, engine::DurabilityLevel::kMajority);
  EXPECT_EQ(on.engine.durability_copies, 3U);
  EXPECT_FALSE(on.replication.urgent);
}

TEST(ParseConfig, ReplicationSettingsAreChecked) {
  EXPECT_THAT(Refused({"--tap-port", "70000"}), HasSubstr("nor auto"));
  EXPECT_THAT(Refused({"--admin-port", "1x"}), HasSubstr("nor auto"));
  EXPECT_THAT(Refused({"--node-name", "a b"}), HasSubstr("not a name"));
  for (const char* address : {"host", "host:", "host:0", "host:65536", ":1", "::1:7", "a b:7", "h:7x"}) {
    EXPECT_THAT(Refused({"--replica-of", address}), HasSubstr("is not HOST:PORT")) << address;
  }
  EXPECT_THAT(Refused({"--tap-window", "12m", "-I", "2m"}), HasSubstr("--tap-window"));
  EXPECT_THAT(Refused({"--copies", "65"}), HasSubstr("--copies"));
  EXPECT_THAT(Refused({"--tap-port", "7070", "--tap-listen", "localhost"}), HasSubstr("not a numeric"));
}

TEST(ParseConfig, ReplicationNeedsADisk) {
  EXPECT_THAT(Refused({"--memory-only", "--tap-port", "7070"}), HasSubstr("--tap-port needs a disk"));
  EXPECT_THAT(Refused({"--memory-only", "--admin-port", "7070"}), HasSubstr("--admin-port needs a disk"));
  EXPECT_THAT(Refused({"--memory-only", "--replica-of", "h:7070"}), HasSubstr("--replica-of needs a disk"));
  EXPECT_THAT(Refused({"--memory-only", "--durability", "persisted"}),
              HasSubstr("--durability needs a disk"));
}

TEST(ParseConfig, MachinesThatReachReplicationNeedCertificates) {
  const std::vector<std::string> open = {"--tap-port", "7070", "--tap-listen", "0.0.0.0"};
  EXPECT_THAT(Refused(open), HasSubstr("mutual TLS"));
  EXPECT_THAT(Refused({"--listen", "0.0.0.0", "--allow-remote", "--admin-port", "7071"}),
              HasSubstr("mutual TLS"));
  EXPECT_THAT(Refused({"--tls-cert", "c.pem", "--tls-key", "k.pem"}), HasSubstr("go together"));
  Accept({"--tap-port", "7070", "--tap-listen", "0.0.0.0", "--tls-cert", "c", "--tls-key", "k", "--tls-ca",
          "a"});
  Accept({"--listen", "0.0.0.0", "--allow-remote", "--tap-port", "7070", "--tap-listen", "127.0.0.1"});
}

TEST(ParseConfig, TheNodeIsNamedByItsHostAndPort) {
  const std::string name = Accept({"-p", "12345"}).replication.node_name;
  EXPECT_THAT(name, ::testing::MatchesRegex("[A-Za-z0-9._-]+-12345"));
  EXPECT_LE(name.size(), 64U);
}

TEST(ParseConfig, AnAddressThatOthersReachMustBeAllowed) {
  EXPECT_THAT(Refused({"--listen", "0.0.0.0"}), HasSubstr("--allow-remote"));
  EXPECT_THAT(Refused({"--listen", "127.0.0.1", "--listen", "::"}), HasSubstr("--allow-remote"));
  Accept({"--listen", "0.0.0.0", "--allow-remote"});
}

TEST(ParseConfig, MemoryOnlyHasNoDataDirectory) { EXPECT_EQ(Accept({"--memory-only"}).engine.data_dir, ""); }

TEST(ParseConfig, HelpAndVersionAreNoErrors) {
  const ParsedConfig help = Parse({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const char* flag : {"--listen", "--port", "--tap-port", "--admin-port", "--data-dir", "--memory-quota",
                           "--vbuckets", "--threads", "--max-item-size", "--unix-socket", "--sync",
                           "--replica-of", "--config", "Exit codes"}) {
    EXPECT_THAT(help.text, HasSubstr(flag));
  }
  std::istringstream lines(help.text);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 110U) << line;
  EXPECT_EQ(Parse({"--version"}).text, std::string("cairnd ") + kCairnVersion + "\n");
}

class ConfigFile : public ::testing::Test {
 protected:
  void Write(const std::string& text) { std::ofstream(path_) << text; }
  void TearDown() override { std::filesystem::remove(path_); }
  const std::string path_ = ::testing::TempDir() + "cairnd_config_test.toml";
};

TEST_F(ConfigFile, GivesSettingsAndAFlagWins) {
  Write(
      "port = 12001\nmemory-quota = \"32m\"\nlisten = [\"127.0.0.1\", \"127.0.0.2\"]\nmemory-only = true\n");
  const Config config = Accept({"--config", path_, "--port", "12002"});
  EXPECT_EQ(config.server.port, 12002);
  EXPECT_EQ(config.engine.memory_quota, 32U << 20);
  EXPECT_EQ(config.server.listen.size(), 2U);
  EXPECT_EQ(config.engine.data_dir, "");
  EXPECT_EQ(config.config_file, path_);
}

TEST_F(ConfigFile, IsCheckedLikeFlags) {
  Write("port = 99999\n");
  EXPECT_THAT(Refused({"--config", path_}), HasSubstr("65535"));
  Write("prot = 1\n");
  EXPECT_THAT(Refused({"--config", path_}), HasSubstr("prot"));
  EXPECT_THAT(Refused({"--config", path_ + ".missing"}), HasSubstr("missing"));
}

TEST(ClassifyAddress, KnowsLoopback) {
  EXPECT_TRUE(ClassifyAddress("127.0.0.1").loopback);
  EXPECT_TRUE(ClassifyAddress("127.9.9.9").loopback);
  EXPECT_TRUE(ClassifyAddress("::1").loopback);
  EXPECT_TRUE(ClassifyAddress("::ffff:127.0.0.1").loopback);
  EXPECT_TRUE(ClassifyAddress("192.0.2.1").valid);
  EXPECT_FALSE(ClassifyAddress("192.0.2.1").loopback);
  EXPECT_FALSE(ClassifyAddress("::").loopback);
  EXPECT_FALSE(ClassifyAddress("localhost").valid);
}

}  // namespace
}  // namespace cairn::server
