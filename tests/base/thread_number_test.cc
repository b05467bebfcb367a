#include "base/thread_number.h"

#include <gtest/gtest.h>

#include <barrier>
#include <set>
#include <thread>
#include <vector>

namespace cairn {
namespace {

std::set<uint32_t> NumbersOf(int threads) {
  std::vector<uint32_t> numbers(static_cast<size_t>(threads));
  std::barrier all_alive(threads);
  std::vector<std::thread> running;
  running.reserve(numbers.size());
  for (uint32_t& number : numbers) {
    running.emplace_back([&] {
      number = ThreadNumber();
      EXPECT_EQ(ThreadNumber(), number);
      all_alive.arrive_and_wait();
    });
  }
  for (std::thread& thread : running) thread.join();
  return {numbers.begin(), numbers.end()};
}

TEST(ThreadNumber, IsUniqueAmongTheLivingAndReusedAfterwards) {
  const uint32_t mine = ThreadNumber();
  const std::set<uint32_t> first = NumbersOf(8);
  EXPECT_EQ(first.size(), 8U);
  EXPECT_FALSE(first.contains(mine));
  EXPECT_EQ(NumbersOf(8), first);
  // The lowest are given first, so few threads never have large numbers.
  EXPECT_EQ(*NumbersOf(1).begin(), *first.begin());
}

struct AsksAtTheEnd {
  uint32_t* answer;
  ~AsksAtTheEnd() { *answer = ThreadNumber(); }
};

TEST(ThreadNumber, IsNoneOnceReturned) {
  uint32_t at_the_end = 0;
  std::thread([&] {
    // Made before the number is taken, so destroyed after it has been returned.
    thread_local AsksAtTheEnd asks{&at_the_end};
    EXPECT_NE(asks.answer, nullptr);
    EXPECT_LT(ThreadNumber(), kNoThreadNumber);
  }).join();
  EXPECT_EQ(at_the_end, kNoThreadNumber);
}

}  // namespace
}  // namespace cairn
