#pragma once
// ThreadRole: the name of a thread, and whether anybody waits for what it does. On a machine whose CPUs are
// all busy it decides who runs: a thread that answers a client, or one that tidies up behind it.
//
// State: the calling thread's, kept by the kernel.

#include <string_view>

namespace cairn {

enum class ThreadRole {
  /// Clients or replicas wait for it. It runs soon after it is woken: where other threads compete for the CPU
  /// it asks for short turns (100 µs; Linux 6.12 and newer let such a thread go first), and its sleeps end
  /// within a microsecond.
  kServing,
  /// Work that is due but that nobody waits for at this moment: it keeps its share of the CPU, and gives way
  /// between small pieces of work (GiveWay).
  kSteady,
  /// The same, with a third of a serving thread's share where there is not enough for all (nice 5).
  kBackground,
  /// Like kBackground, for threads that hold no lock which a serving thread takes: they run only when nothing
  /// else wants the CPU (SCHED_IDLE). So whoever is woken does not wait for them, and the kernel puts it on
  /// their CPU rather than behind somebody on another one. RelieveIdle keeps them from starving. Where the
  /// kernel would not let them come back from there (it takes CAP_SYS_NICE, or a RLIMIT_NICE of 20 minus the
  /// nice value) it is
  /// kBackground.
  kIdle,
};

/// Names the calling thread (its first 15 bytes; seen in top and in debuggers) and gives it its role, which
/// threads that it starts begin with. What the kernel does not grant is left as it is: a role changes how
/// soon things are done, never whether.
void BeginThread(std::string_view name, ThreadRole role = ThreadRole::kServing);

/// For threads that a library made and named, and for main: the role alone. Costs one thread-local load when
/// it has been taken before.
void TakeRole(ThreadRole role);

/// In long work, between two small pieces: lets those go first that wait for the calling thread's CPU, if it
/// has not done so for 50 µs. Never with a lock held that a serving thread takes. Costs some tens of
/// nanoseconds when it is not yet time, and less than a microsecond when nobody waits.
void GiveWay();

/// A piece of work of a thread with role kSteady or kBackground that it does as kIdle: no lock is taken in it
/// that a serving thread takes. Costs four system calls. Lives on the stack. Nothing changes on a thread with
/// another role or with none.
class IdleScope {
 public:
  /// Not `wanted`: nothing changes.
  explicit IdleScope(bool wanted = true);
  ~IdleScope();
  IdleScope(const IdleScope&) = delete;
  IdleScope& operator=(const IdleScope&) = delete;

 private:
  bool entered_ = false;
};

/// Threads of kIdle that have wanted a CPU for 30 ms and not had it get a share of kBackground for the next
/// ten seconds. Called every 20 ms or so by a thread with another role; any number of callers.
void RelieveIdle();

}  // namespace cairn
