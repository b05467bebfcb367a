#pragma once
// What a vbucket does around its CheckpointManager, as far as the tests need it: knows the newest seqno of
// each key, makes items, and keeps a reference to each of them, so that a test can ask which are still held.

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint_manager.h"

namespace cairn::checkpoint {

class Sequence {
 public:
  explicit Sequence(const Limits& limits = {}, Seqno last = Seqno(0), CheckpointId open_id = CheckpointId(1))
      : manager(limits, last, open_id, 0) {}

  /// Each returns whether an older version was superseded.
  bool Set(const std::string& key, size_t value_size = 4) {
    return Append(key,
                  Item::NewValue(key, std::string(value_size, 'v'), {0, 0, Cas(), manager.next_seqno()}));
  }
  bool Delete(const std::string& key) {
    return Append(key, Item::NewDeleted(key, false, {0, 0, Cas(), manager.next_seqno()}));
  }
  void Marker(const std::string& payload) { Append("", Item::NewMarker(payload, manager.next_seqno())); }

  Status SetAt(Seqno seqno, const std::string& key) {
    return AppendAt(key, Item::NewValue(key, "vvvv", {0, 0, Cas(), seqno}));
  }
  Status MarkerAt(Seqno seqno, const std::string& payload) {
    return AppendAt("", Item::NewMarker(payload, seqno));
  }
  Status AppendAt(const std::string& key, ItemRef item) {
    const Seqno seqno = item->seqno();
    Trash trash;
    CAIRN_RETURN_IF_ERROR(manager.AppendAt(item, Replaced(key), now_ns, trash));
    superseded_last = !trash.empty();
    Remember(key, seqno, std::move(item));
    return Status::Ok();
  }

  void Advance(CursorId cursor, uint64_t through) {
    Trash trash;
    manager.Advance(cursor, Seqno(through), trash);
  }
  void Remove(CursorId cursor) {
    Trash trash;
    manager.RemoveCursor(cursor, trash);
  }
  Batch ReadAll(CursorId cursor) { return manager.Read(cursor, SIZE_MAX, SIZE_MAX); }

  /// Does the manager hold the item of `seqno`?
  bool Holds(uint64_t seqno) const { return items.at(seqno)->ref_count() > 1; }
  size_t held() const {
    size_t count = 0;
    for (const auto& [seqno, item] : items) count += item->ref_count() > 1 ? 1 : 0;
    return count;
  }
  Seqno Newest(const std::string& key) const { return newest.at(key); }

  CheckpointManager manager;
  int64_t now_ns = 0;
  bool superseded_last = false;
  std::map<uint64_t, ItemRef> items;
  std::map<std::string, Seqno> newest;

 private:
  bool Append(const std::string& key, ItemRef item) {
    const Seqno seqno = item->seqno();
    Trash trash;
    manager.Append(item, Replaced(key), now_ns, trash);
    superseded_last = !trash.empty();
    Remember(key, seqno, std::move(item));
    return superseded_last;
  }
  Seqno Replaced(const std::string& key) const {
    const auto found = newest.find(key);
    return found == newest.end() ? Seqno(0) : found->second;
  }
  void Remember(const std::string& key, Seqno seqno, ItemRef item) {
    if (!item->is_marker()) newest[key] = seqno;
    items.emplace(seqno.get(), std::move(item));
  }
};

/// Seqnos of a batch's operations.
inline std::vector<uint64_t> Seqnos(const Batch& batch) {
  std::vector<uint64_t> seqnos;
  for (const Operation& operation : batch.operations) seqnos.push_back(operation.item->seqno().get());
  return seqnos;
}

}  // namespace cairn::checkpoint
