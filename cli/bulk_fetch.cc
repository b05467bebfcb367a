#include "cli/bulk_fetch.h"

#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include "cli/bulk_store.h"
#include "cli/format.h"
#include "cli/table.h"

namespace cairn::cli {
namespace {

constexpr uint32_t kEndOfBatch = UINT32_MAX;
// A key of 250 bytes, each as %XX, and the other fields.
constexpr size_t kMetadumpLineMax = 4096;

std::optional<std::string> PercentDecode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(text[i]);
      continue;
    }
    unsigned byte = 0;
    const std::string_view digits = text.substr(i + 1, 2);
    const char* end = digits.data() + digits.size();
    const auto [at, error] = std::from_chars(digits.data(), end, byte, 16);
    if (digits.size() != 2 || error != std::errc() || at != end) return std::nullopt;
    out.push_back(static_cast<char>(byte));
    i += 2;
  }
  return out;
}

void SendGets(Client& client, std::span<const std::string> keys, const std::vector<uint32_t>& indexes) {
  for (const uint32_t index : indexes) {
    client.Send({.opcode = proto::Opcode::kGetQ, .key = keys[index], .opaque = index});
  }
  client.Send({.opcode = proto::Opcode::kNoop, .opaque = kEndOfBatch});
}

// Takes the answers up to the NOOP's. `again`: what was refused for the moment, `refused`: why. A refusal
// that lasts is returned at once.
Status ReceiveGets(Client& client, size_t keys, const std::function<void(const FetchedValue&)>& found,
                   std::vector<uint32_t>* again, Status* refused) {
  while (true) {
    CAIRN_ASSIGN_OR_RETURN(const Reply reply, client.Receive());
    if (reply.opaque == kEndOfBatch) return reply.ok() ? Status::Ok() : Refusal(reply);
    if (reply.opaque >= keys) return Status(Code::kIoError, "the server answered what nobody asked");
    if (reply.ok()) {
      found({.index = reply.opaque, .value = reply.value, .flags = reply.flags()});
    } else if (IsTransient(reply.status)) {
      again->push_back(reply.opaque);
      if (refused->ok()) *refused = Refusal(reply);
    } else if (reply.status != proto::BinaryStatus::kNotFound) {
      return Refusal(reply);
    }
  }
}

uint32_t BigEndian(std::string_view bytes) {
  uint32_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

// GET_KEYS until the server gives no position to go on from.
class PageLister final : public KeyLister {
 public:
  explicit PageLister(std::unique_ptr<Client> client) : client_(std::move(client)) {}

  Result<std::optional<ListedKey>> Next() override {
    while (next_ == page_.size()) {
      if (ended_) return std::optional<ListedKey>();
      CAIRN_RETURN_IF_ERROR(ReadPage());
    }
    return std::optional<ListedKey>(std::move(page_[next_++]));
  }

 private:
  // A server that is still loading says "temporary failure"; it is asked again for as long.
  static constexpr int64_t kRetryMsMax = 30'000;

  Status ReadPage() {
    int64_t waited_ms = 0;
    for (uint32_t repetition = 0;; ++repetition) {
      CAIRN_ASSIGN_OR_RETURN(const Reply reply,
                             client_->Call({.opcode = proto::Opcode::kGetKeys, .key = position_}));
      if (reply.ok()) return TakePage(reply);
      if (!IsTransient(reply.status) || waited_ms >= kRetryMsMax) return Refusal(reply);
      waited_ms += RetryPauseMs(repetition);
      std::this_thread::sleep_for(std::chrono::milliseconds(RetryPauseMs(repetition)));
    }
  }

  Status TakePage(const Reply& reply) {
    std::optional<std::vector<ListedKey>> page = ParseKeyPage(reply.value);
    if (!page) return Status(Code::kIoError, "the server sent a list of keys that makes no sense");
    page_ = std::move(*page);
    next_ = 0;
    position_ = reply.key;
    ended_ = position_.empty();
    return Status::Ok();
  }

  std::unique_ptr<Client> client_;
  std::string position_;
  std::vector<ListedKey> page_;
  size_t next_ = 0;
  bool ended_ = false;
};

class MetadumpLister final : public KeyLister {
 public:
  explicit MetadumpLister(std::unique_ptr<Channel> channel) : channel_(std::move(channel)) {}

  Result<std::optional<ListedKey>> Next() override {
    if (ended_) return std::optional<ListedKey>();
    CAIRN_ASSIGN_OR_RETURN(const std::string_view line, channel_->AwaitLine(kMetadumpLineMax));
    ended_ = line == "END";
    if (ended_) return std::optional<ListedKey>();
    std::optional<ListedKey> listed = ParseMetadumpLine(line);
    if (listed) return listed;
    ended_ = true;
    if (line.starts_with("BUSY")) return Status(Code::kBusy, EscapeForTerminal(line));
    return Status(Code::kNotSupported,
                  fmt::format("the server cannot list its keys: {}", EscapeForTerminal(line)));
  }

 private:
  std::unique_ptr<Channel> channel_;
  bool ended_ = false;
};

}  // namespace

Status FetchBatch(Client& client, std::span<const std::string> keys, int64_t retry_ms_max,
                  const std::function<void(const FetchedValue&)>& found) {
  std::vector<uint32_t> asked(keys.size());
  std::iota(asked.begin(), asked.end(), 0u);
  int64_t waited_ms = 0;
  for (uint32_t repetition = 0;; ++repetition) {
    Status refused;
    std::vector<uint32_t> again;
    SendGets(client, keys, asked);
    CAIRN_RETURN_IF_ERROR(ReceiveGets(client, keys.size(), found, &again, &refused));
    if (again.empty() || waited_ms >= retry_ms_max) return refused;
    waited_ms += RetryPauseMs(repetition);
    std::this_thread::sleep_for(std::chrono::milliseconds(RetryPauseMs(repetition)));
    asked = std::move(again);
  }
}

std::optional<ListedKey> ParseMetadumpLine(std::string_view line) {
  ListedKey listed;
  while (!line.empty()) {
    const size_t blank = std::min(line.find(' '), line.size());
    const std::string_view word = line.substr(0, blank);
    line.remove_prefix(std::min(blank + 1, line.size()));
    if (word.starts_with("key=")) {
      std::optional<std::string> key = PercentDecode(word.substr(4));
      if (!key) return std::nullopt;
      listed.key = std::move(*key);
    } else if (word.starts_with("exp=")) {
      const std::optional<uint32_t> expiry = ParseU32(word.substr(4));
      listed.expiry = expiry.value_or(0);
    }
  }
  if (listed.key.empty()) return std::nullopt;
  return listed;
}

std::optional<std::vector<ListedKey>> ParseKeyPage(std::string_view value) {
  constexpr size_t kHeadBytes = 6;
  std::vector<ListedKey> keys;
  while (!value.empty()) {
    if (value.size() < kHeadBytes) return std::nullopt;
    const auto size = static_cast<size_t>(BigEndian(value.substr(0, 2)));
    const uint32_t expiry = BigEndian(value.substr(2, 4));
    value.remove_prefix(kHeadBytes);
    if (size == 0 || value.size() < size) return std::nullopt;
    keys.push_back({std::string(value.substr(0, size)), expiry});
    value.remove_prefix(size);
  }
  return keys;
}

Result<std::unique_ptr<KeyLister>> KeyLister::Start(const ClientOptions& options, Clock* clock) {
  CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<Client> client, Client::Connect(options, clock));
  // Not by trying: memcached keeps silent about an opcode that it does not know and that has a body.
  CAIRN_ASSIGN_OR_RETURN(const StatList stats, client->Stats(""));
  if (FindStat(stats, "cairn_version")) return std::unique_ptr<KeyLister>(new PageLister(std::move(client)));
  CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<Channel> channel,
                         Channel::Connect(options.address, clock, options.timeout_ms));
  channel->Queue("lru_crawler metadump all\r\n");
  return std::unique_ptr<KeyLister>(new MetadumpLister(std::move(channel)));
}

}  // namespace cairn::cli
