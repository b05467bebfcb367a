// Looking at a key without changing anything: unlike a read it neither counts an access nor turns an expired
// version into a deletion, so it may be asked of a replica too.

#include "engine/vbucket.h"

namespace cairn::engine {

KeyObservation VBucket::Observe(const hashtable::HashedKey& key, const OpTime& now, Effects& fx) {
  if (!exists_ || (state_ != VbucketState::kActive && state_ != VbucketState::kReplica)) {
    return {Code::kNotMyVbucket, KeyState::kNotFound, false, Cas()};
  }
  RestoreIfUndoing(key, fx);
  const Item* item = table_.Find(key);
  if (item == nullptr) {
    if (!warm_) return {BlockForFetch(key, Seqno(), fx), KeyState::kNotFound, false, Cas()};
    return {Code::kOk, KeyState::kNotFound, false, Cas()};
  }
  const bool persisted = item->seqno() <= persisted_;
  if (item->is_deleted()) {
    // A deletion that is on disk is as if the key had never been.
    const KeyState state = persisted ? KeyState::kNotFound : KeyState::kDeleted;
    return {Code::kOk, state, persisted, item->cas()};
  }
  if (Gone(*item, now)) return {Code::kOk, KeyState::kDeleted, false, item->cas()};
  return {Code::kOk, KeyState::kFound, persisted, item->cas()};
}

}  // namespace cairn::engine
