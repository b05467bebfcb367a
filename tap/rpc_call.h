#pragma once
// RpcCall: the producer's end of one Replicate call, over gRPC's asynchronous interface: a write is begun and
// not waited for, so any thread may send, also one that serves clients (tap/session.h).
//
// State: a read and at most one write under way. Their ends lie in the call's own completion queue until
// somebody looks: Wait, or who wants to know. gRPC needs no thread of this call meanwhile: what arrives is
// taken in by whoever is in gRPC then, at least by the server's thread that accepts calls.
//
// Owner: TapServer. Threads: as ProducerLink says.

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/server_context.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "base/mutex.h"
#include "proto/tap.grpc.pb.h"
#include "tap/session.h"

namespace cairn::tap {

class RpcCall final : public ProducerLink {
 public:
  RpcCall() : stream_(&context_) {}
  /// After Finish, or when the call never came.
  ~RpcCall() override;
  RpcCall(const RpcCall&) = delete;
  RpcCall& operator=(const RpcCall&) = delete;

  /// Asks for the next call; `tag` comes out of `accepted` when there is one, or, not ok, when there will be
  /// none any more.
  void Request(v1::Tap::AsyncService& service, grpc::ServerCompletionQueue& accepted, void* tag);
  /// Begins to read. First of all when the call has come.
  void Begin();
  /// The caller's address as people write it: 127.0.0.1:1234, [::1]:1234.
  std::string peer() const;
  /// The last call: ends it, and waits until nothing is under way. What the other side does not take within
  /// `patience_ns`, twice, is cancelled.
  void Finish(const grpc::Status& status, int64_t patience_ns) CAIRN_EXCLUDES(mutex_);

  bool CanWrite() override CAIRN_EXCLUDES(mutex_);
  void Write(ProducerMessage message) override CAIRN_EXCLUDES(mutex_);
  Result<std::optional<ConsumerMessage>> Read() override CAIRN_EXCLUDES(mutex_);
  bool over() override CAIRN_EXCLUDES(mutex_);
  void Wait(int64_t ns, bool input) override CAIRN_EXCLUDES(mutex_);
  void Interrupt() override CAIRN_EXCLUDES(mutex_);
  void Cancel() override { context_.TryCancel(); }

 private:
  void StartRead() CAIRN_EXCLUDES(mutex_);
  /// Takes in one end of an operation if there is one, or comes until `deadline`. False: there is none.
  bool Collect(gpr_timespec deadline) CAIRN_EXCLUDES(mutex_);
  /// The same, without waiting, unless somebody is in Wait.
  bool CollectOne() CAIRN_EXCLUDES(mutex_);
  void EndWait() CAIRN_REQUIRES(mutex_);
  void Shutdown(int64_t patience_ns) CAIRN_EXCLUDES(mutex_);

  grpc::ServerContext context_;
  grpc::ServerAsyncReaderWriter<v1::FromProducer, v1::FromConsumer> stream_;
  grpc::CompletionQueue queue_;
  grpc::Alarm alarm_;     // ends a Wait
  v1::FromConsumer in_;   // while a read is under way gRPC's, else of who reads
  v1::FromProducer out_;  // of who writes

  Mutex mutex_;
  bool read_done_ CAIRN_GUARDED_BY(mutex_) = false;
  bool writing_ CAIRN_GUARDED_BY(mutex_) = false;
  bool over_ CAIRN_GUARDED_BY(mutex_) = false;
  bool waiting_ CAIRN_GUARDED_BY(mutex_) = false;    // a thread is in Wait; the ends are its to collect
  bool interrupt_ CAIRN_GUARDED_BY(mutex_) = false;  // the Wait that goes on, or the next one, returns
  bool alarmed_ CAIRN_GUARDED_BY(mutex_) = false;    // the alarm is under way
  bool shut_down_ CAIRN_GUARDED_BY(mutex_) = false;
};

}  // namespace cairn::tap
