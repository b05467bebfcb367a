// load: stores all records of a file.

#include <fmt/format.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/key.h"
#include "base/types.h"
#include "cli/bulk_store.h"
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/input.h"
#include "cli/json.h"
#include "cli/table.h"

namespace cairn::cli {
namespace {

class Loader {
 public:
  Loader(const Options& options, Clock& clock)
      : options_(options), clock_(clock), progress_(&clock, options.progress) {}

  ExitCode Run() {
    Result<std::unique_ptr<RecordFile>> file = RecordFile::Open(options_.file, options_.format);
    if (!file.ok()) {
      PrintError(file.status().message());
      return ExitCode::kUsage;
    }
    const Status connected = Connect();
    if (!connected.ok()) return Fail(connected);
    error_ = LoadAll(**file);
    for (const auto& store : stores_) {
      if (error_.ok()) error_ = store->Finish();
    }
    Show(**file);
    progress_.Done();
    return Report();
  }

 private:
  Status Connect() {
    const BulkStoreOptions bulk{
        .flags = options_.flags, .expiry = options_.expiry, .retry_ms_max = options_.retry_ms};
    for (uint32_t i = 0; i < options_.connections; ++i) {
      CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<Client> client, Client::Connect(options_.client, &clock_));
      stores_.push_back(std::make_unique<BulkStore>(
          std::move(client), &clock_, bulk, [this](const Record& record, const Status& why) {
            NameError(fmt::format("{}: {}", EscapeForTerminal(record.key), why.message()));
          }));
    }
    return Status::Ok();
  }

  Status LoadAll(RecordFile& file) {
    while (true) {
      RecordFile::Found found = file.Next();
      if (found.kind == RecordFile::Kind::kEnd) return Status::Ok();
      if (found.kind == RecordFile::Kind::kUnreadable) {
        unreadable_ = true;
        return found.error;
      }
      if (found.kind == RecordFile::Kind::kRecord && !options_.prefix.empty()) {
        found.record.key.insert(0, options_.prefix);
        if (found.record.key.size() > kKeySizeMax) {
          found.kind = RecordFile::Kind::kBadRecord;
          found.error = Status(Code::kInvalidArgument,
                               EscapeForTerminal(found.record.key) + ": too long with the prefix");
        }
      }
      if (found.kind == RecordFile::Kind::kBadRecord) {
        ++bad_;
        NameError(found.error.message());
        continue;
      }
      bytes_ += found.record.key.size() + found.record.value.size();
      // All records of a key take the same connection, so that the last one in the file wins.
      const size_t index = Crc32(found.record.key) % stores_.size();
      CAIRN_RETURN_IF_ERROR(stores_[index]->Add(std::move(found.record)));
      if (++taken_ % 64 == 0) Show(file);
    }
  }

  void NameError(std::string_view message) {
    if (named_++ < options_.show_max) PrintError(message);
  }

  BulkStore::Counts Counts() const {
    BulkStore::Counts sum;
    for (const auto& store : stores_) {
      sum.stored += store->counts().stored;
      sum.refused += store->counts().refused;
      sum.retried += store->counts().retried;
    }
    return sum;
  }

  void Show(const RecordFile& file) {
    if (!progress_.enabled()) return;
    ProgressView view;
    view.label = "load";
    view.items = Counts().stored;
    view.bytes = file.input().bytes_read();
    view.bytes_total = file.input().size();
    if (view.bytes_total != 0) {
      view.fraction = static_cast<double>(view.bytes) / static_cast<double>(view.bytes_total);
    }
    progress_.Update(std::move(view));
  }

  ExitCode Report() {
    const BulkStore::Counts counts = Counts();
    const double seconds = progress_.elapsed_s();
    bool printed = false;
    if (options_.json) {
      JsonWriter json;
      json.BeginObject().Name("stored").Number(counts.stored).Name("refused").Number(counts.refused);
      json.Name("bad_records").Number(bad_).Name("retried").Number(counts.retried);
      json.Name("bytes").Number(bytes_).Name("seconds").Decimal(seconds, 3);
      if (!error_.ok()) json.Name("error").String(error_.message());
      printed = Print(json.EndObject().text());
    } else {
      printed = Print(fmt::format(
          "stored {} items, {} of keys and values, in {} ({}/s); {} refused, {} bad records, {} sent again",
          FormatCount(counts.stored), FormatBytes(bytes_), FormatDuration(seconds),
          FormatRate(counts.stored, seconds), FormatCount(counts.refused), FormatCount(bad_),
          FormatCount(counts.retried)));
    }
    if (named_ > options_.show_max) {
      PrintError(fmt::format("{} more errors are not shown", FormatCount(named_ - options_.show_max)));
    }
    if (!error_.ok()) PrintError(error_.message());
    return printed ? Code(counts) : ExitCode::kPartial;
  }

  ExitCode Code(const BulkStore::Counts& counts) const {
    if (error_.ok() && bad_ == 0 && counts.refused == 0) return ExitCode::kOk;
    if (counts.stored != 0) return ExitCode::kPartial;
    // Nothing at all was done: the reason counts.
    if (unreadable_) return ExitCode::kUsage;
    if (!error_.ok()) return ExitCodeOf(error_);
    return counts.refused != 0 ? ExitCode::kRefused : ExitCode::kUsage;
  }

  const Options& options_;
  Clock& clock_;
  Progress progress_;
  std::vector<std::unique_ptr<BulkStore>> stores_;
  Status error_;  // ended the load
  bool unreadable_ = false;
  uint64_t taken_ = 0;
  uint64_t bytes_ = 0;
  uint64_t bad_ = 0;
  uint64_t named_ = 0;
};

}  // namespace

ExitCode RunLoad(const Options& options, Clock& clock) { return Loader(options, clock).Run(); }

}  // namespace cairn::cli
