#include "cli/progress.h"

#include <gtest/gtest.h>

namespace cairn::cli {
namespace {

ProgressView Half() {
  return {.label = "load",
          .items = 32'000,
          .fraction = 0.5,
          .bytes = 25u << 20,
          .bytes_total = 50u << 20,
          .elapsed_s = 2};
}

TEST(ProgressTest, ShowsBarRateAndTimeLeft) {
  EXPECT_EQ(
      RenderProgress(Half(), 200),
      "load  [############............]   50 %  32,000 items  16,000/s  25.0 MiB of 50.0 MiB  2.0 s left");
}

TEST(ProgressTest, AtTheEndItSaysHowLongItTook) {
  ProgressView view = Half();
  view.fraction = 1.0;
  const std::string line = RenderProgress(view, 200);
  EXPECT_NE(line.find("100 %"), std::string::npos) << line;
  EXPECT_NE(line.find("in 2.0 s"), std::string::npos) << line;
}

TEST(ProgressTest, UnknownSizeHasNoBarAndNoGuess) {
  ProgressView view = Half();
  view.fraction = -1;
  view.bytes_total = 0;
  EXPECT_EQ(RenderProgress(view, 200), "load  32,000 items  16,000/s  25.0 MiB");
}

TEST(ProgressTest, EarlyGuessesAreLeftOut) {
  ProgressView view = Half();
  view.fraction = 0.001;
  EXPECT_EQ(RenderProgress(view, 200).find("left"), std::string::npos);
}

TEST(ProgressTest, NeverWiderThanTheTerminalAndNeverOutOfItsBar) {
  EXPECT_EQ(RenderProgress(Half(), 30).size(), 30u);
  ProgressView view = Half();
  view.fraction = 7;
  EXPECT_NE(RenderProgress(view, 200).find("[########################]  100 %"), std::string::npos);
}

TEST(ProgressTest, PrintsLinesAtIntervalsAndTheLastViewAtTheEnd) {
  ManualClock clock;
  testing::internal::CaptureStderr();
  {
    Progress progress(&clock, Progress::Mode::kOn);
    for (int i = 0; i < 25; ++i) {  // 2.5 seconds
      clock.Advance(100'000'000);
      progress.Update({.label = "load", .items = static_cast<uint64_t>(i)});
    }
  }
  // stderr is captured into a file: lines, not overwriting.
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "load  9 items  9/s\nload  19 items  10/s\nload  24 items  10/s\n");
}

TEST(ProgressTest, SilentWhenNobodyWatches) {
  ManualClock clock;
  testing::internal::CaptureStderr();
  for (const auto mode : {Progress::Mode::kAuto, Progress::Mode::kOff}) {
    Progress progress(&clock, mode);
    clock.Advance(5'000'000'000);
    progress.Update({.label = "load", .items = 1});
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace cairn::cli
