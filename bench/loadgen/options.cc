#include "bench/loadgen/options.h"

#include <charconv>
#include <functional>
#include <string_view>
#include <vector>

#include "bench/loadgen/key_space.h"

namespace cairn::loadgen {
namespace {

Status Bad(std::string_view what, std::string_view value) {
  return Status(Code::kInvalidArgument, std::string(what) + ", not '" + std::string(value) + "'");
}

template <class T>
Status ReadNumber(std::string_view text, T low, T high, T* out) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value >= low && value <= high)) {
    return Bad("needs a number from " + std::to_string(low) + " to " + std::to_string(high), text);
  }
  *out = value;
  return Status::Ok();
}

using Apply = std::function<Status(std::string_view value, Options*)>;

struct Flag {
  const char* name;
  const char* value;  // what to call the value in the help; null: the flag takes none
  const char* help;
  Apply apply;
};

template <class T>
Apply Number(T Options::*field, T low, T high) {
  return [=](std::string_view text, Options* o) { return ReadNumber(text, low, high, &(o->*field)); };
}

Apply Switch(bool Options::*field) {
  return [=](std::string_view, Options* o) {
    o->*field = true;
    return Status::Ok();
  };
}

Apply Text(std::string Options::*field) {
  return [=](std::string_view text, Options* o) {
    o->*field = text;
    return Status::Ok();
  };
}

Status ReadProtocol(std::string_view text, Options* o) {
  for (const Protocol p : {Protocol::kText, Protocol::kBinary, Protocol::kResp}) {
    if (text == ProtocolName(p)) {
      o->protocol = p;
      return Status::Ok();
    }
  }
  return Bad("needs text, binary or resp", text);
}

Status ReadOp(std::string_view text, Options* o) {
  if (text != "get" && text != "set") return Bad("needs get or set", text);
  o->set_ratio = text == "set" ? 1.0 : 0.0;
  return Status::Ok();
}

Status ReadVersion(std::string_view text, Options* o) {
  if (text == "random") {
    o->version.reset();
    return Status::Ok();
  }
  uint32_t version = 0;
  CAIRN_RETURN_IF_ERROR(ReadNumber<uint32_t>(text, 0, UINT32_MAX, &version));
  o->version = version;
  return Status::Ok();
}

Status ReadExpectedVersion(std::string_view text, Options* o) {
  uint32_t version = 0;
  CAIRN_RETURN_IF_ERROR(ReadNumber<uint32_t>(text, 0, UINT32_MAX, &version));
  o->expect_version = version;
  o->verify = true;
  return Status::Ok();
}

Status ReadDistribution(std::string_view text, Options* o) {
  if (text != "uniform" && text != "zipf") return Bad("needs uniform or zipf", text);
  o->distribution = text == "zipf" ? Distribution::kZipf : Distribution::kUniform;
  return Status::Ok();
}

Status ReadOrder(std::string_view text, Options* o) {
  if (text != "random" && text != "once") return Bad("needs random or once", text);
  o->order = text == "once" ? Order::kOnce : Order::kRandom;
  return Status::Ok();
}

Status SetLoad(std::string_view, Options* o) {
  o->set_ratio = 1.0;
  o->order = Order::kOnce;
  return Status::Ok();
}

std::vector<Flag> TargetFlags() {
  return {
      {"--port", "N", "TCP port on 127.0.0.1", Number<uint16_t>(&Options::port, 1, 65535)},
      {"--unix", "PATH", "Unix socket instead of a port", Text(&Options::unix_path)},
      {"--protocol", "P", "text (default), binary or resp", ReadProtocol},
      {"--connections", "N", "connections (50)", Number<size_t>(&Options::connections, 1, kConnectionsMax)},
      {"--pin", "CPU", "run on this CPU only", Number<int>(&Options::pin_cpu, 0, 1023)},
      {"--server-pid", "PID", "measure this process: CPU and resident memory",
       Number<int>(&Options::server_pid, 1, INT32_MAX)},
  };
}

std::vector<Flag> LoadFlags() {
  return {
      {"--op", "OP", "get (default) or set", ReadOp},
      {"--set-ratio", "X", "share of set requests, 0 to 1", Number<double>(&Options::set_ratio, 0.0, 1.0)},
      {"--load", nullptr, "set every key exactly once (--op set --order once)", SetLoad},
      {"--depth", "D", "requests sent together and awaited together (1)",
       Number<size_t>(&Options::depth, 1, kBatchKeysMax)},
      {"--multiget", "M", "keys per read request (1)", Number<size_t>(&Options::multiget, 1, kBatchKeysMax)},
      {"--order", "O", "random (default), or once: each key exactly once, scrambled", ReadOrder},
      {"--distribution", "D", "uniform (default) or zipf, for --order random", ReadDistribution},
      {"--zipf-exponent", "X", "skew of zipf (0.99), not 1",
       Number<double>(&Options::zipf_exponent, 0.01, 10.0)},
      {"--seed", "N", "each connection derives its own seed from it (1)",
       Number<uint64_t>(&Options::seed, 0, UINT64_MAX)},
      {"--ops", "N", "end after this many keys (with --order once: all keys)",
       Number<uint64_t>(&Options::ops, 1, UINT64_MAX / 2)},
      {"--seconds", "S", "end after this time", Number<double>(&Options::seconds, 0.001, kSecondsMax)},
      {"--max-seconds", "S", "give up after this time whatever else is set (120)",
       Number<double>(&Options::max_seconds, 0.1, kSecondsMax)},
      {"--rate", "R", "keys per second, sent on schedule whether answers come or not",
       Number<double>(&Options::rate, 0.1, 1e9)},
  };
}

std::vector<Flag> DataFlags() {
  return {
      {"--keys", "N", "size of the key space (1000000)", Number<uint64_t>(&Options::keys, 1, kKeysMax)},
      {"--prefix", "TEXT", "what every key begins with (key-)", Text(&Options::prefix)},
      {"--key-size", "B", "bytes per key (32)", Number<size_t>(&Options::key_size, 1, 250)},
      {"--value-size", "B", "bytes per value (100)",
       Number<size_t>(&Options::value_size, 1, size_t{20} << 20)},
      {"--version", "V", "version written into values (0), or random", ReadVersion},
      {"--verify", nullptr, "check every value that is read, byte for byte", Switch(&Options::verify)},
      {"--expect-version", "V", "--verify, and a value of another version is a failure", ReadExpectedVersion},
      {"--misses-are-errors", nullptr, "a key that is not there fails the run",
       Switch(&Options::misses_are_errors)},
      {"--replica", nullptr, "read from a replica (GET_REPLICA, binary protocol)", Switch(&Options::replica)},
      {"--count-distinct", nullptr, "report how many different keys were set",
       Switch(&Options::count_distinct)},
      {"--json", nullptr, "print one line of JSON instead of text", Switch(&Options::json)},
      {"--help", nullptr, "this text", Switch(&Options::help)},
  };
}

std::vector<Flag> AllFlags() {
  std::vector<Flag> flags = TargetFlags();
  for (auto group : {LoadFlags(), DataFlags()}) flags.insert(flags.end(), group.begin(), group.end());
  return flags;
}

Status Check(const Options& o) {
  const auto invalid = [](const char* text) { return Status(Code::kInvalidArgument, text); };
  if ((o.port == 0) == o.unix_path.empty()) return invalid("needs either --port or --unix");
  if (o.ops == 0 && o.seconds == 0) return invalid("needs --ops or --seconds (or --order once)");
  if (o.depth > kBatchKeysMax / o.multiget) return invalid("--depth times --multiget is over 65535");
  if (o.prefix.size() + KeySpace::KeyDigits(o.keys) > o.key_size) {
    return invalid("--key-size has no room for --prefix and the largest key number");
  }
  for (const char c : o.prefix) {
    if (c <= ' ' || c == 0x7f) return invalid("--prefix must be printable and without spaces");
  }
  if (o.order == Order::kOnce && o.ops > o.keys) return invalid("--order once has no more ops than keys");
  if (o.replica && o.protocol != Protocol::kBinary) return invalid("--replica needs --protocol binary");
  if (o.count_distinct && o.keys > kCountedKeysMax) return invalid("--count-distinct has room for 2^32 keys");
  if (o.zipf_exponent == 1.0) return invalid("--zipf-exponent must not be 1");
  const bool versions = o.version != 0U || o.expect_version.value_or(0) != 0;
  if (versions && o.value_size < kVersionedValueMin) {
    return invalid("a value below 16 bytes has no room for a version");
  }
  return Status::Ok();
}

}  // namespace

const char* ProtocolName(Protocol protocol) {
  switch (protocol) {
    case Protocol::kText:
      return "text";
    case Protocol::kBinary:
      return "binary";
    case Protocol::kResp:
      return "resp";
  }
  return "?";
}

Result<Options> ParseOptions(int argc, const char* const* argv) {
  Options options;
  const std::vector<Flag> flags = AllFlags();
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    const Flag* flag = nullptr;
    for (const Flag& candidate : flags) {
      if (arg == candidate.name) flag = &candidate;
    }
    if (flag == nullptr) return Status(Code::kInvalidArgument, "unknown option " + std::string(arg));
    std::string_view value;
    if (flag->value != nullptr) {
      if (++i == argc) return Status(Code::kInvalidArgument, std::string(arg) + " needs a value");
      value = argv[i];
    }
    const Status applied = flag->apply(value, &options);
    if (!applied.ok()) {
      return Status(applied.code(), std::string(arg) + " " + std::string(applied.message()));
    }
  }
  if (options.help) return options;
  if (options.order == Order::kOnce && options.ops == 0) options.ops = options.keys;
  CAIRN_RETURN_IF_ERROR(Check(options));
  return options;
}

std::string HelpText() {
  std::string text =
      "cairn-loadgen: load for memcached and redis protocol servers on this machine\n\n"
      "usage: cairn-loadgen (--port N | --unix PATH) (--ops N | --seconds S | --load) [options]\n\n";
  for (const Flag& flag : AllFlags()) {
    std::string head = std::string("  ") + flag.name;
    if (flag.value != nullptr) head += std::string(" ") + flag.value;
    head.resize(std::max<size_t>(head.size() + 2, 26), ' ');
    text += head + flag.help + "\n";
  }
  text +=
      "\nSIGINT and SIGTERM end the run early; what was measured until then is reported.\n"
      "exit code: 0 done, 1 cannot run or all connections lost, 2 usage, 3 ended by --max-seconds\n"
      "before it was complete, 4 errors, wrong values or (--misses-are-errors) misses\n";
  return text;
}

}  // namespace cairn::loadgen
