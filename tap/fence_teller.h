#pragma once
// FenceTeller: tells a former source that vbuckets are active here now, with a higher epoch, so that it stops
// serving them. One connection per attempt, over which the notices go and then requests to open the
// streams with our epoch: as long as the answer is "fenced", the source does not know that epoch yet.
//
// Owner: TapService; Tell by one thread at a time, Stop by any.

#include <atomic>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "engine/replication.h"
#include "tap/replication_conf.h"
#include "tap/session.h"

namespace cairn::tap {

class FenceTeller {
 public:
  struct Options {
    std::string name;  // of this node
    int64_t ask_every_ns = 100'000'000;
    int64_t attempt_ns = 5'000'000'000;  // then the connection is given up
  };
  /// Of one attempt, as it was when it looked: vbuckets may have changed hands here since.
  struct Outcome {
    std::map<Vbid, uint64_t> heard;  // the epoch that the source has heard of
    VbucketSet not_active;           // not active here when it was looked at: it was not told
  };
  FenceTeller(engine::Replication& replication, Clock& clock, const Options& options, Dialer dialer);

  /// One attempt, bounded in time but for connecting (which Stop ends). What is in neither part of the
  /// outcome is to be told again.
  Outcome Tell(const std::string& address, const VbucketSet& vbuckets);
  /// Ends an attempt, and those to come at once.
  void Stop();
  /// Of the last attempt: why it ended, empty when everything was heard.
  const std::string& last_error() const { return last_error_; }

 private:
  struct Attempt;
  ConsumerMessage FirstMessage(const Attempt& attempt) const;
  void Converse(ConsumerLink& link, Attempt& attempt);
  bool AskAgain(ConsumerLink& link, Attempt& attempt);
  /// Adds to `lost` what another node is active for with a higher epoch.
  static void OnAnswer(const StreamAnswer& answer, Attempt& attempt, std::vector<engine::FenceRequest>& lost);

  engine::Replication& replication_;
  Clock& clock_;
  const Options options_;
  const Dialer dialer_;
  std::string last_error_;
  Mutex mutex_;
  CondVar stop_;
  bool stopping_ CAIRN_GUARDED_BY(mutex_) = false;
  ConsumerLink* link_ CAIRN_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace cairn::tap
