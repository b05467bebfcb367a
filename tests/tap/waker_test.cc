#include "tap/waker.h"

#include <gmock/gmock.h>

#include <thread>

#include "tap/notice_board.h"

namespace cairn::tap {
namespace {

using ::testing::ElementsAre;

constexpr int64_t kLong = 20'000'000'000;

TEST(Waker, AWakeBeforeTheWaitIsNotSleptThrough) {
  Waker waker;
  waker.Arm();
  waker.Wake();
  waker.Wait(kLong);
  EXPECT_TRUE(waker.woken());
  waker.Arm();
  waker.Wait(1'000'000);
  EXPECT_FALSE(waker.woken());
}

TEST(NoticeBoard, GivesEachVbucketOnceInOrder) {
  NoticeBoard board(65536);
  EXPECT_TRUE(board.Put(Vbid(65535)));
  EXPECT_TRUE(board.Put(Vbid(0)));
  EXPECT_TRUE(board.Put(Vbid(64)));
  EXPECT_FALSE(board.Put(Vbid(64)));
  std::vector<Vbid> taken;
  board.TakeAll([&](Vbid vbucket) { taken.push_back(vbucket); });
  EXPECT_THAT(taken, ElementsAre(Vbid(0), Vbid(64), Vbid(65535)));
  board.TakeAll([&](Vbid) { ADD_FAILURE(); });
  EXPECT_TRUE(board.Put(Vbid(64)));
}

// Two threads count up a vbucket each and put up notices as sessions see them: only who finds it down wakes.
// Whatever was counted before a notice is seen by the one who takes it down, and no wake is lost.
TEST(Waker, NothingIsMissedUnderLoad) {
  constexpr uint64_t kCount = 200'000;
  Waker waker;
  NoticeBoard board(64);
  std::atomic<uint64_t> done[2] = {};
  std::vector<std::thread> writers;
  for (uint16_t i = 0; i < 2; ++i) {
    writers.emplace_back([&, i] {
      for (uint64_t n = 1; n <= kCount; ++n) {
        done[i].store(n, std::memory_order_relaxed);
        if (board.Put(Vbid(i))) waker.Wake();
      }
    });
  }
  uint64_t seen[2] = {};
  while (seen[0] < kCount || seen[1] < kCount) {
    waker.Arm();
    bool any = false;
    board.TakeAll([&](Vbid vbucket) {
      any = true;
      seen[vbucket.get()] = done[vbucket.get()].load(std::memory_order_relaxed);
    });
    if (any) continue;
    const auto begun = std::chrono::steady_clock::now();
    if (seen[0] < kCount || seen[1] < kCount) waker.Wait(kLong);
    ASSERT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(15)) << "a wake was lost";
  }
  for (std::thread& writer : writers) writer.join();
}

}  // namespace
}  // namespace cairn::tap
