#pragma once
// Executes binary requests of one batch against the engine. What is not known or not offered is answered
// 0x81, its body swallowed by the parser's count.

#include <optional>

#include "server/executor_base.h"

namespace cairn::server {

class BinaryExecutor : public ExecutorBase {
 public:
  using ExecutorBase::ExecutorBase;

  /// Parses the request at the front of `in` into the window's place `index`.
  proto::ParseOutcome Parse(std::string_view in, size_t index) {
    return proto::ParseBinary(in, service_.limits, &service_.binary_requests[index]);
  }
  /// Computes the key of a parsed request. False when nothing may be parsed ahead behind it.
  bool Prepare(size_t index);
  Outcome Execute(size_t index);
  /// Answers a request that the parser refused.
  void AnswerRefused(proto::ParseState state, size_t index);

 private:
  using Request = proto::BinaryRequest;

  Outcome Get(const Request& request, size_t index);
  Outcome GetAndTouch(const Request& request, const engine::OpKey& key);
  Outcome AnswerGet(const Request& request, const engine::GetResult& result);
  Outcome Touch(const Request& request, const engine::OpKey& key);
  Outcome Store(const Request& request, const engine::OpKey& key);
  Outcome Delete(const Request& request, const engine::OpKey& key);
  Outcome Arithmetic(const Request& request, const engine::OpKey& key);
  Outcome ExecuteControl(const Request& request);
  Outcome ExecuteVbucket(const Request& request);
  Outcome Flush(const Request& request);
  Outcome Quit(const Request& request);
  Outcome Stat(const Request& request);
  Outcome OnlineUpdate(const Request& request);
  Outcome SetVbucket(const Request& request);
  Outcome DeleteVbucket(const Request& request);
  Outcome GetVbucket(const Request& request);
  Outcome AllSeqnos(const Request& request);
  Outcome GetKeys(const Request& request);
  Outcome AnswerCheckpoint(const Request& request, const Result<CheckpointId>& result);

  Outcome Hello(const Request& request);
  Outcome Observe(const Request& request);
  Outcome ObserveSeqno(const Request& request);
  Outcome FailoverLog(const Request& request);
  Outcome AwaitPersisted(const Request& request);
  Outcome GetReplica(const Request& request);

  /// What the request's write has to reach is known (level_). Nothing, or the outcome when it is not executed
  /// (now). `vbucket`: of its key; none: it is about all.
  std::optional<Outcome> AdmitWrite(const Request& request, std::optional<Vbid> vbucket);
  void AppendHit(const Request& request, const ItemRef& item);
  /// A mutation's success: nothing when the request was quiet.
  void AnswerMutation(const Request& request, Cas cas, Output::Requirements requirements);
  /// Everything since `begin` answers a mutation.
  void Mark(const Request& request, size_t begin, Output::Requirements requirements);
  Outcome AnswerStatus(const Request& request, const Status& status);
  Outcome AnswerValue(const Request& request, std::string_view value);
  Outcome AnswerError(const Request& request, proto::BinaryStatus status, std::string_view text = {});
  Outcome AnswerCode(const Request& request, Code code);
};

}  // namespace cairn::server
