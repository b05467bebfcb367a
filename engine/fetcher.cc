#include "engine/fetcher.h"

#include <utility>

#include "base/fault.h"
#include "base/key.h"
#include "base/log.h"
#include "proto/disk_record.h"

namespace cairn::engine {

void Fetcher::Start(size_t threads) {
  for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

void Fetcher::Stop() {
  std::deque<Request> left;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    left.swap(queue_);
    wake_.NotifyAll();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  for (const Request& request : left) {
    if (request.waiter) request.waiter->Wake();
  }
}

bool Fetcher::Fetch(Vbid vbucket, std::string_view key, Seqno seqno, const WaiterRef& waiter) {
  MutexLock lock(mutex_);
  if (stopping_ || queue_.size() >= kQueueMax) return false;
  queue_.push_back({vbucket, std::string(key), seqno, waiter});
  wake_.NotifyOne();
  return true;
}

size_t Fetcher::pending() const {
  MutexLock lock(mutex_);
  return queue_.size();
}

void Fetcher::Run() {
  for (;;) {
    {
      MutexLock lock(mutex_);
      while (queue_.empty() && !stopping_) wake_.Wait(mutex_);
      if (stopping_) return;
    }
    RunSome(16);
  }
}

size_t Fetcher::RunSome(size_t count_max) {
  size_t served = 0;
  while (served < count_max) {
    Request request;
    {
      MutexLock lock(mutex_);
      if (queue_.empty()) break;
      request = std::move(queue_.front());
      queue_.pop_front();
    }
    Serve(request);
    ++served;
  }
  return served;
}

Result<ItemRef> Fetcher::ReadByKey(Vbid vbucket, std::string_view key) {
  StoreGate::Access store(core_.store);
  CAIRN_ASSIGN_OR_RETURN(const std::string record, store->GetData(vbucket, key));
  CAIRN_ASSIGN_OR_RETURN(ItemRef item, proto::DecodeDataRecord(vbucket, key, record));
  if (item->is_deleted()) return Status(Code::kNotFound);  // a tombstone, kept for replicas only
  return item;
}

Result<ItemRef> Fetcher::ReadVersion(Vbid vbucket, std::string_view key, Seqno seqno) {
  Result<ItemRef> in_data = ReadByKey(vbucket, key);
  if (in_data.ok() && in_data.value()->seqno() == seqno) return in_data;
  if (!in_data.ok() && in_data.code() != Code::kNotFound) return in_data;
  StoreGate::Access store(core_.store);
  CAIRN_ASSIGN_OR_RETURN(const std::string record, store->GetLog({vbucket, seqno}));
  CAIRN_ASSIGN_OR_RETURN(proto::LogRecord logged, proto::DecodeLogRecord(vbucket, seqno, record));
  if (!logged.item->is_value() || logged.item->key() != key) {
    return Status(Code::kCorruption, "the log holds another operation at this position");
  }
  return std::move(logged.item);
}

void Fetcher::Serve(const Request& request) {
  core_.metrics.Add(Metric::kFetches);
  const hashtable::HashedKey key{request.key, KeyHash(request.key, core_.hash_seed)};
  VBucket& vb = *core_.vbuckets[request.vbucket.get()];
  const bool by_key = request.seqno == Seqno();
  uint64_t content = 0;
  {
    MutexLock lock(vb.mutex);
    content = vb.content();
  }
  // Merging moves a version from the log to data; between the two looks it can be missed once.
  Result<ItemRef> found = Status(Code::kNotFound);
  for (int attempt = 0; attempt < 3; ++attempt) {
    found = by_key ? ReadByKey(request.vbucket, request.key)
                   : ReadVersion(request.vbucket, request.key, request.seqno);
    if (found.ok() || by_key || found.code() != Code::kNotFound) break;
  }
  Effects fx;
  {
    MutexLock lock(vb.mutex);
    if (vb.content() != content) {
      // Rolled back or emptied while we read: another history may have the same seqno. The client asks again.
      CAIRN_PROBE("fetcher.content_replaced");
    } else if (found.ok()) {
      vb.ApplyFetched(key, std::move(found).value(), request.seqno, fx);
    } else if (by_key && found.code() == Code::kNotFound) {
      vb.ApplyFetched(key, nullptr, request.seqno, fx);
    } else if (by_key || vb.StillEjected(key, request.seqno)) {
      // Gone from disk although memory says it is there: that is damage, not a miss.
      const Code code = found.code() == Code::kNotFound ? Code::kCorruption : found.code();
      vb.FetchFailed(request.key, request.seqno, code == Code::kCorruption ? code : Code::kTmpFail);
      core_.metrics.Add(Metric::kFetchErrors);
      CAIRN_LOG(kError, "vbucket {}: cannot read key {}: {}", request.vbucket.get(), EscapeKey(request.key),
                found.status().ToString());
    }
  }
  core_.Finish(vb, fx);
  if (request.waiter) request.waiter->Wake();
}

}  // namespace cairn::engine
