#include "tests/sim/event_queue.h"

#include <gtest/gtest.h>

#include <string>

namespace cairn::sim {
namespace {

TEST(EventQueue, RunsInOrderOfTimeAndStandsAtTheEvent) {
  EventQueue queue(1);
  std::string order;
  queue.At(30, [&] { order += 'c'; });
  queue.At(10, [&] { order += 'a'; });
  queue.At(20, [&] {
    order += 'b';
    EXPECT_EQ(queue.now_ns(), 20);
    queue.At(5, [&] { order += '!'; });  // has passed: now
  });
  EXPECT_EQ(queue.next_ns(), 10);
  while (queue.RunNext()) {
  }
  EXPECT_EQ(order, "ab!c");
  EXPECT_EQ(queue.now_ns(), 30);
  EXPECT_EQ(queue.next_ns(), INT64_MAX);
}

std::string OrderOfTies(uint64_t seed) {
  EventQueue queue(seed);
  std::string order;
  for (char c = 'a'; c <= 'j'; ++c) queue.At(7, [&order, c] { order += c; });
  while (queue.RunNext()) {
  }
  return order;
}

TEST(EventQueue, TheSeedDecidesWhichOfTwoAtOnceComesFirst) {
  EXPECT_EQ(OrderOfTies(1), OrderOfTies(1));
  EXPECT_NE(OrderOfTies(1), OrderOfTies(2));
  EXPECT_EQ(OrderOfTies(3).size(), 10u);
}

}  // namespace
}  // namespace cairn::sim
