// A real server in this process, on loopback sockets.

#include "server/server.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <chrono>
#include <random>
#include <string>
#include <thread>

#include "engine/storage/memory_store.h"
#include "tests/server/server_harness.h"

namespace cairn::server {
namespace {

TEST_F(ServerTest, ServesSeveralClientsOverItsLoops) {
  Start();
  Client a(server_->port());
  Client b(server_->port());
  Client c(server_->port());
  EXPECT_EQ(a.Ask("set k 0 0 1\r\n1\r\n"), "STORED\r\n");
  EXPECT_EQ(b.Ask("get k\r\n", "END\r\n"), "VALUE k 0 1\r\n1\r\nEND\r\n");
  EXPECT_EQ(c.Ask("incr k 1\r\n"), "2\r\n");
  EXPECT_TRUE(Eventually([&] { return server_->stats().connections() == 3; }));
}

TEST_F(ServerTest, AnswersWhatWasSentBeforeTheClientClosedItsSide) {
  Start();
  Client client(server_->port());
  client.Send("set k 0 0 1\r\n1\r\nget k\r\n");
  client.CloseSending();
  EXPECT_EQ(client.ReadUntil("END\r\n"), "STORED\r\nVALUE k 0 1\r\n1\r\nEND\r\n");
  EXPECT_TRUE(client.AtEnd());
  EXPECT_TRUE(Eventually([&] { return server_->stats().connections() == 0; }));
}

TEST_F(ServerTest, AValueArrivesInManyPieces) {
  Start();
  Client client(server_->port());
  const std::string value(1u << 20, 'v');
  client.Send("set big 0 0 1048576\r\n");
  for (size_t at = 0; at < value.size(); at += 100'000)
    client.Send(std::string_view(value).substr(at, 100'000));
  EXPECT_EQ(client.Ask("\r\n"), "STORED\r\n");
  client.Send("get big\r\n");
  EXPECT_EQ(client.ReadUntil("\r\n"), "VALUE big 0 1048576\r\n");
  EXPECT_TRUE(client.Read(value.size()) == value);
  EXPECT_EQ(client.Read(7), "\r\nEND\r\n");
}

TEST_F(ServerTest, AClientThatDoesNotReadStopsBeingRead) {
  Start();
  Client client(server_->port());
  const std::string value(100'000, 'v');
  EXPECT_EQ(client.Ask("set big 0 0 100000\r\n" + value + "\r\n"), "STORED\r\n");
  // 2,000 × 100 kB is far above what the server keeps for one client and what sockets take.
  constexpr int kGets = 2000;
  std::thread writer([&] {
    for (int i = 0; i < kGets; ++i) client.Send("get big\r\n");
  });
  Client other(server_->port());
  EXPECT_EQ(other.Ask("version\r\n"), "VERSION 1.6.18\r\n") << "others are served meanwhile";
  const size_t one = std::string_view("VALUE big 0 100000\r\n").size() + value.size() + 7;
  size_t right = 0;
  for (int i = 0; i < kGets; ++i) right += client.Read(one).ends_with("\r\nEND\r\n") ? 1 : 0;
  writer.join();
  EXPECT_EQ(right, static_cast<size_t>(kGets));
}

TEST_F(ServerTest, ASlowClientIsClosed) {
  server_options_.slow_client_timeout_s = 1;
  Start();
  Client client(server_->port());
  EXPECT_EQ(client.Ask("set big 0 0 1000000\r\n" + std::string(1'000'000, 'v') + "\r\n"), "STORED\r\n");
  for (int i = 0; i < 100; ++i) client.Send("get big\r\n");
  EXPECT_TRUE(Eventually([&] { return server_->stats().Sum(Counter::kSlowKicks) == 1; }));
}

TEST_F(ServerTest, ABegunRequestThatStandsStillIsClosed) {
  server_options_.slow_client_timeout_s = 1;
  Start();
  Client client(server_->port());
  client.Send("set a 0 0 100\r\nabc");
  EXPECT_TRUE(client.AtEnd());
  EXPECT_EQ(server_->stats().Sum(Counter::kSlowKicks), 1U);
}

TEST_F(ServerTest, IdleConnectionsAreKickedWhenAsked) {
  server_options_.idle_timeout_s = 1;
  Start();
  Client client(server_->port());
  EXPECT_EQ(client.Ask("version\r\n"), "VERSION 1.6.18\r\n");
  EXPECT_TRUE(client.AtEnd());
  EXPECT_EQ(server_->stats().Sum(Counter::kIdleKicks), 1U);
}

TEST_F(ServerTest, TooManyConnectionsAreToldSo) {
  server_options_.connections_max = 2;
  Start();
  Client a(server_->port());
  auto b = std::make_unique<Client>(server_->port());
  EXPECT_EQ(a.Ask("version\r\n"), "VERSION 1.6.18\r\n");
  EXPECT_EQ(b->Ask("version\r\n"), "VERSION 1.6.18\r\n");
  Client c(server_->port());
  EXPECT_EQ(c.ReadUntil("\r\n"), "ERROR Too many open connections\r\n");
  EXPECT_TRUE(c.AtEnd());
  b.reset();
  EXPECT_TRUE(Eventually([&] { return server_->stats().connections() == 1; }));
  Client d(server_->port());
  EXPECT_EQ(d.Ask("version\r\n"), "VERSION 1.6.18\r\n");
}

TEST_F(ServerTest, UnixSocketHasItsModeAndReplacesAStaleOne) {
  const std::string path = ::testing::TempDir() + "cairn_server_test.sock";
  unlink(path.c_str());
  server_options_.unix_socket = path;
  Start();
  struct stat info {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0700U);
  Client client(path);
  ASSERT_TRUE(client.connected());
  EXPECT_EQ(client.Ask("version\r\n"), "VERSION 1.6.18\r\n");

  EXPECT_EQ(BindUnix(path, 0700, 8).code(), Code::kExists) << "somebody listens there";
  server_->Stop();
  EXPECT_NE(stat(path.c_str(), &info), 0) << "the file goes with the server";

  // As after kill -9: a socket file that nobody listens on.
  { auto stale = BindUnix(path, 0700, 8); }
  EXPECT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_TRUE(BindUnix(path, 0600, 8).ok());
  unlink(path.c_str());
  close(creat(path.c_str(), 0600));
  EXPECT_EQ(BindUnix(path, 0700, 8).code(), Code::kExists) << "a file that is no socket stays";
  unlink(path.c_str());
}

TEST_F(ServerTest, ATakenPortIsAClearError) {
  Start();
  ServerOptions second = server_options_;
  second.port = server_->port();
  const auto started = Server::Start(second, *engine_, clock_);
  EXPECT_EQ(started.code(), Code::kExists);
  EXPECT_THAT(std::string(started.status().message()), ::testing::HasSubstr("in use"));
}

TEST_F(ServerTest, AnOnlineUpdateCommandAnswersWhenItIsDoneAndBlocksNobody) {
  Start(std::make_unique<storage::MemoryStore>());
  Client client(server_->port());
  EXPECT_EQ(client.Ask("set a 0 0 3\r\nold\r\n"), "STORED\r\n");
  // The rest of the pipeline is executed after the update has started.
  client.Send("online_update start\r\nset a 0 0 3\r\nnew\r\nonline_update revert\r\nget a\r\n");
  EXPECT_THAT(client.ReadUntil("\r\n"), ::testing::StartsWith("OK started id="));
  EXPECT_EQ(client.ReadUntil("\r\n"), "STORED\r\n");
  EXPECT_THAT(client.ReadUntil("\r\n"), ::testing::HasSubstr("digest=equal"));
  EXPECT_EQ(client.ReadUntil("END\r\n"), "VALUE a 0 3\r\nold\r\nEND\r\n");
}

TEST_F(ServerTest, WithSyncAlwaysAnswersWaitForTheCommit) {
  engine_options_.sync = engine::SyncPolicy::kAlways;
  server_options_.commit_timeout_ms = 300;
  Start(std::make_unique<storage::MemoryStore>());
  Client client(server_->port());
  EXPECT_EQ(client.Ask("set a 0 0 1\r\n1\r\n"), "STORED\r\n");
  EXPECT_GE(server_->stats().Sum(Counter::kHeld), 1U);

  ASSERT_TRUE(engine_->StopPersistence().ok());
  client.Send("set a 0 0 1\r\n2\r\nget a\r\nset b 0 0 1\r\n1\r\n");
  EXPECT_TRUE(client.SilentFor(100)) << "nothing is answered before it is durable";
  Client other(server_->port());
  EXPECT_EQ(other.Ask("get a\r\n", "END\r\n"), "VALUE a 0 1\r\n2\r\nEND\r\n") << "others go on";
  const std::string ambiguous = "SERVER_ERROR ambiguous: not known to be durable\r\n";
  EXPECT_EQ(client.ReadUntil(ambiguous), ambiguous);
  EXPECT_EQ(client.ReadUntil(ambiguous), "VALUE a 0 1\r\n2\r\nEND\r\n" + ambiguous);

  ASSERT_TRUE(engine_->StartPersistence().ok());
  EXPECT_EQ(client.Ask("set a 0 0 1\r\n3\r\n"), "STORED\r\n");
  EXPECT_EQ(client.Ask("get a\r\n", "END\r\n"), "VALUE a 0 1\r\n3\r\nEND\r\n");
}

TEST_F(ServerTest, AClientThatLeavesWhileItsAnswerIsHeldHurtsNobody) {
  engine_options_.sync = engine::SyncPolicy::kAlways;
  server_options_.commit_timeout_ms = 200;
  Start(std::make_unique<storage::MemoryStore>());
  ASSERT_TRUE(engine_->StopPersistence().ok());
  for (int i = 0; i < 20; ++i) {
    Client client(server_->port());
    client.Send("set a 0 0 1\r\n1\r\n");
  }
  ASSERT_TRUE(engine_->StartPersistence().ok());
  EXPECT_TRUE(Eventually([&] { return server_->stats().connections() == 0; }));
  Client client(server_->port());
  EXPECT_EQ(client.Ask("set a 0 0 1\r\n2\r\n"), "STORED\r\n");
}

TEST_F(ServerTest, DrainingLetsARequestFinish) {
  Start();
  Client idle(server_->port());
  EXPECT_EQ(idle.Ask("version\r\n"), "VERSION 1.6.18\r\n");
  Client busy(server_->port());
  busy.Send("set a 0 0 5\r\nab");
  EXPECT_TRUE(Eventually([&] { return server_->stats().connections() == 2; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  std::thread finisher([&] {
    EXPECT_TRUE(idle.AtEnd()) << "who is owed nothing is closed at once";
    busy.Send("cde\r\n");
    EXPECT_EQ(busy.ReadUntil("\r\n"), "STORED\r\n");
    EXPECT_TRUE(busy.AtEnd());
  });
  server_->BeginDrain();
  EXPECT_TRUE(Eventually([&] { return server_->drained(); }));
  finisher.join();
  EXPECT_FALSE(Client(server_->port()).connected());
}

TEST_F(ServerTest, RequestsOfEverySizeArriveInEveryCut) {
  Start();
  Client client(server_->port());
  std::mt19937 random(11);
  std::string stream;
  std::string expected;
  for (int i = 0; i < 400; ++i) {
    const size_t size = random() % 5 == 0 ? random() % 30'000 : random() % 300;
    const std::string value(size, static_cast<char>('a' + i % 26));
    const std::string digits = std::to_string(size);
    stream += "set k 0 0 " + digits + "\r\n" + value + "\r\nget k\r\n";
    expected += "STORED\r\nVALUE k 0 " + digits + "\r\n" + value + "\r\nEND\r\n";
  }
  std::thread writer([&] {
    for (std::string_view rest = stream; !rest.empty();) {
      const size_t cut = std::min<size_t>(rest.size(), 1 + random() % 20'000);
      client.Send(rest.substr(0, cut));
      rest.remove_prefix(cut);
      if (random() % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));
    }
  });
  EXPECT_TRUE(client.Read(expected.size()) == expected);
  writer.join();
}

}  // namespace
}  // namespace cairn::server
