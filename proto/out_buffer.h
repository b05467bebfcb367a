#pragma once
// OutBuffer: the answers of one connection that the kernel has not taken yet. Bytes go in at the back and
// leave at the front; storage is kept between batches. Owned and used by one thread at a time.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace cairn::proto {

class OutBuffer {
 public:
  OutBuffer() = default;
  OutBuffer(OutBuffer&& other) noexcept;
  OutBuffer& operator=(OutBuffer&& other) noexcept;
  ~OutBuffer();

  /// Bytes that wait to be written. Valid until the next call that is not const.
  std::string_view view() const { return {data_ + begin_, end_ - begin_}; }
  size_t size() const { return end_ - begin_; }
  bool empty() const { return begin_ == end_; }
  size_t capacity() const { return capacity_; }

  /// Room for `n` more bytes at the returned place; Commit says how many of them were written.
  char* Reserve(size_t n) {
    if (capacity_ - end_ < n) Grow(n);
    return data_ + end_;
  }
  void Commit(size_t n) { end_ += n; }

  void Append(std::string_view bytes) {
    if (bytes.empty()) return;
    std::memcpy(Reserve(bytes.size()), bytes.data(), bytes.size());
    end_ += bytes.size();
  }
  void Append(char byte) {
    *Reserve(1) = byte;
    ++end_;
  }
  /// Decimal digits.
  void AppendUint(uint64_t value);

  /// Drops `n` ≤ size() bytes from the front (the kernel took them).
  void Consume(size_t n) {
    begin_ += n;
    if (begin_ == end_) begin_ = end_ = 0;
  }
  void Clear() { begin_ = end_ = 0; }
  /// Gives storage above `keep_bytes` back when nothing waits.
  void Shrink(size_t keep_bytes);

 private:
  void Grow(size_t n);

  char* data_ = nullptr;
  size_t begin_ = 0;
  size_t end_ = 0;
  size_t capacity_ = 0;
};

/// Writes the decimal digits of `value` to `out` (room for 20) and returns how many.
size_t FormatUint(uint64_t value, char* out);

}  // namespace cairn::proto
