#pragma once
// One batch of requests on one connection: encodes them, and follows the replies until every request has
// its answer. Pure (bytes and replies in, counts out). Owned by its connection; reused from batch to batch
// so that a run does not allocate.
//
// In the binary protocol all requests of a batch but the last are quiet: misses and successful sets answer
// nothing, and the reply with a later opaque (at the latest that of the loud last one) settles them.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/loadgen/key_space.h"
#include "bench/loadgen/protocol.h"

namespace cairn::loadgen {

/// What became of the keys of a run. Each key that was asked for ends in exactly one of hits, misses,
/// stored and errors; a hit with a wrong value is a verify failure besides.
struct Counters {
  uint64_t hits = 0;
  uint64_t misses = 0;
  uint64_t stored = 0;
  uint64_t errors = 0;
  uint64_t verify_failures = 0;
  std::string first_error;

  uint64_t keys() const { return hits + misses + stored + errors; }
  /// Keeps the first text only.
  void NoteError(std::string_view text);
};

struct ReadPolicy {
  bool verify = false;
  std::optional<uint32_t> expect_version;
  bool replica = false;  // binary only: GET_REPLICA, which has no quiet form
};

class Batch {
 public:
  /// `space` and `counters` must outlive the batch.
  Batch(const KeySpace& space, Protocol protocol, ReadPolicy policy, Counters& counters);

  /// Forgets everything; the next Add* begin a new batch.
  void Clear();
  /// Adds a set request.
  void AddSet(uint64_t key, uint32_t version);
  /// Adds a read request without keys; AddGetKey adds them (at least one).
  void AddGet();
  void AddGetKey(uint64_t key);

  size_t keys() const { return entries_.size(); }
  size_t requests() const { return request_starts_.size(); }
  /// Appends all requests. Call once, after the last Add*.
  void Encode(std::string* out);

  /// Takes the next reply of the connection. Answers how many requests it completed, or nothing when the
  /// reply cannot belong to this batch (the connection is then out of step and must be closed).
  std::optional<size_t> Accept(const Reply& reply);
  bool done() const { return request_ == request_starts_.size(); }

 private:
  struct Entry {
    uint64_t key;
    uint32_t version;
    bool is_set;
  };

  size_t RequestEnd(size_t request) const;
  void EncodeRequest(size_t request, std::string* out);
  void EncodeBinary(size_t entry, std::string* out);
  std::optional<size_t> AcceptText(const Reply& reply);
  std::optional<size_t> AcceptBinary(const Reply& reply);
  std::optional<size_t> AcceptResp(const Reply& reply);
  bool SettleStore(const Reply& reply);
  void SettleSilent(const Entry& entry);
  void CheckValue(const Entry& entry, std::string_view value);
  size_t AdvanceTo(size_t entry);

  const KeySpace& space_;
  const Protocol protocol_;
  const ReadPolicy policy_;
  Counters& counters_;
  std::vector<Entry> entries_;
  std::vector<size_t> request_starts_;  // index into entries_
  size_t next_ = 0;                     // first entry without an outcome
  size_t request_ = 0;                  // the first request that is not complete
  bool in_array_ = false;               // RESP: the header of this request's array was seen
  uint32_t serial_ = 0;                 // of the batch, so that a stale binary reply is noticed
  std::string scratch_key_;
  std::string scratch_value_;
};

}  // namespace cairn::loadgen
