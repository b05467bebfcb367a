#include "engine/persistence_waits.h"

#include <string>
#include <utility>

namespace cairn::engine {
namespace {

Status StatusOf(Code code) {
  switch (code) {
    case Code::kOk:
      return Status::Ok();
    case Code::kNotMyVbucket:
      return Status(code, "the vbucket does not exist here");
    case Code::kTmpFail:
      return Status(code, "not persisted in time");
    case Code::kBusy:
      return Status(code, "too many wait for persistence");
    default:
      return Status(code);
  }
}

}  // namespace

Code PersistenceWaits::Look(const Wait& wait) const {
  const VBucket& vb = *core_.vbuckets[wait.vbucket.get()];
  MutexLock lock(vb.mutex);
  if (!vb.exists()) return Code::kNotMyVbucket;
  const bool reached = vb.persisted() >= wait.seqno && vb.last_persisted_checkpoint() >= wait.checkpoint;
  return reached ? Code::kOk : Code::kWouldBlock;
}

void PersistenceWaits::Add(Wait wait) {
  Code outcome = Look(wait);
  if (outcome == Code::kWouldBlock) {
    MutexLock lock(mutex_);
    if (stopped_) {
      outcome = Code::kCancelled;
    } else if (waits_.size() >= kWaitsMax) {
      outcome = Code::kBusy;
    } else {
      waits_.push_back(std::move(wait));
      return;
    }
  }
  wait.done(StatusOf(outcome));
}

bool PersistenceWaits::Check(int64_t now_ns) {
  std::vector<Wait> waits;
  {
    MutexLock lock(mutex_);
    if (waits_.empty()) return false;
    waits.swap(waits_);
  }
  std::vector<std::pair<Wait, Code>> over;
  std::erase_if(waits, [&](Wait& wait) {
    Code outcome = Look(wait);
    if (outcome == Code::kWouldBlock && now_ns >= wait.deadline_ns) outcome = Code::kTmpFail;
    if (outcome == Code::kWouldBlock) return false;
    over.emplace_back(std::move(wait), outcome);
    return true;
  });
  {
    MutexLock lock(mutex_);
    if (stopped_) {
      for (Wait& wait : waits) over.emplace_back(std::move(wait), Code::kCancelled);
    } else {
      std::move(waits.begin(), waits.end(), std::back_inserter(waits_));
    }
  }
  for (const auto& [wait, outcome] : over) wait.done(StatusOf(outcome));
  return !over.empty();
}

void PersistenceWaits::Stop() {
  std::vector<Wait> waits;
  {
    MutexLock lock(mutex_);
    stopped_ = true;
    waits.swap(waits_);
  }
  for (const Wait& wait : waits) wait.done(StatusOf(Code::kCancelled));
}

}  // namespace cairn::engine
