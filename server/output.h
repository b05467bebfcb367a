#pragma once
// Output: answers on their way to one client. Small answers are bytes in a buffer; a large value stays in
// its item and only a reference stands at its place, so that it goes from the item to the kernel without a
// copy. A loop owns one Output for the batch being executed; what the kernel does not take at once moves
// into an Output of the connection. One thread at a time.
//
// With `--sync always` the answers of mutations are marked, so that a batch that turns out not to be known
// durable can be answered truthfully (MakeAmbiguous) after it has been executed.

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/item.h"
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
  /// Position for MarkText and MarkBinary.
  size_t position() const { return buffer_.size(); }
  /// Everything since `begin` answers one mutation. Nothing since then: it was "noreply", and nobody waits.
  void MarkText(size_t begin) {
    if (position() > begin) Mark({begin, position() - begin, false, {}, 0});
  }
  /// The same in the binary protocol, where a quiet mutation without an answer still gets an error.
  void MarkBinary(size_t begin, const proto::BinaryHeader& request) {
    Mark({begin, position() - begin, true, request.opcode, request.opaque});
  }
  bool has_mutations() const { return !marks_.empty(); }
  /// Replaces the answer of each marked mutation. Before anything of it was sent.
  void MakeAmbiguous();

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
  };

  void Share(const ItemRef& item);
  void Mark(const MutationMark& mark) { marks_.push_back(mark); }
  void PopFrontValue();

  proto::OutBuffer buffer_;
  uint64_t buffer_sent_ = 0;         // bytes of the buffer that were consumed since the last Clear
  std::vector<SharedValue> values_;  // in order; those before values_begin_ are gone
  size_t values_begin_ = 0;
  size_t front_value_sent_ = 0;  // of values_[values_begin_]
  size_t shared_bytes_ = 0;      // not sent, over all values
  std::vector<MutationMark> marks_;
};

}  // namespace cairn::server
