#include "tests/sim/network.h"

#include <gtest/gtest.h>

#include <string>

namespace cairn::sim {
namespace {

class NetworkTest : public ::testing::Test {
 protected:
  LinkId Connect(NodeIndex consumer = 0, NodeIndex producer = 1) {
    return network_.Connect(
        consumer, producer, [this] { consumer_knows_ns_ = queue_.now_ns(); },
        [this] { producer_knows_ns_ = queue_.now_ns(); });
  }
  void Send(LinkId link, Side from, char c) {
    network_.Send(link, from, [this, c] { arrived_ += c; });
  }
  void RunAll() {
    while (queue_.RunNext()) {
    }
  }

  EventQueue queue_{1};
  Network network_{queue_, 2};
  std::string arrived_;
  int64_t consumer_knows_ns_ = 0, producer_knows_ns_ = 0;
};

TEST_F(NetworkTest, DeliversInOrderAfterADelay) {
  const LinkId link = Connect();
  for (char c = 'a'; c <= 'z'; ++c) Send(link, Side::kProducer, c);
  EXPECT_EQ(network_.in_flight(link, Side::kProducer), 26u);
  EXPECT_EQ(arrived_, "");
  RunAll();
  EXPECT_EQ(arrived_, "abcdefghijklmnopqrstuvwxyz");
  EXPECT_EQ(network_.arrivals(), 26u);
  EXPECT_GT(queue_.now_ns(), 0);
}

TEST_F(NetworkTest, ACutLosesATailAndTellsBothEndsAfterwards) {
  bool lost_some = false, lost_all = false;
  for (int i = 0; i < 50; ++i) {
    arrived_.clear();
    consumer_knows_ns_ = producer_knows_ns_ = 0;
    const LinkId link = Connect();
    for (char c = 'a'; c <= 'f'; ++c) Send(link, Side::kProducer, c);
    network_.Cut(link);
    EXPECT_FALSE(network_.open(link));
    Send(link, Side::kProducer, '!');
    RunAll();
    EXPECT_EQ(arrived_, std::string("abcdef").substr(0, arrived_.size()));
    lost_some = lost_some || (arrived_.size() < 6 && !arrived_.empty());
    lost_all = lost_all || arrived_.empty();
    EXPECT_GT(consumer_knows_ns_, 0);
    EXPECT_GT(producer_knows_ns_, 0);
  }
  EXPECT_TRUE(lost_some);
  EXPECT_TRUE(lost_all);
}

TEST_F(NetworkTest, AHalfOpenEndLearnsLate) {
  network_.Cut(Connect(), Network::Knowing::kProducerLate);
  RunAll();
  EXPECT_LT(consumer_knows_ns_, kSecond);
  EXPECT_GT(producer_knows_ns_, 5 * kSecond);
}

TEST_F(NetworkTest, WhoClosesIsNotToldAndWhatItSaidArrives) {
  const LinkId link = Connect();
  Send(link, Side::kProducer, 'a');
  Send(link, Side::kConsumer, '!');
  network_.Close(link, Side::kProducer);
  RunAll();
  EXPECT_EQ(arrived_, "a");
  EXPECT_GT(consumer_knows_ns_, 0);
  EXPECT_EQ(producer_knows_ns_, 0);
}

TEST_F(NetworkTest, ADeadNodeHearsNothing) {
  const LinkId link = Connect();
  Send(link, Side::kConsumer, '!');
  network_.CutNode(1);
  RunAll();
  EXPECT_EQ(arrived_, "");
  EXPECT_GT(consumer_knows_ns_, 0);
  EXPECT_EQ(producer_knows_ns_, 0);
  EXPECT_EQ(network_.AnyLink(), 0u);
}

TEST_F(NetworkTest, APartitionRefusesUntilItHeals) {
  const LinkId link = Connect();
  const LinkId other = Connect(0, 2);
  network_.Partition(1, 0);
  EXPECT_FALSE(network_.open(link));
  EXPECT_TRUE(network_.open(other));
  EXPECT_EQ(Connect(), 0u);
  EXPECT_EQ(Connect(1, 0), 0u);
  network_.Heal();
  EXPECT_NE(Connect(), 0u);
}

}  // namespace
}  // namespace cairn::sim
