#pragma once
// What goes into and comes out of the engine's data operations. Hot results carry a Code, not a Status:
// a miss must not allocate.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/item.h"
#include "base/status.h"
#include "base/types.h"
#include "hashtable/hash_table.h"
#include "proto/update_id.h"

namespace cairn::engine {

/// A client's operation that was answered WOULD_BLOCK. Wake is called once, from any thread, and must not
/// block; the operation is then repeated from its beginning.
class Waiter {
 public:
  virtual ~Waiter() = default;
  virtual void Wake() = 0;
};
using WaiterRef = std::shared_ptr<Waiter>;

/// A key with what is computed once per operation: its table hash and its vbucket (Engine::MakeKey).
struct OpKey {
  hashtable::HashedKey hashed;
  Vbid vbucket;
  std::string_view text() const { return hashed.key; }
};

enum class StoreMode : uint8_t { kSet, kAdd, kReplace, kAppend, kPrepend };

struct StoreRequest {
  StoreMode mode = StoreMode::kSet;
  std::string_view value;
  uint32_t flags = 0;
  uint32_t expiry = 0;  // absolute, from Engine::AbsoluteExpiry
  Cas cas;              // 0: any
};

struct ArithmeticRequest {
  bool increment = true;
  uint64_t delta = 1;
  bool create = false;  // binary protocol: make it with `initial` when absent
  uint64_t initial = 0;
  uint32_t expiry = 0;  // of a created item; absolute
  Cas cas;              // 0: any
};

struct GetResult {
  Code code = Code::kNotFound;  // kOk, kNotFound, kWouldBlock, kNotMyVbucket, kTmpFail, kCorruption
  ItemRef item;                 // a value item
};

struct MutationResult {
  Code code = Code::kOk;
  Cas cas;
  Seqno seqno;
  uint64_t history = 0;  // the branch it was written on; only while somebody asks for durability
};

struct ArithmeticResult {
  Code code = Code::kOk;
  uint64_t value = 0;
  Cas cas;
  Seqno seqno;
  uint64_t history = 0;
};

/// Of a get-and-touch: the item is the version that it wrote.
struct TouchedResult : GetResult {
  uint64_t history = 0;
};

enum class KeyState : uint8_t { kNotFound, kFound, kDeleted };

/// Where a key is, for OBSERVE.
struct KeyObservation {
  Code code = Code::kNotFound;  // kOk, kWouldBlock, kNotMyVbucket, kTmpFail
  KeyState state = KeyState::kNotFound;
  bool persisted = false;  // this version is in the log
  Cas cas;
};

enum class VbucketState : uint8_t { kActive = 1, kReplica = 2, kPending = 3, kDead = 4 };
std::string_view VbucketStateName(VbucketState state);

using UpdateId = proto::UpdateId;

enum class UpdatePhase : uint8_t { kNormal, kStarting, kUpdating, kCompleting, kReverting };
std::string_view UpdatePhaseName(UpdatePhase phase);

/// One update that has ended.
struct UpdateOutcome {
  UpdateId id;
  std::string name;
  bool committed = false;
  int64_t started_ns = 0, decided_ns = 0, finished_ns = 0;  // wall clock
  uint64_t added = 0, updated = 0, deleted = 0;             // keys, at the decision
  bool digest_equal = true;  // of a revert: digest afterwards == digest at START
};

struct UpdateStatus {
  UpdatePhase phase = UpdatePhase::kNormal;
  UpdateId id;
  std::string name;
  int64_t started_ns = 0;  // wall clock
  int64_t age_ns = 0;
  uint64_t added = 0, updated = 0, deleted = 0;     // keys changed since START
  uint64_t window_bytes = 0;                        // logged since START
  uint64_t preimage_bytes = 0;                      // memory held to take it back
  uint64_t digest_at_start = 0, digest_now = 0;     // over all vbuckets
  uint32_t vbuckets_moved = 0, vbuckets_total = 0;  // progress of the running step
  uint64_t keys_to_revert = 0;                      // still to be put back while reverting
  std::vector<UpdateOutcome> history;               // newest first, at most ten
};

struct UpdateRequest {
  UpdateId id;       // none: START makes one, COMPLETE and REVERT mean the running one
  std::string name;  // START only; ^[A-Za-z0-9._-]{0,64}$
};

/// Emits one statistic.
using StatSink = std::function<void(std::string_view name, std::string_view value)>;

}  // namespace cairn::engine
