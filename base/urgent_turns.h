#pragma once
// UrgentTurns: a thread that replicas or clients wait for, and that is done with each piece of its work
// within some tens of microseconds, goes before all ordinary threads (SCHED_RR, priority 1; sched(7)).
//
// Why: Linux gives an ordinary thread that has been woken, has run for a few microseconds and is pushed aside
// by another one that wakes, its CPU back only when the others' virtual time has passed its own; until then
// it waits behind threads of less weight too, up to a tick of the clock (4 ms at 250 Hz). Of a write's way to
// a replica that was the slowest percent.
//
// Bounds, as such threads could keep others from running: all of a process together are urgent for at most
// half of one CPU's time, and not for more than two milliseconds at once, by their own account; and the
// kernel tells us (RLIMIT_RTTIME, SIGXCPU) when one has run for ten without sleeping, whatever it does there,
// upon which it is an ordinary thread again. Threads that they start are ordinary.
//
// Without the right to it (root, CAP_SYS_NICE, RLIMIT_RTPRIO), or before EnableUrgentTurns, nothing here does
// anything.

#include <atomic>
#include <cstdint>
#include <string>

namespace cairn {

/// For the whole process; installs a handler of SIGXCPU and sets the soft limit RLIMIT_RTTIME. Empty when it
/// has been granted, else why not. Once, by main, before threads are started that use it.
std::string EnableUrgentTurns();

/// It has been granted. Any thread.
bool UrgentTurnsEnabled();

/// How often a thread had run for too long; for stats. Any thread.
uint64_t UrgentTurnsOverrun();

/// The calling thread's, in its outermost function; one at a time.
class UrgentTurns {
 public:
  UrgentTurns();
  /// The thread is an ordinary one again.
  ~UrgentTurns();
  UrgentTurns(const UrgentTurns&) = delete;
  UrgentTurns& operator=(const UrgentTurns&) = delete;

  /// What comes now takes longer, or waits for a disk: until the end of this turn it is no urgent one. Costs
  /// nothing when it is none already.
  void Lapse();
  /// The thread is about to sleep until there is something to do; it is woken as an urgent one, if it has not
  /// used too much. Costs one system call.
  void EndOfTurn();

 private:
  bool enabled_ = false;
  int nice_ = 0;        // of the thread as an ordinary one
  int64_t cpu_ns_ = 0;  // the thread's, at the end of the last turn
};

}  // namespace cairn
