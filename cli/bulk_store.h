#pragma once
// BulkStore: stores many records over one connection, in batches of SETQ and one NOOP. While the server
// works on a batch the next one is filled. Records of one key keep their order: a batch never holds a key
// twice, and what the server refused for the moment (TMP_OOM, TMPFAIL, busy, locked) is sent again, with
// growing pauses, before the next batch leaves. Owned and used by one thread.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "cli/client.h"
#include "cli/records.h"

namespace cairn::cli {

struct BulkStoreOptions {
  uint32_t flags = 0;   // of records that do not say
  uint32_t expiry = 0;  // of records that do not say
  size_t batch_items_max = 256;
  size_t batch_bytes_max = size_t{512} << 10;  // keys and values; a single larger record is a batch
  int64_t retry_ms_max = 30'000;               // how long one batch is tried again
};

/// The pause before the n-th repetition (from 0), in milliseconds: 10, 20, 40 … 1,000.
int64_t RetryPauseMs(uint32_t repetition);

class BulkStore {
 public:
  struct Counts {
    uint64_t stored = 0;   // acknowledged
    uint64_t refused = 0;  // for good
    uint64_t retried = 0;  // requests sent again
  };
  /// Told of each record that the server refused for good.
  using OnRefused = std::function<void(const Record& record, const Status& why)>;

  /// `clock` must outlive this object.
  BulkStore(std::unique_ptr<Client> client, Clock* clock, const BulkStoreOptions& options, OnRefused refused);

  /// Takes a record; may send a batch and wait for the one before. An error ends the load: of the channel,
  /// or kTmpFail when a batch was refused for retry_ms_max.
  Status Add(Record record);
  /// Sends what is left and waits for all answers.
  Status Finish();
  const Counts& counts() const { return counts_; }

 private:
  Status Launch();
  Status Settle();
  void SendBatch(const std::vector<uint32_t>& indexes);
  Status ReceiveBatch(size_t sent, std::vector<uint32_t>* again, Status* why);

  std::unique_ptr<Client> client_;
  Clock* clock_;
  BulkStoreOptions options_;
  OnRefused on_refused_;
  Counts counts_;
  std::vector<Record> filling_;
  std::unordered_set<std::string_view> filling_keys_;  // views into filling_, which never grows its storage
  size_t filling_bytes_ = 0;
  std::vector<Record> flying_;
};

}  // namespace cairn::cli
