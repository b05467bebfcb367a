#pragma once
// Executes text requests of one batch against the engine. Answers are memcached 1.6's lines; what differs
// is listed in docs/protocol.md.

#include <optional>

#include "server/executor_base.h"

namespace cairn::server {

class TextExecutor : public ExecutorBase {
 public:
  using ExecutorBase::ExecutorBase;

  /// Parses the request at the front of `in` into the window's place `index`.
  proto::ParseOutcome Parse(std::string_view in, size_t index) {
    return proto::ParseText(in, service_.limits, &service_.text_requests[index]);
  }
  /// Computes the key of a parsed request. False when nothing may be parsed ahead behind it.
  bool Prepare(size_t index);
  Outcome Execute(size_t index);
  /// Answers a request that the parser refused.
  void AnswerRefused(proto::ParseState state, size_t index);

 private:
  using Request = proto::TextRequest;

  Outcome GetOne(const Request& request, size_t index);
  Outcome GetMany(const Request& request);
  Outcome GetAndTouch(const Request& request);
  Outcome Store(const Request& request, const engine::OpKey& key);
  Outcome Delete(const Request& request, const engine::OpKey& key);
  Outcome Arithmetic(const Request& request, const engine::OpKey& key);
  Outcome Touch(const Request& request, const engine::OpKey& key);
  Outcome FlushAll(const Request& request);
  Outcome Stats(const Request& request);
  Outcome Verbosity(const Request& request);
  Outcome LruCrawler(const Request& request);
  Outcome OnlineUpdate(const Request& request);

  /// The VALUE line of a hit.
  void AppendHit(const Request& request, const ItemRef& item);
  /// What a write has to reach is known (level_). Nothing, or the outcome when it is not executed (now).
  /// `vbucket`: of its key; none: it is about all.
  std::optional<Outcome> AdmitWrite(const Request& request, std::optional<Vbid> vbucket);
  /// A mutation's line, unless "noreply", and what the write has to reach before the client may read it.
  void Answer(const Request& request, std::string_view line, Output::Requirements requirements);
  void Mark(size_t begin, Output::Requirements requirements);
  void AnswerCode(const Request& request, Code code);
};

}  // namespace cairn::server
