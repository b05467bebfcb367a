#include "base/urgent_turns.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "base/thread_role.h"

namespace cairn {
namespace {

// In a process of its own, as what is granted is granted to the process. Exit code 0: as wanted, where the
// system allows it; 1: not so; kNotAllowed: it does not.
constexpr int kNotAllowed = 77;

int Policy() { return sched_getscheduler(0) & ~SCHED_RESET_ON_FORK; }

int64_t CpuNs() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

void Work(int64_t ns) {
  const int64_t end_ns = CpuNs() + ns;
  while (CpuNs() < end_ns) {
  }
}

void Sleep(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

/// `check` runs on a thread with role kServing of a process to which it was granted.
template <class Check>
void InProcess(Check check) {
  const auto body = [&check] {
    if (!EnableUrgentTurns().empty()) _exit(kNotAllowed);
    bool good = false;
    std::thread([&] {
      TakeRole(ThreadRole::kServing);
      good = check();
    }).join();
    _exit(good ? 0 : 1);
  };
  const auto as_wanted = [](int status) {
    return WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == kNotAllowed);
  };
  EXPECT_EXIT(body(), as_wanted, "");
}

class UrgentTurnsTest : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(UrgentTurnsTest, NothingHappensBeforeItIsGranted) {
  std::thread([] {
    UrgentTurns urgent;
    urgent.EndOfTurn();
    EXPECT_EQ(Policy(), SCHED_OTHER);
    urgent.Lapse();
  }).join();
  EXPECT_FALSE(UrgentTurnsEnabled());
}

TEST_F(UrgentTurnsTest, ASleepingThreadIsUrgentAndWhatItStartsIsNot) {
  InProcess([] {
    bool good = Policy() == SCHED_OTHER;
    {
      UrgentTurns urgent;
      good = good && Policy() == SCHED_OTHER;
      urgent.EndOfTurn();
      good = good && Policy() == SCHED_RR;
      int started = -1;
      std::thread([&started] { started = Policy(); }).join();
      good = good && started == SCHED_OTHER;
      urgent.Lapse();
      good = good && Policy() == SCHED_OTHER;
      urgent.EndOfTurn();
      good = good && Policy() == SCHED_RR;
    }
    return good && Policy() == SCHED_OTHER;
  });
}

TEST_F(UrgentTurnsTest, WhoUsesMoreThanHalfOfACpuIsAnOrdinaryOneUntilThatIsPast) {
  InProcess([] {
    UrgentTurns urgent;
    urgent.EndOfTurn();
    bool good = Policy() == SCHED_RR;
    // Small pieces, one right behind the other.
    int turns = 0;
    for (; turns < 1000 && Policy() == SCHED_RR; ++turns) {
      Work(100'000);
      urgent.EndOfTurn();
    }
    good = good && turns > 10 && Policy() == SCHED_OTHER;
    Work(100'000);
    urgent.EndOfTurn();
    good = good && Policy() == SCHED_OTHER;
    Sleep(50);
    urgent.EndOfTurn();
    return good && Policy() == SCHED_RR;
  });
}

TEST_F(UrgentTurnsTest, OneWithPausesStaysUrgent) {
  InProcess([] {
    UrgentTurns urgent;
    for (int i = 0; i < 200; ++i) {
      urgent.EndOfTurn();
      if (Policy() != SCHED_RR) return false;
      Sleep(1);
      Work(100'000);
    }
    return true;
  });
}

TEST_F(UrgentTurnsTest, OneThatDoesNotComeToItsEndIsMadeOrdinaryTimeAndAgain) {
  InProcess([] {
    UrgentTurns urgent;
    for (uint64_t time = 1; time <= 3; ++time) {
      urgent.EndOfTurn();
      if (Policy() != SCHED_RR) return false;
      Work(200'000'000);
      if (Policy() != SCHED_OTHER || UrgentTurnsOverrun() != time) return false;
      Sleep(50);
      urgent.EndOfTurn();  // takes in what was used
      Sleep(50);
    }
    return true;
  });
}

TEST_F(UrgentTurnsTest, ALimitThatWouldEndTheProcessIsRespected) {
  const auto body = [] {
    const rlimit limit{1'000'000, 2'000'000};
    setrlimit(RLIMIT_RTTIME, &limit);
    const bool refused = !EnableUrgentTurns().empty() && !UrgentTurnsEnabled();
    _exit(refused ? 0 : 1);
  };
  EXPECT_EXIT(body(), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace cairn
