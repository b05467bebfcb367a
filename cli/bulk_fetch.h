#pragma once
// Reading many items: FetchBatch gets the values of many keys in one pipeline (GETQ … NOOP), KeyLister lists
// the keys of a server: of a cairnd page by page with GET_KEYS (docs/protocol.md), of a memcached with
// "lru_crawler metadump all" of the text protocol. Owned and used by one thread.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "cli/client.h"

namespace cairn::cli {

/// Keys per pipeline that keep a server and us busy without piling up values.
inline constexpr size_t kFetchBatchKeys = 256;

struct FetchedValue {
  size_t index = 0;  // into the keys asked for
  std::string_view value;
  uint32_t flags = 0;
};

/// Asks for all keys at once and calls `found` once for each that exists. Misses are silent. What the server
/// refuses for the moment is asked again for up to `retry_ms_max`. After an error (of the channel, or the
/// refusal of a key) the client is of no use any more: answers may be outstanding.
Status FetchBatch(Client& client, std::span<const std::string> keys, int64_t retry_ms_max,
                  const std::function<void(const FetchedValue&)>& found);

struct ListedKey {
  std::string key;
  uint32_t expiry = 0;  // Unix time, 0: never
};

/// One line of a metadump: "key=<percent-encoded> exp=<Unix time or -1> …" in any order of fields.
/// Nothing when it is no such line.
std::optional<ListedKey> ParseMetadumpLine(std::string_view line);

/// The value of an answer to GET_KEYS: for each key its size (16 bits), expiry (32 bits) and bytes, big
/// endian. Nothing when it is cut.
std::optional<std::vector<ListedKey>> ParseKeyPage(std::string_view value);

class KeyLister {
 public:
  virtual ~KeyLister() = default;
  /// Makes its own connection. A cairnd is asked page by page; another server by one metadump.
  static Result<std::unique_ptr<KeyLister>> Start(const ClientOptions& options, Clock* clock);
  /// The next key; nothing at the end. A server that cannot list its keys: NOT_SUPPORTED. Keys that come or
  /// go meanwhile may be listed or not.
  virtual Result<std::optional<ListedKey>> Next() = 0;
};

}  // namespace cairn::cli
