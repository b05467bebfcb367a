#pragma once
// Fetcher: reads what memory does not hold (ejected values; while warming up, keys by name) on threads of its
// own, puts it into the vbucket and wakes the client's waiter, which repeats its operation.
//
// A damaged record is that key's error, told to the client once per read; it is never a miss.
// Threads: Fetch from any; RunSome by a worker (or a test). Bound: kQueueMax requests; beyond, Fetch refuses.

#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "engine/core.h"

namespace cairn::engine {

class Fetcher {
 public:
  static constexpr size_t kQueueMax = 200'000;

  explicit Fetcher(Core& core) : core_(core) {}
  ~Fetcher() { Stop(); }
  Fetcher(const Fetcher&) = delete;
  Fetcher& operator=(const Fetcher&) = delete;

  void Start(size_t threads);
  /// Ends the threads; who still waits is woken (and will ask in vain).
  void Stop();

  /// False when too many wait already. `seqno`: of the ejected version; 0: whatever data holds for the key.
  bool Fetch(Vbid vbucket, std::string_view key, Seqno seqno, const WaiterRef& waiter) CAIRN_EXCLUDES(mutex_);
  /// Serves up to `count_max` requests; returns how many.
  size_t RunSome(size_t count_max) CAIRN_EXCLUDES(mutex_);
  size_t pending() const CAIRN_EXCLUDES(mutex_);

  /// Reads the value of an ejected version, from the log or from data (any thread but a connection's).
  Result<ItemRef> ReadVersion(Vbid vbucket, std::string_view key, Seqno seqno);

 private:
  struct Request {
    Vbid vbucket;
    std::string key;
    Seqno seqno;
    WaiterRef waiter;
  };
  void Run();
  void Serve(const Request& request);
  Result<ItemRef> ReadByKey(Vbid vbucket, std::string_view key);

  Core& core_;
  mutable Mutex mutex_;
  CondVar wake_;
  std::deque<Request> queue_ CAIRN_GUARDED_BY(mutex_);
  bool stopping_ CAIRN_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace cairn::engine
