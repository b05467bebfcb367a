#pragma once
// Reading many items: FetchBatch gets the values of many keys in one pipeline (GETQ … NOOP), KeyLister lists
// the keys of a server page by page ("lru_crawler metadump all" of memcached's text protocol, which cairnd
// answers too). Owned and used by one thread.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

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

class KeyLister {
 public:
  /// Makes its own connection and starts the listing.
  static Result<std::unique_ptr<KeyLister>> Start(const ClientOptions& options, Clock* clock);
  /// The next key; nothing at the end. A server that does not know the command: NOT_SUPPORTED.
  Result<std::optional<ListedKey>> Next();

 private:
  explicit KeyLister(std::unique_ptr<Channel> channel) : channel_(std::move(channel)) {}
  std::unique_ptr<Channel> channel_;
  bool ended_ = false;
};

}  // namespace cairn::cli
