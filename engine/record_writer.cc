#include "engine/record_writer.h"

namespace cairn::engine {

Status RecordWriter::Add(Vbid vbucket, const proto::VbucketMeta& meta) {
  if (!core_.store.present()) return Status::Ok();
  batch_.meta_puts.emplace_back(proto::VbucketMetaName(vbucket), proto::EncodeVbucketMeta(vbucket, meta));
  bytes_ += batch_.meta_puts.back().second.size();
  if (bytes_ < storage::kLogBatchBytesSoft) return Status::Ok();
  CAIRN_RETURN_IF_ERROR(StoreGate::Access(core_.store)->WriteLog(batch_, false));
  batch_ = {};
  bytes_ = 0;
  several_ = true;
  return Status::Ok();
}

Status RecordWriter::Finish() {
  if (!core_.store.present()) return Status::Ok();
  StoreGate::Access store(core_.store);
  CAIRN_RETURN_IF_ERROR(store->WriteLog(batch_, true));
  if (several_ && core_.store.generation() != generation_) {
    return Status(Code::kTmpFail, "the store was reopened while records were written");
  }
  return Status::Ok();
}

}  // namespace cairn::engine
