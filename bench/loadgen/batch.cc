#include "bench/loadgen/batch.h"

#include "base/check.h"

namespace cairn::loadgen {

void Counters::NoteError(std::string_view text) {
  constexpr size_t kShown = 200;
  if (first_error.empty()) first_error = text.substr(0, kShown);
}

Batch::Batch(const KeySpace& space, Protocol protocol, ReadPolicy policy, Counters& counters)
    : space_(space), protocol_(protocol), policy_(policy), counters_(counters) {}

void Batch::Clear() {
  entries_.clear();
  request_starts_.clear();
  next_ = 0;
  request_ = 0;
  in_array_ = false;
  ++serial_;
}

void Batch::AddSet(uint64_t key, uint32_t version) {
  request_starts_.push_back(entries_.size());
  entries_.push_back({key, version, true});
}

void Batch::AddGet() { request_starts_.push_back(entries_.size()); }

void Batch::AddGetKey(uint64_t key) { entries_.push_back({key, 0, false}); }

size_t Batch::RequestEnd(size_t request) const {
  return request + 1 < request_starts_.size() ? request_starts_[request + 1] : entries_.size();
}

void Batch::Encode(std::string* out) {
  CAIRN_CHECK(entries_.size() <= 0xffff);
  if (protocol_ == Protocol::kBinary) {
    for (size_t i = 0; i < entries_.size(); ++i) EncodeBinary(i, out);
    return;
  }
  for (size_t i = 0; i < request_starts_.size(); ++i) EncodeRequest(i, out);
}

void Batch::EncodeRequest(size_t request, std::string* out) {
  const size_t begin = request_starts_[request];
  const size_t end = RequestEnd(request);
  const Entry& first = entries_[begin];
  if (first.is_set) {
    scratch_key_.clear();
    scratch_value_.clear();
    space_.AppendKey(first.key, &scratch_key_);
    space_.AppendValue(first.key, first.version, &scratch_value_);
    AppendSet(protocol_, scratch_key_, scratch_value_, out);
    return;
  }
  AppendGetHead(protocol_, end - begin, out);
  for (size_t i = begin; i < end; ++i) {
    scratch_key_.clear();
    space_.AppendKey(entries_[i].key, &scratch_key_);
    AppendGetKey(protocol_, scratch_key_, out);
  }
  AppendGetTail(protocol_, out);
}

void Batch::EncodeBinary(size_t entry, std::string* out) {
  const Entry& e = entries_[entry];
  const bool quiet = entry + 1 < entries_.size();
  const uint32_t opaque = (serial_ << 16) | static_cast<uint32_t>(entry);
  scratch_key_.clear();
  space_.AppendKey(e.key, &scratch_key_);
  if (!e.is_set) {
    if (policy_.replica) {
      AppendBinaryGetReplica(scratch_key_, opaque, out);
    } else {
      AppendBinaryGet(scratch_key_, opaque, quiet, out);
    }
    return;
  }
  scratch_value_.clear();
  space_.AppendValue(e.key, e.version, &scratch_value_);
  AppendBinarySet(scratch_key_, scratch_value_, opaque, quiet, out);
}

std::optional<size_t> Batch::Accept(const Reply& reply) {
  if (done()) return std::nullopt;
  switch (protocol_) {
    case Protocol::kText:
      return AcceptText(reply);
    case Protocol::kBinary:
      return AcceptBinary(reply);
    case Protocol::kResp:
      return AcceptResp(reply);
  }
  return std::nullopt;
}

std::optional<size_t> Batch::AcceptText(const Reply& reply) {
  const size_t end = RequestEnd(request_);
  if (entries_[request_starts_[request_]].is_set) {
    if (!SettleStore(reply)) return std::nullopt;
    return AdvanceTo(end);
  }
  switch (reply.kind) {
    case ReplyKind::kValue: {
      // Values come in the order of the keys; the keys that were left out are misses.
      size_t at = next_;
      while (at < end && !space_.IsKey(entries_[at].key, reply.key)) ++at;
      if (at == end) return std::nullopt;
      counters_.misses += at - next_;
      CheckValue(entries_[at], reply.text);
      // Not AdvanceTo: only END completes the request, whatever the last key's outcome was.
      next_ = at + 1;
      return 0;
    }
    case ReplyKind::kEnd:
      counters_.misses += end - next_;
      return AdvanceTo(end);
    case ReplyKind::kError:
      counters_.errors += end - next_;
      counters_.NoteError(reply.text);
      return AdvanceTo(end);
    default:
      return std::nullopt;
  }
}

std::optional<size_t> Batch::AcceptBinary(const Reply& reply) {
  const size_t at = reply.opaque & 0xffff;
  if (reply.opaque >> 16 != (serial_ & 0xffff) || at < next_ || at >= entries_.size()) return std::nullopt;
  for (size_t i = next_; i < at; ++i) SettleSilent(entries_[i]);
  const Entry& entry = entries_[at];
  if (entry.is_set) {
    if (!SettleStore(reply)) return std::nullopt;
  } else if (reply.kind == ReplyKind::kValue) {
    // GET_REPLICA's answer does not name the key; the opaque has said which one it is.
    if (!policy_.replica && !space_.IsKey(entry.key, reply.key)) return std::nullopt;
    CheckValue(entry, reply.text);
  } else if (reply.kind == ReplyKind::kMiss) {
    ++counters_.misses;
  } else if (reply.kind == ReplyKind::kError) {
    ++counters_.errors;
    counters_.NoteError(reply.text);
  } else {
    return std::nullopt;
  }
  return AdvanceTo(at + 1);
}

std::optional<size_t> Batch::AcceptResp(const Reply& reply) {
  const size_t end = RequestEnd(request_);
  const Entry& entry = entries_[next_];
  if (entry.is_set) {
    if (!SettleStore(reply)) return std::nullopt;
    return AdvanceTo(end);
  }
  const size_t keys = end - request_starts_[request_];
  switch (reply.kind) {
    case ReplyKind::kArray:
      if (in_array_ || keys == 1 || reply.array_size != keys) return std::nullopt;
      in_array_ = true;
      return 0;
    case ReplyKind::kValue:
    case ReplyKind::kMiss:
      if (in_array_ != (keys > 1)) return std::nullopt;
      if (reply.kind == ReplyKind::kValue) {
        CheckValue(entry, reply.text);
      } else {
        ++counters_.misses;
      }
      return AdvanceTo(next_ + 1);
    case ReplyKind::kError:
      counters_.errors += end - next_;
      counters_.NoteError(reply.text);
      return AdvanceTo(end);
    default:
      return std::nullopt;
  }
}

bool Batch::SettleStore(const Reply& reply) {
  if (reply.kind == ReplyKind::kStored) {
    ++counters_.stored;
    return true;
  }
  if (reply.kind != ReplyKind::kError) return false;
  ++counters_.errors;
  counters_.NoteError(reply.text);
  return true;
}

void Batch::SettleSilent(const Entry& entry) { ++(entry.is_set ? counters_.stored : counters_.misses); }

void Batch::CheckValue(const Entry& entry, std::string_view value) {
  ++counters_.hits;
  if (value.size() != space_.value_size()) {
    ++counters_.verify_failures;
    counters_.NoteError("a value of " + std::to_string(value.size()) + " bytes");
    return;
  }
  if (!policy_.verify) return;
  const auto version = space_.VersionOf(entry.key, value);
  if (version && (!policy_.expect_version || *version == *policy_.expect_version)) return;
  ++counters_.verify_failures;
  counters_.NoteError("key number " + std::to_string(entry.key) +
                      (version ? ": version " + std::to_string(*version) : ": not a value of this key"));
}

size_t Batch::AdvanceTo(size_t entry) {
  next_ = entry;
  size_t completed = 0;
  while (request_ < request_starts_.size() && RequestEnd(request_) <= next_) {
    ++request_;
    ++completed;
    in_array_ = false;
  }
  return completed;
}

}  // namespace cairn::loadgen
