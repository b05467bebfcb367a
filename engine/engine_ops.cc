// The data operations of the engine's face.

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "engine/engine_impl.h"

namespace cairn::engine {
namespace {

constexpr size_t kPrefetchWindow = 16;
// A read-modify-write that loses so often against others is told to come back.
constexpr int kAttemptsMax = 1000;
constexpr size_t kNumberSizeMax = 20;

/// Wakes an operation on several keys once, when the last of its reads from disk is answered: it is repeated
/// as a whole, and would ask again for all that is still missing if it was woken by each.
class WaitForAll final : public Waiter {
 public:
  WaitForAll(WaiterRef waiter, size_t count) : waiter_(std::move(waiter)), left_(count) {}
  void Wake() override {
    if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1 && waiter_ != nullptr) waiter_->Wake();
  }

 private:
  const WaiterRef waiter_;
  std::atomic<size_t> left_;
};

/// A decimal number as incr and decr accept it: digits only, up to 2^64 - 1.
bool ParseNumber(std::string_view text, uint64_t* number) {
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);  // decr pads with spaces
  if (text.empty() || text.size() > kNumberSizeMax) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

template <class Operation>
auto Engine::Impl::Execute(const OpKey& key, const WaiterRef& waiter, Effects& fx, Operation&& operation) {
  VBucket& vb = *core.vbuckets[key.vbucket.get()];
  const OpTime now = core.Now();
  decltype(operation(vb, now, fx)) result;
  {
    MutexLock lock(vb.mutex);
    vb.Enter(core.CurrentPhase(), now, fx);
    const Code admitted = vb.Admit(waiter);
    if (__builtin_expect(admitted == Code::kOk, 1)) {
      result = operation(vb, now, fx);
      if constexpr (requires { result.history; }) {
        if (__builtin_expect(core.durability.used(), 0)) result.history = vb.history_uuid();
      }
    } else {
      result.code = admitted;
    }
  }
  core.Finish(vb, fx);
  return result;
}

template <class Operation>
auto Engine::Impl::Run(const OpKey& key, const WaiterRef& waiter, Operation&& operation) {
  Effects fx;
  auto result = Execute(key, waiter, fx, std::forward<Operation>(operation));
  if (__builtin_expect(fx.fetch, 0) && !fetcher.Fetch(key.vbucket, key.text(), fx.fetch_seqno, waiter)) {
    result.code = Code::kTmpFail;
  }
  return result;
}

Code Engine::Impl::AdmitWrite(size_t bytes) {
  if (__builtin_expect(core.memory.refuses(bytes), 0)) {
    core.metrics.Add(Metric::kTmpOom);
    return core.store.present() ? Code::kTmpOom : Code::kNoMemory;
  }
  if (__builtin_expect(core.refuse_writes.load(std::memory_order_relaxed), 0)) return Code::kTmpFail;
  return Code::kOk;
}

GetResult Engine::Get(const OpKey& key, const WaiterRef& waiter) {
  return impl_->Run(key, waiter, [&](VBucket& vb, const OpTime& now, Effects& fx) {
    vb.mutex.AssertHeld();
    return vb.Get(key.hashed, now, fx);
  });
}

AnnounceLater Engine::AnnounceAtEnd() const { return AnnounceLater(impl_->core); }

void Engine::Prefetch(std::span<const OpKey> keys) {
  for (int stage = 0; stage < 2; ++stage) {
    for (const OpKey& key : keys) {
      VBucket& vb = *impl_->core.vbuckets[key.vbucket.get()];
      MutexLock lock(vb.mutex);
      vb.Prefetch(key.hashed.hash, stage);
    }
  }
}

void Engine::GetMany(std::span<const OpKey> keys, std::span<GetResult> results, const WaiterRef& waiter) {
  CAIRN_DCHECK(keys.size() == results.size());
  std::vector<std::pair<size_t, Seqno>> absent;  // from memory: index, version
  for (size_t begin = 0; begin < keys.size(); begin += kPrefetchWindow) {
    const size_t count = std::min(kPrefetchWindow, keys.size() - begin);
    Prefetch(keys.subspan(begin, count));
    for (size_t i = begin; i < begin + count; ++i) {
      Effects fx;
      results[i] = impl_->Execute(keys[i], waiter, fx, [&](VBucket& vb, const OpTime& now, Effects& effects) {
        vb.mutex.AssertHeld();
        return vb.Get(keys[i].hashed, now, effects);
      });
      if (__builtin_expect(fx.fetch, 0)) absent.emplace_back(i, fx.fetch_seqno);
    }
  }
  if (absent.empty()) return;
  const auto all = std::make_shared<WaitForAll>(waiter, absent.size());
  for (const auto& [i, seqno] : absent) {
    if (impl_->fetcher.Fetch(keys[i].vbucket, keys[i].text(), seqno, all)) continue;
    results[i].code = Code::kTmpFail;
    all->Wake();
  }
}

MutationResult Engine::Store(const OpKey& key, const StoreRequest& request, const WaiterRef& waiter) {
  if (request.value.size() > impl_->core.options.max_item_size) return {Code::kTooBig, Cas(), Seqno()};
  const Code admitted = impl_->AdmitWrite(request.value.size() + key.text().size() + sizeof(Item));
  if (admitted != Code::kOk) return {admitted, Cas(), Seqno()};
  const bool append = request.mode == StoreMode::kAppend;
  if (append || request.mode == StoreMode::kPrepend) {
    const size_t limit = impl_->core.options.max_item_size;
    return impl_->Modify(key, waiter, [&](const Item* old) -> std::pair<Code, ItemRef> {
      if (old == nullptr) return {Code::kNotStored, nullptr};
      if (request.cas != Cas() && request.cas != old->cas()) return {Code::kExists, nullptr};
      const std::string_view head = append ? old->value() : request.value;
      const std::string_view tail = append ? request.value : old->value();
      if (head.size() + tail.size() > limit) return {Code::kTooBig, nullptr};
      ItemRef fresh = Item::NewUninitialized(key.text(), head.size() + tail.size(),
                                             ItemMeta{old->flags(), old->expiry(), Cas(), Seqno()});
      if (!head.empty()) std::memcpy(fresh->mutable_value(), head.data(), head.size());
      if (!tail.empty()) std::memcpy(fresh->mutable_value() + head.size(), tail.data(), tail.size());
      return {Code::kOk, std::move(fresh)};
    });
  }
  ItemRef fresh =
      Item::NewValue(key.text(), request.value, ItemMeta{request.flags, request.expiry, Cas(), Seqno()});
  return impl_->Run(key, waiter, [&](VBucket& vb, const OpTime& now, Effects& fx) {
    vb.mutex.AssertHeld();
    return vb.Store(key.hashed, request.mode, request.cas, std::move(fresh), now, fx);
  });
}

/// Reads the live version, lets `build` make its successor outside of the lock, and publishes that if nobody
/// was faster.
template <class Build>
MutationResult Engine::Impl::Modify(const OpKey& key, const WaiterRef& waiter, Build&& build) {
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    const GetResult old = Run(key, waiter, [&](VBucket& vb, const OpTime& now, Effects& fx) {
      vb.mutex.AssertHeld();
      return vb.Peek(key.hashed, now, fx);
    });
    if (old.code != Code::kOk && old.code != Code::kNotFound) return {old.code, Cas(), Seqno()};
    std::pair<Code, ItemRef> built = build(old.item.get());
    if (built.first != Code::kOk) return {built.first, Cas(), Seqno()};
    const MutationResult stored = Run(key, waiter, [&](VBucket& vb, const OpTime& now, Effects& fx) {
      vb.mutex.AssertHeld();
      return vb.StoreIfUnchanged(key.hashed, old.item.get(), std::move(built.second), now, fx);
    });
    if (stored.code != Code::kBusy) return stored;
  }
  return {Code::kTmpFail, Cas(), Seqno()};
}

MutationResult Engine::Touch(const OpKey& key, uint32_t expiry, const WaiterRef& waiter) {
  const Code admitted = impl_->AdmitWrite(0);
  if (admitted != Code::kOk) return {admitted, Cas(), Seqno()};
  return impl_->Modify(key, waiter, [&](const Item* old) -> std::pair<Code, ItemRef> {
    if (old == nullptr) return {Code::kNotFound, nullptr};
    return {Code::kOk,
            Item::NewValue(key.text(), old->value(), ItemMeta{old->flags(), expiry, Cas(), Seqno()})};
  });
}

TouchedResult Engine::GetAndTouch(const OpKey& key, uint32_t expiry, const WaiterRef& waiter) {
  const Code admitted = impl_->AdmitWrite(0);
  TouchedResult result;
  result.code = admitted;
  if (admitted != Code::kOk) return result;
  const MutationResult touched = impl_->Modify(key, waiter, [&](const Item* old) -> std::pair<Code, ItemRef> {
    if (old == nullptr) return {Code::kNotFound, nullptr};
    result.item = Item::NewValue(key.text(), old->value(), ItemMeta{old->flags(), expiry, Cas(), Seqno()});
    return {Code::kOk, result.item};
  });
  result.code = touched.code;
  result.history = touched.history;
  if (touched.code != Code::kOk) result.item.Reset();
  return result;
}

MutationResult Engine::Delete(const OpKey& key, Cas cas, const WaiterRef& waiter) {
  return impl_->Run(key, waiter, [&](VBucket& vb, const OpTime& now, Effects& fx) {
    vb.mutex.AssertHeld();
    return vb.Delete(key.hashed, cas, now, fx);
  });
}

ArithmeticResult Engine::Arithmetic(const OpKey& key, const ArithmeticRequest& request,
                                    const WaiterRef& waiter) {
  const Code admitted = impl_->AdmitWrite(key.text().size() + sizeof(Item) + kNumberSizeMax);
  if (admitted != Code::kOk) return {admitted, 0, Cas(), Seqno(), 0};
  uint64_t value = 0;
  const MutationResult stored = impl_->Modify(key, waiter, [&](const Item* old) -> std::pair<Code, ItemRef> {
    if (old == nullptr) {
      if (!request.create) return {Code::kNotFound, nullptr};
      value = request.initial;
      return {Code::kOk, Item::NewValue(key.text(), fmt::format_int(value).str(),
                                        ItemMeta{0, request.expiry, Cas(), Seqno()})};
    }
    if (request.cas != Cas() && request.cas != old->cas()) return {Code::kExists, nullptr};
    if (!ParseNumber(old->value(), &value)) return {Code::kDeltaBadValue, nullptr};
    // incr wraps at 2^64, decr stops at 0 (memcached's protocol.txt).
    value = request.increment ? value + request.delta : value - std::min(value, request.delta);
    std::string text = fmt::format_int(value).str();
    // memcached keeps the length when the number gets shorter: clients see trailing spaces.
    if (text.size() < old->value_size()) text.resize(old->value_size(), ' ');
    return {Code::kOk,
            Item::NewValue(key.text(), text, ItemMeta{old->flags(), old->expiry(), Cas(), Seqno()})};
  });
  return {stored.code, value, stored.cas, stored.seqno, stored.history};
}

Status Engine::Impl::FlushNow() {
  Status done = coordinator.RunExclusive([this] {
    for (const auto& vb : core.vbuckets) {
      Effects fx;
      {
        MutexLock lock(vb->mutex);
        vb->Enter(core.CurrentPhase(), core.Now(), fx);
        if (vb->exists() && vb->state() == VbucketState::kActive) {
          vb->BeginFlush(core.clock->WallNs(), core.Now(), fx);
        }
      }
      core.Finish(*vb, fx);
    }
  });
  if (done.ok()) pager.KickSweep();
  return done;
}

Status Engine::FlushAll(uint32_t delay_s) {
  if (impl_->coordinator.active()) {
    return Status(Code::kNotSupported, "flush_all is refused while an online update is open");
  }
  if (delay_s != 0) {
    impl_->flush_at_ns.store(impl_->core.clock->SteadyNs() + int64_t{delay_s} * 1'000'000'000);
    return Status::Ok();
  }
  return impl_->FlushNow();
}

}  // namespace cairn::engine
