#pragma once
// Output: answers on their way to one client. Small answers are bytes in a buffer; a large value stays in
// its item and only a reference stands at its place, so that it goes from the item to the kernel without a
// copy. A loop owns one Output for the batch being executed; what the kernel does not take at once moves
// into an Output of the connection. One thread at a time.
//
// The answers of writes that have to come further than memory are marked with what they have to reach, so
// that one which turns out not to be known durable can be answered truthfully after it has been executed.

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/item.h"
#include "engine/durability.h"
#include "proto/binary.h"
#include "proto/out_buffer.h"

namespace cairn::server {

class Output {
 public:
  /// Values from this size on are shared with their item instead of copied.
  static constexpr size_t kShareBytesMin = 16 * 1024;
  static constexpr std::string_view kAmbiguousText = "ambiguous: not known to be durable";

  Output() = default;
  Output(Output&&) = default;
  Output& operator=(Output&&) = default;

  /// Where answers are appended.
  proto::OutBuffer& buffer() { return buffer_; }
  /// Appends the item's value; shares it when it is large.
  void AppendValue(const ItemRef& item) {
    const std::string_view value = item->value();
    if (value.size() < kShareBytesMin) {
      buffer_.Append(value);
    } else {
      Share(item);
    }
  }

  /// Bytes not sent yet, shared values included.
  size_t size() const { return buffer_.size() + shared_bytes_; }
  bool empty() const { return size() == 0; }
  void Clear();
  /// Moves everything behind what this one holds; `other` is empty afterwards. Marks are dropped: they are
  /// of use only before anything is sent.
  void TakeFrom(Output& other);
  /// Gives memory beyond `keep_bytes` back when empty.
  void Shrink(size_t keep_bytes) { buffer_.Shrink(keep_bytes); }

  /// Describes what is to be sent first; returns how many entries were filled.
  size_t FillIovecs(std::span<iovec> iovecs) const;
  /// `bytes` ≤ size() have been sent.
  void Consume(size_t bytes);

  // --- mutations whose durability the client waits for ---
  using Requirements = std::span<const engine::Requirement>;
  /// Position for MarkText and MarkBinary.
  size_t position() const { return buffer_.size(); }
  /// Everything since `begin` answers one mutation, which has to meet `requirements` (none: no mark). Nothing
  /// since then: it was "noreply", and nobody waits.
  void MarkText(size_t begin, Requirements requirements) {
    if (position() > begin) Mark({begin, position() - begin, false, {}, 0}, requirements);
  }
  /// The same in the binary protocol, where a quiet mutation without an answer still gets an error.
  void MarkBinary(size_t begin, const proto::BinaryHeader& request, Requirements requirements) {
    Mark({begin, position() - begin, true, request.opcode, request.opaque}, requirements);
  }
  /// All marked mutations of a batch have the same time to become durable: one with another time has to wait
  /// for the next batch.
  bool TakesTimeout(uint32_t timeout_ms) const { return marks_.empty() || timeout_ms == timeout_ms_; }
  void set_timeout_ms(uint32_t timeout_ms) { timeout_ms_ = timeout_ms; }
  uint32_t timeout_ms() const { return timeout_ms_; }

  bool has_mutations() const { return !marks_.empty(); }
  size_t mark_count() const { return marks_.size(); }
  Requirements requirements(size_t mark) const {
    return Requirements(requirements_).subspan(marks_[mark].first_requirement, marks_[mark].requirements);
  }
  /// Its answer is to be replaced by "ambiguous".
  void SetAmbiguous(size_t mark) { marks_[mark].ambiguous = any_ambiguous_ = true; }
  /// Replaces the answers for which SetAmbiguous was called and forgets all marks. Before anything was sent.
  void ReplaceAmbiguous();

 private:
  struct SharedValue {
    uint64_t at;  // offset in the buffer's stream of bytes, counted from the last Clear
    ItemRef item;
  };
  struct MutationMark {
    size_t begin, length;
    bool binary;
    proto::Opcode opcode;
    uint32_t opaque;
    bool ambiguous = false;
    uint32_t first_requirement = 0;
    uint32_t requirements = 0;
  };

  void Share(const ItemRef& item);
  void Mark(MutationMark mark, Requirements requirements);
  void ForgetMarks();
  void PopFrontValue();

  proto::OutBuffer buffer_;
  uint64_t buffer_sent_ = 0;         // bytes of the buffer that were consumed since the last Clear
  std::vector<SharedValue> values_;  // in order; those before values_begin_ are gone
  size_t values_begin_ = 0;
  size_t front_value_sent_ = 0;  // of values_[values_begin_]
  size_t shared_bytes_ = 0;      // not sent, over all values
  std::vector<MutationMark> marks_;
  std::vector<engine::Requirement> requirements_;  // of all marks
  uint32_t timeout_ms_ = 0;
  bool any_ambiguous_ = false;
};

}  // namespace cairn::server
