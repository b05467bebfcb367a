#include "server/output.h"

#include <algorithm>

#include "base/check.h"

namespace cairn::server {

void Output::Clear() {
  buffer_.Clear();
  buffer_sent_ = 0;
  values_.clear();
  values_begin_ = 0;
  front_value_sent_ = 0;
  shared_bytes_ = 0;
  ForgetMarks();
}

void Output::ForgetMarks() {
  marks_.clear();
  requirements_.clear();
  any_ambiguous_ = false;
}

void Output::Mark(MutationMark mark, Requirements requirements) {
  if (requirements.empty()) return;
  mark.first_requirement = static_cast<uint32_t>(requirements_.size());
  mark.requirements = static_cast<uint32_t>(requirements.size());
  requirements_.insert(requirements_.end(), requirements.begin(), requirements.end());
  marks_.push_back(mark);
}

void Output::Share(const ItemRef& item) {
  values_.push_back({buffer_sent_ + buffer_.size(), item});
  shared_bytes_ += item->value().size();
}

void Output::TakeFrom(Output& other) {
  if (empty()) {
    Clear();
    std::swap(*this, other);
    ForgetMarks();
    return;
  }
  // A value of `other` that was sent in part stays in front of everything only when this one is empty.
  CAIRN_CHECK(other.front_value_sent_ == 0);
  const uint64_t offset = buffer_sent_ + buffer_.size() - other.buffer_sent_;
  for (size_t i = other.values_begin_; i < other.values_.size(); ++i) {
    values_.push_back({other.values_[i].at + offset, std::move(other.values_[i].item)});
  }
  shared_bytes_ += other.shared_bytes_;
  buffer_.Append(other.buffer_.view());
  other.Clear();
}

size_t Output::FillIovecs(std::span<iovec> iovecs) const {
  const std::string_view bytes = buffer_.view();
  size_t count = 0;
  size_t done = 0;  // of `bytes`
  const auto add = [&](std::string_view part) {
    if (part.empty()) return;
    iovecs[count++] = {const_cast<char*>(part.data()), part.size()};
  };
  for (size_t i = values_begin_; i < values_.size() && count + 2 < iovecs.size(); ++i) {
    const auto at = static_cast<size_t>(values_[i].at - buffer_sent_);
    add(bytes.substr(done, at - done));
    done = at;
    add(values_[i].item->value().substr(i == values_begin_ ? front_value_sent_ : 0));
    if (i + 1 < values_.size() && count + 2 >= iovecs.size()) return count;
  }
  add(bytes.substr(done));
  return count;
}

void Output::PopFrontValue() {
  values_[values_begin_].item.Reset();
  front_value_sent_ = 0;
  if (++values_begin_ == values_.size()) {
    values_.clear();
    values_begin_ = 0;
  }
}

void Output::Consume(size_t bytes) {
  CAIRN_DCHECK(bytes <= size());
  while (values_begin_ < values_.size()) {
    const auto before = static_cast<size_t>(values_[values_begin_].at - buffer_sent_);
    const size_t from_buffer = std::min(bytes, before);
    buffer_.Consume(from_buffer);
    buffer_sent_ += from_buffer;
    bytes -= from_buffer;
    if (from_buffer < before) return;
    const size_t left = values_[values_begin_].item->value().size() - front_value_sent_;
    const size_t from_value = std::min(bytes, left);
    front_value_sent_ += from_value;
    shared_bytes_ -= from_value;
    bytes -= from_value;
    if (from_value < left) return;
    PopFrontValue();
  }
  buffer_.Consume(bytes);
  buffer_sent_ += bytes;
}

void Output::ReplaceAmbiguous() {
  if (!any_ambiguous_) return ForgetMarks();
  CAIRN_CHECK(buffer_sent_ == 0 && front_value_sent_ == 0);
  const std::string_view old = buffer_.view();
  proto::OutBuffer fresh;
  size_t done = 0;
  size_t next_value = values_begin_;
  // Values keep their place relative to the bytes around them.
  const auto copy_to = [&](size_t end) {
    for (; next_value < values_.size() && values_[next_value].at <= end; ++next_value) {
      values_[next_value].at = values_[next_value].at - done + fresh.size();
    }
    fresh.Append(old.substr(done, end - done));
    done = end;
  };
  for (const MutationMark& mark : marks_) {
    if (!mark.ambiguous) continue;
    copy_to(mark.begin);
    done = mark.begin + mark.length;
    if (mark.binary) {
      proto::BinaryHeader request;
      request.opcode = mark.opcode;
      request.opaque = mark.opaque;
      proto::AppendBinaryError(request, proto::BinaryStatus::kAmbiguous, &fresh, kAmbiguousText);
    } else if (mark.length > 0) {
      fresh.Append("SERVER_ERROR ");
      fresh.Append(kAmbiguousText);
      fresh.Append("\r\n");
    }
  }
  copy_to(old.size());
  buffer_ = std::move(fresh);
  ForgetMarks();
}

}  // namespace cairn::server
