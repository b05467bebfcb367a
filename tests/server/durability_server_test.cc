// Durability over real connections: answers wait for replicas, and for nobody else.

#include <gmock/gmock.h>

#include <chrono>

#include "base/key.h"
#include "engine/storage/memory_store.h"
#include "tests/server/server_harness.h"

namespace cairn::server {
namespace {

using Level = engine::DurabilityLevel;

const std::string kAmbiguous = "SERVER_ERROR ambiguous: not known to be durable\r\n";

class DurabilityServer : public ServerTest {
 protected:
  void Report(std::string_view replica, const std::string& key, uint64_t applied, uint64_t persisted = 0) {
    const Vbid vbucket = VbidOf(key, 16);
    const Result<engine::VbucketHistory> history = engine_->History(vbucket);
    ASSERT_TRUE(history.ok());
    engine_->durability_tracker().Report(replica, vbucket, history->failover_log.front().uuid, Seqno(applied),
                                         Seqno(persisted));
  }
  bool Held(uint64_t batches) {
    return Eventually([&] { return server_->stats().Sum(Counter::kHeld) >= batches; });
  }
};

TEST_F(DurabilityServer, AnAnswerWaitsForTheReplicaAndOthersGoOn) {
  engine_options_.durability = Level::kMajority;
  Start();
  Client client(server_->port());
  EXPECT_EQ(client.Ask("set a 0 0 1\r\n1\r\n"), "SERVER_ERROR durability impossible\r\n");
  Report("replica", "a", 0);
  client.Send("set a 0 0 1\r\n2\r\nset a 0 0 1\r\n3\r\nget a\r\n");
  ASSERT_TRUE(Held(1));
  EXPECT_TRUE(client.SilentFor(50));
  Client other(server_->port());
  EXPECT_EQ(other.Ask("get a\r\n", "END\r\n"), "VALUE a 0 1\r\n3\r\nEND\r\n") << "it is executed";
  Report("replica", "a", 1);
  EXPECT_TRUE(client.SilentFor(50)) << "half of the batch";
  Report("replica", "a", 2);
  EXPECT_EQ(client.ReadUntil("END\r\n"), "STORED\r\nSTORED\r\nVALUE a 0 1\r\n3\r\nEND\r\n");
  EXPECT_EQ(server_->stats().Sum(Counter::kAmbiguous), 0U);
}

TEST_F(DurabilityServer, AReplicaThatLeavesMakesItAmbiguousWhenTheTimeIsOver) {
  engine_options_.durability = Level::kMajority;
  server_options_.durability_timeout_ms = 200;
  Start();
  Report("replica", "a", 0);
  Client client(server_->port());
  client.Send("set a 0 0 1\r\n1\r\nset a 0 0 1\r\n2\r\n");
  ASSERT_TRUE(Held(1));
  Report("replica", "a", 1);
  engine_->durability_tracker().Forget("replica");
  EXPECT_EQ(client.ReadUntil(kAmbiguous), "STORED\r\n" + kAmbiguous) << "the first had arrived";
  EXPECT_EQ(engine_->durability_tracker().waiting(), 0U) << "nobody is left waiting";
  EXPECT_EQ(client.Ask("set a 0 0 1\r\n3\r\n"), "SERVER_ERROR durability impossible\r\n");
  Report("replica", "a", 100);
  EXPECT_EQ(client.Ask("set a 0 0 1\r\n4\r\n"), "STORED\r\n");
}

TEST_F(DurabilityServer, AShortTimeIsNotHeldUpByALongOne) {
  server_options_.durability_timeout_ms = 60'000;
  Start();
  Report("replica", "a", 0);
  // SET a with majority and 100 ms.
  const std::string brief(
      "\x08\x01\x04\x01\x08\x00\x00\x00\x00\x00\x00\x0e\x00\x00\x00\x07"
      "\x00\x00\x00\x00\x00\x00\x00\x00\x13\x01\x00\x64\x00\x00\x00\x00\x00\x00\x00\x00"
      "av",
      38);
  std::string patient = brief;
  patient[26] = '\xea';
  Client slow(server_->port());
  slow.Send(patient);
  ASSERT_TRUE(Held(1));
  Client quick(server_->port());
  quick.Send(brief);
  const std::string answer = quick.Read(24);
  ASSERT_EQ(answer.size(), 24U);
  EXPECT_EQ(answer[7], '\xa3');
  EXPECT_TRUE(slow.SilentFor(10));
  Report("replica", "a", 1);
  EXPECT_EQ(slow.Read(24)[7], '\0');
}

TEST_F(DurabilityServer, AVbucketThatIsTakenAwayEndsTheWait) {
  engine_options_.durability = Level::kMajority;
  server_options_.durability_timeout_ms = 60'000;
  Start();
  Report("replica", "a", 0);
  Client client(server_->port());
  client.Send("set a 0 0 1\r\n1\r\n");
  ASSERT_TRUE(Held(1));
  engine_->SetVbucketState(VbidOf("a", 16), engine::VbucketState::kDead,
                           [](const Status& status) { EXPECT_TRUE(status.ok()); });
  EXPECT_EQ(client.ReadUntil("\r\n"), kAmbiguous);
}

TEST_F(DurabilityServer, PersistedIsSyncedAtOnceWhateverTheInterval) {
  engine_options_.durability = Level::kPersisted;
  engine_options_.sync_interval_ms = 3'600'000;
  server_options_.durability_timeout_ms = 300;
  Start(std::make_unique<storage::MemoryStore>());
  Client client(server_->port());
  for (int i = 0; i < 20; ++i) EXPECT_EQ(client.Ask("set a 0 0 1\r\n1\r\n"), "STORED\r\n");
  ASSERT_TRUE(engine_->StopPersistence().ok());
  EXPECT_EQ(client.Ask("set a 0 0 1\r\n1\r\n"), kAmbiguous);
  ASSERT_TRUE(engine_->StartPersistence().ok());
  EXPECT_EQ(client.Ask("set a 0 0 1\r\n1\r\n"), "STORED\r\n");
}

TEST_F(DurabilityServer, AClientThatLeavesWaitsForNothing) {
  engine_options_.durability = Level::kMajority;
  server_options_.durability_timeout_ms = 500;
  Start();
  Report("replica", "a", 0);
  for (int i = 0; i < 20; ++i) {
    Client client(server_->port());
    client.Send("set a 0 0 1\r\n1\r\n");
  }
  EXPECT_TRUE(Eventually([&] { return server_->stats().connections() == 0; }));
  EXPECT_EQ(engine_->durability_tracker().waiting(), 0U);
  Report("replica", "a", 1'000'000);
  Client client(server_->port());
  EXPECT_EQ(client.Ask("set a 0 0 1\r\n1\r\n"), "STORED\r\n");
}

// Replicas come, go and report while clients write: every answer is one of the three, and those that say
// STORED were reported by the replica.
TEST_F(DurabilityServer, ManyClientsAndARestlessReplica) {
  engine_options_.durability = Level::kMajority;
  server_options_.durability_timeout_ms = 50;
  Start();
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> reported{0};
  std::thread replica([&] {
    for (int turn = 0; !stop.load(); ++turn) {
      if (turn % 7 == 6) {
        engine_->durability_tracker().Forget("replica");
      } else {
        // What was applied is remembered before it is said.
        const uint64_t high = engine_->History(VbidOf("a", 16))->high.get();
        reported.store(std::max(reported.load(), high));
        Report("replica", "a", high);
      }
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  });
  std::array<std::atomic<uint64_t>, 3> outcomes{};
  std::vector<std::thread> clients;
  for (int c = 0; c < 4; ++c) {
    clients.emplace_back([&] {
      Client client(server_->port());
      for (int i = 0; i < 300; ++i) {
        client.Ask("incr a 1\r\n");
        const std::string answer = client.Ask("set a 0 0 1\r\n1\r\n");
        if (answer == "STORED\r\n") {
          ++outcomes[0];
        } else if (answer == kAmbiguous) {
          ++outcomes[1];
        } else {
          EXPECT_EQ(answer, "SERVER_ERROR durability impossible\r\n");
          ++outcomes[2];
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
  stop.store(true);
  replica.join();
  EXPECT_EQ(outcomes[0] + outcomes[1] + outcomes[2], 1200U);
  EXPECT_GT(outcomes[0], 0U);
  // A seqno that nobody reported cannot have been answered STORED.
  EXPECT_LE(outcomes[0].load(), reported.load());
  EXPECT_EQ(engine_->durability_tracker().waiting(), 0U);
}

}  // namespace
}  // namespace cairn::server
