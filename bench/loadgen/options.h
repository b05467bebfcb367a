#pragma once
// What a run of the load generator does, and how the command line says it.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "base/status.h"
#include "bench/loadgen/protocol.h"

namespace cairn::loadgen {

inline constexpr size_t kConnectionsMax = 20'000;
/// Keys in flight on one connection: 16 bits of the binary protocol's opaque name them.
inline constexpr size_t kBatchKeysMax = 65'535;
inline constexpr uint64_t kKeysMax = 10'000'000'000;
/// --count-distinct keeps a bit for each key.
inline constexpr uint64_t kCountedKeysMax = uint64_t{1} << 32;
inline constexpr double kSecondsMax = 3600;

enum class Distribution : uint8_t { kUniform, kZipf };
enum class Order : uint8_t {
  kRandom,  // every operation draws a key
  kOnce,    // all connections together visit each key exactly once, in scrambled order
};

struct Options {
  uint16_t port = 0;      // on 127.0.0.1, nowhere else
  std::string unix_path;  // instead of the port

  Protocol protocol = Protocol::kText;
  size_t connections = 50;
  size_t depth = 1;                     // requests sent together and awaited together
  size_t multiget = 1;                  // keys per read request
  double set_ratio = 0.0;               // share of set requests
  std::optional<uint32_t> version = 0;  // version of the values that are set; none: random

  uint64_t keys = 1'000'000;
  std::string prefix = "key-";
  size_t key_size = 32;
  size_t value_size = 100;
  Distribution distribution = Distribution::kUniform;
  double zipf_exponent = 0.99;
  Order order = Order::kRandom;
  uint64_t seed = 1;

  uint64_t ops = 0;          // keys touched in all; 0: no limit but time
  double seconds = 0;        // 0: no limit but `ops`
  double max_seconds = 120;  // the run always ends here
  double rate = 0;           // keys per second over all connections, open loop; 0: closed loop

  bool verify = false;
  std::optional<uint32_t> expect_version;  // with verify: any other version is a failure
  bool misses_are_errors = false;
  bool replica = false;         // reads are GET_REPLICA
  bool count_distinct = false;  // of the keys that are set

  int pin_cpu = -1;
  int server_pid = 0;
  bool json = false;
  bool help = false;
};

/// Reads and checks the command line; the error says what is wrong with it.
Result<Options> ParseOptions(int argc, const char* const* argv);
/// The help text.
std::string HelpText();

const char* ProtocolName(Protocol protocol);

}  // namespace cairn::loadgen
