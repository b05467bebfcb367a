#include "engine/storage/rocks_iterator.h"

#include <utility>

#include "engine/storage/rocks_error.h"
#include "engine/storage/store_key.h"

namespace cairn::storage {
namespace {

// A log catch-up is often short: there RocksDB's own read-ahead, which starts small and doubles, is right.
constexpr size_t kDataReadaheadBytes = size_t{256} << 10;

class RocksIterator final : public Iterator {
 public:
  explicit RocksIterator(RocksRange range) : range_(std::move(range)), end_(range_.end) {
    rocksdb::ReadOptions options;
    options.verify_checksums = true;
    options.fill_cache = false;
    options.readahead_size = range_.is_log ? 0 : kDataReadaheadBytes;
    options.iterate_upper_bound = &end_;
    range_.open_count->fetch_add(1);
    iterator_.reset(range_.db->NewIterator(options, range_.family));
    iterator_->Seek(range_.first);
    last_key_ = range_.first;
    Look();
  }
  ~RocksIterator() override {
    iterator_.reset();
    range_.open_count->fetch_sub(1);
  }

  bool Valid() const override { return status_.ok() && iterator_->Valid(); }
  void Next() override {
    CAIRN_DCHECK(Valid());
    last_key_.assign(iterator_->key().data(), iterator_->key().size());
    iterator_->Next();
    Look();
  }
  LogKey log_key() const override {
    CAIRN_DCHECK(range_.is_log && Valid());
    return DecodeLogKey(iterator_->key().ToStringView());
  }
  std::string_view data_key() const override {
    CAIRN_DCHECK(!range_.is_log && Valid());
    return iterator_->key().ToStringView().substr(kVbucketPrefixSize);
  }
  std::string_view record() const override { return iterator_->value().ToStringView(); }
  Status status() const override { return status_; }

 private:
  void Look() {
    if (iterator_->Valid()) {
      if (range_.is_log && iterator_->key().size() != kLogKeySize) {
        status_ = Status(Code::kCorruption, DescribeLogKey(iterator_->key().ToStringView()));
      }
      return;
    }
    if (iterator_->status().ok()) return;
    // RocksDB does not say which key it could not read; it is the first one behind the last good one.
    const std::string after = range_.is_log ? DescribeLogKey(last_key_) : DescribeDataKey(last_key_);
    status_ = FromRocks(iterator_->status(), "scan, at or behind " + after);
  }

  const RocksRange range_;
  const rocksdb::Slice end_;
  std::unique_ptr<rocksdb::Iterator> iterator_;
  std::string last_key_;
  Status status_;
};

class FailedIterator final : public Iterator {
 public:
  explicit FailedIterator(Status status) : status_(std::move(status)) {}
  bool Valid() const override { return false; }
  void Next() override { CAIRN_CHECK(false); }
  LogKey log_key() const override { return {}; }
  std::string_view data_key() const override { return {}; }
  std::string_view record() const override { return {}; }
  Status status() const override { return status_; }

 private:
  const Status status_;
};

}  // namespace

std::unique_ptr<Iterator> NewRocksIterator(RocksRange range) {
  return std::make_unique<RocksIterator>(std::move(range));
}

std::unique_ptr<Iterator> NewFailedIterator(Status status) {
  return std::make_unique<FailedIterator>(std::move(status));
}

}  // namespace cairn::storage
