#include "cli/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "cli/format.h"

namespace cairn::cli {
namespace {

constexpr int64_t kTerminalIntervalNs = 100'000'000;
constexpr int64_t kLogIntervalNs = 1'000'000'000;
constexpr size_t kBarCells = 24;
constexpr size_t kColumnsDefault = 100;
// Before that much is done, the time left is a guess that only misleads.
constexpr double kFractionMin = 0.01;

size_t TerminalColumns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kColumnsDefault;
  return size.ws_col;
}

}  // namespace

std::string RenderProgress(const ProgressView& view, size_t columns) {
  std::vector<std::string> parts = {view.label};
  const bool known = view.fraction >= 0;
  const double fraction = std::clamp(view.fraction, 0.0, 1.0);
  if (known) {
    const auto filled = static_cast<size_t>(std::floor(fraction * kBarCells));
    parts.push_back("[" + std::string(filled, '#') + std::string(kBarCells - filled, '.') + "]");
    parts.push_back(fmt::format("{:3.0f} %", std::floor(fraction * 100)));
  }
  parts.push_back(FormatCount(view.items) + " items");
  parts.push_back(FormatRate(view.items, view.elapsed_s) + "/s");
  if (view.bytes_total != 0) {
    parts.push_back(FormatBytes(view.bytes) + " of " + FormatBytes(view.bytes_total));
  } else if (view.bytes != 0) {
    parts.push_back(FormatBytes(view.bytes));
  }
  if (known && fraction >= 1) {
    parts.push_back("in " + FormatDuration(view.elapsed_s));
  } else if (known && fraction >= kFractionMin) {
    parts.push_back(FormatDuration(view.elapsed_s * (1 - fraction) / fraction) + " left");
  }
  std::string line;
  for (const std::string& part : parts) line += line.empty() ? part : "  " + part;
  if (line.size() > columns) line.resize(columns);
  return line;
}

Progress::Progress(Clock* clock, Mode mode)
    : clock_(clock),
      terminal_(isatty(STDERR_FILENO) == 1),
      enabled_(mode == Mode::kOn || (mode == Mode::kAuto && terminal_)),
      started_ns_(clock->SteadyNs()) {}

double Progress::elapsed_s() const { return static_cast<double>(clock_->SteadyNs() - started_ns_) / 1e9; }

void Progress::Update(ProgressView view) {
  if (!enabled_) return;
  last_ = std::move(view);
  any_ = true;
  printed_last_ = false;
  const int64_t now = clock_->SteadyNs();
  if (now - std::max(printed_ns_, started_ns_) < (terminal_ ? kTerminalIntervalNs : kLogIntervalNs)) return;
  printed_ns_ = now;
  Print();
}

void Progress::Print() {
  last_.elapsed_s = elapsed_s();
  printed_last_ = true;
  if (terminal_) {
    // The last column stays free: a terminal that wraps would leave every line on the screen.
    std::fputs(("\r" + RenderProgress(last_, TerminalColumns() - 1) + "\033[K").c_str(), stderr);
  } else {
    std::fputs((RenderProgress(last_, kColumnsDefault) + "\n").c_str(), stderr);
  }
}

void Progress::Done() {
  if (!enabled_ || !any_) return;
  if (!printed_last_ || terminal_) Print();
  if (terminal_) std::fputs("\n", stderr);
  enabled_ = false;
}

}  // namespace cairn::cli
