#include "cli/bulk_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <thread>
#include <utility>

#include "cli/format.h"

namespace cairn::cli {
namespace {

// The NOOP's opaque; records have their index in the batch.
constexpr uint32_t kEndOfBatch = UINT32_MAX;

}  // namespace

int64_t RetryPauseMs(uint32_t repetition) {
  return std::min<int64_t>(1000, int64_t{10} << std::min<uint32_t>(repetition, 7));
}

BulkStore::BulkStore(std::unique_ptr<Client> client, Clock* clock, const BulkStoreOptions& options,
                     OnRefused refused)
    : client_(std::move(client)), clock_(clock), options_(options), on_refused_(std::move(refused)) {
  filling_.reserve(options_.batch_items_max);
  flying_.reserve(options_.batch_items_max);
}

Status BulkStore::Add(Record record) {
  const size_t bytes = record.key.size() + record.value.size();
  const bool full = filling_.size() == options_.batch_items_max ||
                    (!filling_.empty() && filling_bytes_ + bytes > options_.batch_bytes_max);
  if (full || filling_keys_.contains(record.key)) CAIRN_RETURN_IF_ERROR(Launch());
  filling_.push_back(std::move(record));
  filling_keys_.insert(filling_.back().key);
  filling_bytes_ += bytes;
  return Status::Ok();
}

Status BulkStore::Finish() {
  CAIRN_RETURN_IF_ERROR(Launch());
  return Settle();
}

// Waits for the batch that is under way, then sends the one that was filled.
Status BulkStore::Launch() {
  CAIRN_RETURN_IF_ERROR(Settle());
  filling_keys_.clear();
  filling_bytes_ = 0;
  std::swap(filling_, flying_);
  if (flying_.empty()) return Status::Ok();
  std::vector<uint32_t> all(flying_.size());
  std::iota(all.begin(), all.end(), 0u);
  SendBatch(all);
  return client_->Flush();
}

// Waits for the answers of the batch that is under way, and repeats what was refused for the moment.
Status BulkStore::Settle() {
  if (flying_.empty()) return Status::Ok();
  const int64_t started_ns = clock_->SteadyNs();
  size_t sent = flying_.size();
  for (uint32_t repetition = 0;; ++repetition) {
    std::vector<uint32_t> again;
    Status why;
    CAIRN_RETURN_IF_ERROR(ReceiveBatch(sent, &again, &why));
    if (again.empty()) break;
    if (clock_->SteadyNs() - started_ns >= options_.retry_ms_max * 1'000'000) {
      counts_.refused += again.size();
      flying_.clear();
      return Status(
          Code::kTmpFail,
          fmt::format("still refused after {}: {}",
                      FormatDuration(static_cast<double>(options_.retry_ms_max) / 1e3), why.message()));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(RetryPauseMs(repetition)));
    counts_.retried += again.size();
    SendBatch(again);
    sent = again.size();
  }
  flying_.clear();
  return Status::Ok();
}

void BulkStore::SendBatch(const std::vector<uint32_t>& indexes) {
  for (const uint32_t index : indexes) {
    const Record& record = flying_[index];
    const std::string extras =
        SetExtras(record.flags.value_or(options_.flags), record.expiry.value_or(options_.expiry));
    client_->Send({.opcode = proto::Opcode::kSetQ,
                   .extras = extras,
                   .key = record.key,
                   .value = record.value,
                   .opaque = index});
  }
  client_->Send({.opcode = proto::Opcode::kNoop, .opaque = kEndOfBatch});
}

Status BulkStore::ReceiveBatch(size_t sent, std::vector<uint32_t>* again, Status* why) {
  size_t errors = 0;
  while (true) {
    CAIRN_ASSIGN_OR_RETURN(const Reply reply, client_->Receive());
    if (reply.opaque == kEndOfBatch) {
      if (!reply.ok()) return Refusal(reply);
      // What was not answered by an error before the NOOP's answer has been stored.
      counts_.stored += sent - errors;
      return Status::Ok();
    }
    if (reply.opaque >= flying_.size() || reply.ok() || errors == sent) {
      return Status(Code::kIoError, "the server answered what nobody asked");
    }
    ++errors;
    *why = Refusal(reply);
    if (IsTransient(reply.status)) {
      again->push_back(reply.opaque);
    } else {
      ++counts_.refused;
      on_refused_(flying_[reply.opaque], *why);
    }
  }
}

}  // namespace cairn::cli
