#pragma once
// ForwardingStore: hands every call on to a store that outlives the engine, so that a "crash" can keep what
// is on disk. Tests derive from it to refuse, fail or watch single calls. As thread-safe as what is behind
// it.

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/storage/kv_store.h"

namespace cairn::storage {

class ForwardingStore : public KvStore {
 public:
  explicit ForwardingStore(KvStore* store) : store_(store) {}
  Status WriteLog(const LogBatch& batch, bool sync) override { return store_->WriteLog(batch, sync); }
  Status SyncLog() override { return store_->SyncLog(); }
  Status WriteData(std::span<const DataChange> changes) override { return store_->WriteData(changes); }
  Status FlushData() override { return store_->FlushData(); }
  Status LoadData(std::span<const DataRun> runs) override { return store_->LoadData(runs); }
  Status Settle() override { return store_->Settle(); }
  Result<std::string> GetLog(LogKey key) override { return store_->GetLog(key); }
  Result<std::string> GetData(Vbid vbucket, std::string_view key) override {
    return store_->GetData(vbucket, key);
  }
  Result<std::string> GetMeta(std::string_view name) override { return store_->GetMeta(name); }
  Result<std::vector<std::pair<std::string, std::string>>> ScanMeta(std::string_view prefix) override {
    return store_->ScanMeta(prefix);
  }
  std::unique_ptr<Iterator> ReadLog(Vbid vbucket, Seqno first, Seqno last) override {
    return store_->ReadLog(vbucket, first, last);
  }
  std::unique_ptr<Iterator> ReadData(Vbid vbucket, std::string_view from) override {
    return store_->ReadData(vbucket, from);
  }
  void ReleaseLog(Vbid vbucket, Seqno through) override { store_->ReleaseLog(vbucket, through); }
  void ReleaseTombstones(Vbid vbucket, Seqno through) override {
    store_->ReleaseTombstones(vbucket, through);
  }
  Status DropVbucket(Vbid vbucket) override { return store_->DropVbucket(vbucket); }
  Status Reopen() override { return store_->Reopen(); }
  StoreStats stats() const override { return store_->stats(); }
  Status Compact() override { return store_->Compact(); }

 protected:
  KvStore* store_;
};

}  // namespace cairn::storage
