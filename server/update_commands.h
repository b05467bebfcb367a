#pragma once
// The online update commands as both protocols share them.

#include <memory>
#include <string_view>

#include "engine/engine.h"
#include "proto/out_buffer.h"
#include "proto/text.h"
#include "server/async_call.h"

namespace cairn::server {

enum class UpdateVerb : uint8_t { kStarted, kCompleted, kReverted, kStatus };
UpdateVerb VerbOf(proto::UpdateAction action);

/// Begins START, COMPLETE or REVERT; `call` is finished when the engine has answered. `argument`: START's
/// name, or the hexadecimal id that COMPLETE and REVERT mean, or empty.
void BeginUpdate(engine::Engine& engine, proto::UpdateAction action, std::string_view argument,
                 const std::shared_ptr<AsyncCall>& call);
/// The same with a parsed request.
void BeginUpdate(engine::Engine& engine, proto::UpdateAction action, const engine::UpdateRequest& request,
                 const std::shared_ptr<AsyncCall>& call);

/// "OK started id=<32 hex> name=<name>", "OK reverted id=… added=1 updated=2 deleted=3 digest=equal",
/// "OK status phase=updating id=… …": one line for scripts.
void AppendUpdateLine(UpdateVerb verb, const engine::UpdateStatus& status, proto::OutBuffer& out);
/// "SERVER_ERROR NOT_SUPPORTED: no online update is open"
void AppendTextError(const Status& status, proto::OutBuffer& out);

}  // namespace cairn::server
