#pragma once
// Loop: one thread with one event base and the connections that live on it. Other threads reach it through
// its inbox only.
//
// Owner: Server. Start and Join are the owner's; everything else runs on the loop's thread.

#include <event2/event.h>

#include <array>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "server/config.h"
#include "server/connection.h"
#include "server/inbox.h"
#include "server/output.h"
#include "server/session.h"

namespace cairn::server {

struct LoopDeps {
  engine::Engine& engine;
  Clock& clock;
  ServerStats& stats;
  const StatsReport& report;
  const ServerOptions& options;
};

struct EventBaseDelete {
  void operator()(event_base* base) const { event_base_free(base); }
};
struct EventDelete {
  void operator()(event* e) const { event_free(e); }
};
using EventPtr = std::unique_ptr<event, EventDelete>;

class Loop {
 public:
  static constexpr size_t kReadBufferBytes = 64 * 1024;

  static Result<std::unique_ptr<Loop>> Make(uint32_t number, const LoopDeps& deps);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // --- by the owner ---
  void Start();
  /// After a kStop message. Closes what is still open.
  void Join();
  /// Called on the loop's thread for kStopAccepting; set before Start.
  void set_on_stop_accepting(std::function<void()> callback) { on_stop_accepting_ = std::move(callback); }

  // --- by connections and listeners, on the loop's thread ---
  event_base* base() { return base_.get(); }
  const std::shared_ptr<LoopInbox>& inbox() const { return inbox_; }
  Service& service() { return service_; }
  const ServerOptions& options() const { return deps_.options; }
  /// Seconds on a clock that moves once a second.
  uint32_t now_s() const { return now_s_; }
  std::span<char> read_buffer() { return read_buffer_; }
  /// For the answers of the batch being executed; empty between batches.
  Output& batch() { return batch_; }
  void Adopt(UniqueFd fd);
  void Closed(Connection& connection);
  void ResumeLater(Connection& connection);
  /// The connection holds answers back. Returns the steady time when it will be told to give up.
  int64_t AddHolding(Connection& connection, uint32_t timeout_ms);

 private:
  struct Slot {
    std::unique_ptr<Connection> connection;
    uint32_t generation = 0;
  };
  struct Holding {
    ConnectionHandle connection;
    int64_t deadline_ns;
  };

  Loop(uint32_t number, const LoopDeps& deps, std::shared_ptr<LoopInbox> inbox);
  Status Init();
  EventPtr MakeEvent(evutil_socket_t fd, short what, event_callback_fn callback);
  void Run();
  void OnInbox();
  void OnMessage(LoopMessage& message);
  void OnTick();
  void OnResume();
  void OnHoldTimer();
  /// Sets the timer of held answers, unless it is to run out earlier anyway.
  void ArmHoldTimer(int64_t deadline_ns, int64_t now_ns);
  void Drain();
  void Bury();
  Connection* Find(ConnectionHandle handle);
  bool StillHolds(const Holding& holding);
  static uint32_t SecondsOf(const Clock& clock);

  const uint32_t number_;
  const LoopDeps deps_;
  const std::shared_ptr<LoopInbox> inbox_;
  std::unique_ptr<event_base, EventBaseDelete> base_;
  EventPtr inbox_event_;
  EventPtr tick_event_;
  EventPtr resume_event_;
  EventPtr hold_event_;
  Service service_;
  Output batch_;
  std::vector<char> read_buffer_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_slots_;
  std::vector<uint32_t> closed_slots_;  // freed at the end of the turn
  std::vector<ConnectionHandle> resuming_;
  std::vector<Holding> holding_;
  int64_t hold_timer_ns_ = INT64_MAX;  // when hold_event_ runs out; INT64_MAX: it is not set
  std::vector<LoopMessage> messages_;
  std::function<void()> on_stop_accepting_;
  uint32_t now_s_;
  bool draining_ = false;
  std::thread thread_;
};

}  // namespace cairn::server
