// get, set, delete, version: one key, one request.

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>

#include "base/types.h"
#include "cli/commands.h"
#include "cli/input.h"
#include "cli/json.h"
#include "cli/table.h"

namespace cairn::cli {
namespace {

using proto::Opcode;

ExitCode PrintValue(const Options& options, const Reply& reply) {
  const std::string& key = options.keys.front();
  if (options.json) {
    JsonWriter json;
    json.BeginObject().Bytes("key", key).Bytes("value", reply.value);
    json.Name("flags").Number(reply.flags());
    // A CAS may need all 64 bits, a JSON number holds 53.
    json.Name("cas").String(std::to_string(reply.cas));
    return Print(json.EndObject().text()) ? ExitCode::kOk : ExitCode::kPartial;
  }
  // Exact bytes into a file or pipe; on a terminal the prompt shall not stick to them.
  if (isatty(STDOUT_FILENO) == 1) return Print(reply.value) ? ExitCode::kOk : ExitCode::kPartial;
  const bool written = std::fwrite(reply.value.data(), 1, reply.value.size(), stdout) == reply.value.size() &&
                       std::fflush(stdout) == 0;
  if (!written) PrintError("cannot write to standard output");
  return written ? ExitCode::kOk : ExitCode::kPartial;
}

ExitCode PrintDone(const Options& options, const std::string& key, std::string_view word,
                   const Reply& reply) {
  if (!options.json) return ExitCode::kOk;
  JsonWriter json;
  json.BeginObject().Bytes("key", key).Name("outcome").String(word);
  json.Name("cas").String(std::to_string(reply.cas));
  return Print(json.EndObject().text()) ? ExitCode::kOk : ExitCode::kPartial;
}

ExitCode Refused(const std::string& key, const Reply& reply) {
  if (reply.status == proto::BinaryStatus::kNotFound) {
    PrintError(fmt::format("no such key: {}", EscapeForTerminal(key)));
    return ExitCode::kDifference;
  }
  return Fail(Refusal(reply));
}

ExitCode Set(const Options& options, Client& client) {
  std::string value = options.value;
  if (value == "-") {
    Result<std::string> input = ReadAll("-", kValueSizeMax);
    if (!input.ok()) {
      PrintError(input.status().message());
      return ExitCode::kUsage;
    }
    value = std::move(*input);
  }
  const std::string extras = SetExtras(options.flags, options.expiry);
  Result<Reply> reply =
      client.Call({.opcode = Opcode::kSet, .extras = extras, .key = options.keys.front(), .value = value});
  if (!reply.ok()) return Fail(reply.status());
  return reply->ok() ? PrintDone(options, options.keys.front(), "stored", *reply)
                     : Refused(options.keys.front(), *reply);
}

ExitCode Get(const Options& options, Client& client) {
  Result<Reply> reply = client.Call({.opcode = Opcode::kGet, .key = options.keys.front()});
  if (!reply.ok()) return Fail(reply.status());
  return reply->ok() ? PrintValue(options, *reply) : Refused(options.keys.front(), *reply);
}

// Goes on behind a key that is not there, and stops at any other trouble.
ExitCode Delete(const Options& options, Client& client) {
  ExitCode worst = ExitCode::kOk;
  bool any = false;
  for (const std::string& key : options.keys) {
    Result<Reply> reply = client.Call({.opcode = Opcode::kDelete, .key = key});
    if (!reply.ok()) {
      const ExitCode code = Fail(reply.status());
      return any ? ExitCode::kPartial : code;
    }
    any |= reply->ok();
    const ExitCode code = reply->ok() ? PrintDone(options, key, "deleted", *reply) : Refused(key, *reply);
    if (code != ExitCode::kOk) worst = code;
    if (code == ExitCode::kRefused) return any ? ExitCode::kPartial : code;
  }
  return worst;
}

ExitCode Version(const Options& options, Client& client) {
  Result<Reply> reply = client.Call({.opcode = Opcode::kVersion});
  if (!reply.ok()) return Fail(reply.status());
  if (!reply->ok()) return Fail(Refusal(*reply));
  const std::string protocol(reply->value);
  Result<StatList> stats = client.Stats("");
  const auto cairn = stats.ok() ? FindStat(*stats, "cairn_version") : std::nullopt;
  if (options.json) {
    JsonWriter json;
    json.BeginObject().Name("cairnctl").String(kToolVersion).Name("protocol").String(protocol);
    if (cairn) json.Name("server").String(*cairn);
    return Print(json.EndObject().text()) ? ExitCode::kOk : ExitCode::kPartial;
  }
  std::vector<std::pair<std::string, std::string>> fields = {{"cairnctl", kToolVersion}};
  if (cairn) fields.emplace_back("server", "Cairn " + std::string(*cairn));
  fields.emplace_back("protocol", "memcached " + protocol);
  return Print(RenderFields(fields)) ? ExitCode::kOk : ExitCode::kPartial;
}

}  // namespace

ExitCode RunSingle(const Options& options, Clock& clock) {
  Result<std::unique_ptr<Client>> client = Client::Connect(options.client, &clock);
  if (!client.ok()) return Fail(client.status());
  switch (options.command) {
    case Command::kGet:
      return Get(options, **client);
    case Command::kSet:
      return Set(options, **client);
    case Command::kDelete:
      return Delete(options, **client);
    default:
      return Version(options, **client);
  }
}

}  // namespace cairn::cli
