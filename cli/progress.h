#pragma once
// How far a long step is: a bar with rate and time left. RenderProgress is pure; Progress writes to stderr
// and only when somebody watches (a terminal, or --progress). One thread at a time.

#include <cstdint>
#include <cstdio>
#include <string>

#include "base/clock.h"

namespace cairn::cli {

struct ProgressView {
  std::string label;         // "load"
  uint64_t items = 0;        // done
  double fraction = -1;      // done, 0 … 1; negative: unknown (no bar, no time left)
  uint64_t bytes = 0;        // done
  uint64_t bytes_total = 0;  // 0: unknown
  double elapsed_s = 0;
};

/// One line without a newline: "load  [#####.....]  52 %  32,981 items  41,226/s  24.8 MiB of 47.7 MiB
/// 0.8 s left". Empty parts are left out. `columns`: width of the terminal, which the line never exceeds.
std::string RenderProgress(const ProgressView& view, size_t columns);

class Progress {
 public:
  enum class Mode : uint8_t { kAuto, kOn, kOff };

  /// kAuto: on when stderr is a terminal. `clock` must outlive this object.
  Progress(Clock* clock, Mode mode);
  ~Progress() { Done(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  bool enabled() const { return enabled_; }
  /// Shows the view when the last one is old enough (a tenth of a second on a terminal, else a second).
  /// Elapsed time is filled in here.
  void Update(ProgressView view);
  /// Shows the last view once more and ends the line. More calls do nothing.
  void Done();
  /// Since construction.
  double elapsed_s() const;

 private:
  void Print();

  Clock* clock_;
  bool terminal_;
  bool enabled_;
  int64_t started_ns_;
  int64_t printed_ns_ = 0;
  ProgressView last_;
  bool any_ = false;
  bool printed_last_ = false;
};

}  // namespace cairn::cli
