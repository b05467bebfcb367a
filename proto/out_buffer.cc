#include "proto/out_buffer.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "base/check.h"

namespace cairn::proto {
namespace {

constexpr size_t kFirstCapacity = 4096;

// "00" … "99".
constexpr std::array<char, 200> MakePairs() {
  std::array<char, 200> pairs{};
  for (size_t i = 0; i < 100; ++i) {
    pairs[2 * i] = static_cast<char>('0' + i / 10);
    pairs[2 * i + 1] = static_cast<char>('0' + i % 10);
  }
  return pairs;
}
constexpr auto kPairs = MakePairs();

}  // namespace

OutBuffer::OutBuffer(OutBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      begin_(std::exchange(other.begin_, 0)),
      end_(std::exchange(other.end_, 0)),
      capacity_(std::exchange(other.capacity_, 0)) {}

OutBuffer& OutBuffer::operator=(OutBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(begin_, other.begin_);
  std::swap(end_, other.end_);
  std::swap(capacity_, other.capacity_);
  return *this;
}

OutBuffer::~OutBuffer() { std::free(data_); }

void OutBuffer::AppendUint(uint64_t value) {
  constexpr size_t kDigitsMax = 20;
  Commit(FormatUint(value, Reserve(kDigitsMax)));
}

void OutBuffer::Grow(size_t n) {
  const size_t waiting = size();
  // A half-written front is reclaimed first, when that frees at least half of the storage: each byte is
  // then moved at most once for each byte that was written.
  if (begin_ >= capacity_ / 2 && capacity_ - waiting >= n) {
    std::memmove(data_, data_ + begin_, waiting);
  } else {
    const size_t wanted = std::max({kFirstCapacity, 2 * capacity_, waiting + n});
    auto* fresh = static_cast<char*>(std::malloc(wanted));
    CAIRN_CHECK(fresh != nullptr);
    if (waiting > 0) std::memcpy(fresh, data_ + begin_, waiting);
    std::free(data_);
    data_ = fresh;
    capacity_ = wanted;
  }
  begin_ = 0;
  end_ = waiting;
}

void OutBuffer::Shrink(size_t keep_bytes) {
  if (!empty() || capacity_ <= keep_bytes) return;
  std::free(std::exchange(data_, nullptr));
  begin_ = end_ = capacity_ = 0;
}

size_t FormatUint(uint64_t value, char* out) {
  char digits[20];
  char* p = digits + sizeof(digits);
  while (value >= 100) {
    p -= 2;
    std::memcpy(p, &kPairs[2 * (value % 100)], 2);
    value /= 100;
  }
  if (value >= 10) {
    p -= 2;
    std::memcpy(p, &kPairs[2 * value], 2);
  } else {
    *--p = static_cast<char>('0' + value);
  }
  const auto n = static_cast<size_t>(digits + sizeof(digits) - p);
  std::memcpy(out, p, n);
  return n;
}

}  // namespace cairn::proto
