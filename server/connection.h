#pragma once
// Connection: one client's socket on its loop. Reads what there is, lets the session execute all of it,
// sends the answers in one call. It holds buffers only while something is unfinished (a partial request,
// answers that the client has not taken, answers whose writes are not durable yet), so an idle one is small.
//
// Owner: its Loop, on whose thread everything here runs.

#include <event2/event.h>
#include <event2/event_struct.h>

#include <cstdint>
#include <memory>
#include <string_view>

#include "base/file.h"
#include "proto/out_buffer.h"
#include "server/inbox.h"
#include "server/output.h"
#include "server/session.h"
#include "server/settling.h"

namespace cairn::server {

class Loop;

class Connection {
 public:
  /// Answers that the client has not taken: beyond so many bytes nothing more is read from it.
  static constexpr size_t kUnsentBytesMax = 8u << 20;

  Connection(Loop& loop, UniqueFd fd, ConnectionHandle handle);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Begins to read.
  void Start();
  /// The engine woke the connection: a parked operation may go on, or a commit is decided.
  void OnWake();
  /// Goes on with input that was left for fairness.
  void OnResume();
  /// Called about once a second.
  void OnTick(uint32_t now_s);
  /// The time of the held batch is over: answers of writes that are not durable become "ambiguous".
  void OnHoldDeadline();
  /// Closes when the client is owed nothing and has sent nothing.
  void CloseIfIdle();
  void Close();

  bool closed() const { return !fd_.valid(); }
  bool holding() const { return held_ != nullptr; }
  int64_t hold_deadline_ns() const { return held_->deadline_ns; }
  ConnectionHandle handle() const { return handle_; }

 private:
  /// Answers of executed mutations that are not known to be durable yet.
  struct Held {
    Output output;
    Settling settling;
    int64_t deadline_ns;  // steady
  };

  static void ReadCallback(evutil_socket_t fd, short what, void* self);
  static void WriteCallback(evutil_socket_t fd, short what, void* self);
  void OnReadable();
  void OnWritable();

  /// `bytes` have arrived at `into`, in input_ (`own`) or in the loop's buffer with room for input_ before.
  void TakeInput(char* into, size_t bytes, bool own);
  /// Executes `in`, which lies in the loop's buffer or is the front of input_, and keeps what is left.
  void Execute(std::string_view in, bool in_own_buffer);
  void KeepInput(std::string_view rest, bool in_own_buffer);
  /// Sends a batch's answers, or holds them until its mutations are durable.
  void Deliver(Output& out);
  void Hold(Output& out, Settling settling);
  /// The held batch is settled.
  void ReleaseHeld();
  /// Executes the input that had to wait.
  void GoOn();
  /// Sends now what the kernel takes, and keeps the rest.
  void Send(Output& out);
  /// False when the connection broke.
  bool WriteSome(Output& out);
  bool MayExecute() const;
  size_t unsent_bytes() const { return unsent_ == nullptr ? 0 : unsent_->size(); }
  /// At the end of each entry: closes if that is due, and asks the loop for the events that are of use.
  void Settle();

  Loop& loop_;
  UniqueFd fd_;
  const ConnectionHandle handle_;
  const std::shared_ptr<ConnectionWaiter> own_waiter_;
  const engine::WaiterRef waiter_;  // the same, as the engine takes it
  Session session_;
  proto::OutBuffer input_;   // the begun request, when its end has not come
  size_t input_wanted_ = 1;  // execute again when input_ holds so many bytes
  std::unique_ptr<Output> unsent_;
  std::unique_ptr<Held> held_;
  uint32_t last_input_s_;     // the loop's time when the client last sent something
  uint32_t last_progress_s_;  // when it last took something of an answer
  bool parked_ = false;       // an operation waits for the engine
  bool resuming_ = false;     // on the loop's list for OnResume
  bool ending_ = false;       // no more input: close when everything is sent
  bool reading_ = false;      // read_event_ is registered
  bool writing_ = false;
  event read_event_{};
  event write_event_{};
};

}  // namespace cairn::server
