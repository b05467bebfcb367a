#include "tests/support/patience.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>

namespace cairn {
namespace {

using std::chrono::milliseconds;

TEST(Patience, EndsWhenItHasComeAndWhenItHasNot) {
  int looks = 0;
  EXPECT_TRUE(Patiently(milliseconds(1'000), [&](milliseconds) { return ++looks == 3; }));
  EXPECT_EQ(looks, 3);
  EXPECT_FALSE(Patiently(milliseconds(1'000), [&](milliseconds) { return ++looks < 0; }));
  EXPECT_EQ(looks, 103);
  EXPECT_TRUE(PatientlyUntil(milliseconds(4), [&] { return ++looks == 106; })) << "a last look";
  EXPECT_FALSE(PatientlyUntil(milliseconds(4), [] { return false; }));
}

/// Waits 300 ms for what comes 20 ms after it went on, and is stopped in between.
int WaitStopped() {
  std::atomic<bool> stopped{false};
  std::atomic<bool> come{false};
  std::thread other([&] {
    while (!stopped) std::this_thread::sleep_for(milliseconds(2));
    for (int i = 0; i < 10; ++i) std::this_thread::sleep_for(milliseconds(2));
    come = true;
  });
  const bool heard = PatientlyUntil(milliseconds(300), [&] {
    if (!stopped.exchange(true)) raise(SIGSTOP);
    return come.load();
  });
  other.join();
  return heard ? 0 : 1;
}

TEST(Patience, TimeInWhichTheProcessIsStoppedDoesNotCount) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) _exit(WaitStopped());
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, WUNTRACED), child);
  ASSERT_TRUE(WIFSTOPPED(status));
  std::this_thread::sleep_for(milliseconds(600));
  kill(child, SIGCONT);
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

}  // namespace
}  // namespace cairn
