#include "server/update_commands.h"

#include <fmt/format.h>

#include "proto/update_id.h"

namespace cairn::server {
namespace {

// The update that a command has just started or ended.
struct Subject {
  engine::UpdateId id{};
  std::string name;
  uint64_t added = 0, updated = 0, deleted = 0;
  bool digest_equal = true;
};

Subject SubjectOf(UpdateVerb verb, const engine::UpdateStatus& status) {
  const bool ended = verb == UpdateVerb::kCompleted || verb == UpdateVerb::kReverted;
  if (!ended || status.history.empty()) {
    return {status.id, status.name, status.added, status.updated, status.deleted, true};
  }
  const engine::UpdateOutcome& last = status.history.front();
  return {last.id, last.name, last.added, last.updated, last.deleted, last.digest_equal};
}

std::string_view NameOr(std::string_view name, std::string_view otherwise) {
  return name.empty() ? otherwise : name;
}

}  // namespace

UpdateVerb VerbOf(proto::UpdateAction action) {
  switch (action) {
    case proto::UpdateAction::kStart:
      return UpdateVerb::kStarted;
    case proto::UpdateAction::kComplete:
      return UpdateVerb::kCompleted;
    case proto::UpdateAction::kRevert:
      return UpdateVerb::kReverted;
    case proto::UpdateAction::kStatus:
      break;
  }
  return UpdateVerb::kStatus;
}

void BeginUpdate(engine::Engine& engine, proto::UpdateAction action, const engine::UpdateRequest& request,
                 const std::shared_ptr<AsyncCall>& call) {
  auto done = [call](Result<engine::UpdateStatus> result) { call->Finish(std::move(result)); };
  switch (action) {
    case proto::UpdateAction::kStart:
      return engine.StartUpdate(request, std::move(done));
    case proto::UpdateAction::kComplete:
      return engine.CompleteUpdate(request, std::move(done));
    case proto::UpdateAction::kRevert:
      return engine.RevertUpdate(request, std::move(done));
    case proto::UpdateAction::kStatus:
      return call->Finish(engine.update_status());
  }
}

void BeginUpdate(engine::Engine& engine, proto::UpdateAction action, std::string_view argument,
                 const std::shared_ptr<AsyncCall>& call) {
  engine::UpdateRequest request;
  if (action == proto::UpdateAction::kStart) {
    request.name = std::string(argument);
  } else if (!argument.empty()) {
    request.id = proto::UpdateId::FromHex(argument).value_or(engine::UpdateId{});
  }
  BeginUpdate(engine, action, request, call);
}

void AppendUpdateLine(UpdateVerb verb, const engine::UpdateStatus& status, proto::OutBuffer& out) {
  const Subject subject = SubjectOf(verb, status);
  const std::string id = subject.id.ToHex();
  const std::string_view name = NameOr(subject.name, "-");
  const std::string counts =
      fmt::format("added={} updated={} deleted={}", subject.added, subject.updated, subject.deleted);
  switch (verb) {
    case UpdateVerb::kStarted:
      return out.Append(fmt::format("OK started id={} name={}\r\n", id, name));
    case UpdateVerb::kCompleted:
      return out.Append(fmt::format("OK completed id={} name={} {}\r\n", id, name, counts));
    case UpdateVerb::kReverted:
      return out.Append(fmt::format("OK reverted id={} name={} {} digest={}\r\n", id, name, counts,
                                    subject.digest_equal ? "equal" : "different"));
    case UpdateVerb::kStatus:
      return out.Append(fmt::format("OK status phase={} id={} name={} age_s={} {}\r\n",
                                    UpdatePhaseName(status.phase), id, name, status.age_ns / 1'000'000'000,
                                    counts));
  }
}

void AppendTextError(const Status& status, proto::OutBuffer& out) {
  std::string text = status.ToString();
  // One line, whatever the message holds.
  for (char& c : text) {
    if (c == '\r' || c == '\n') c = ' ';
  }
  out.Append("SERVER_ERROR ");
  out.Append(text);
  out.Append("\r\n");
}

}  // namespace cairn::server
