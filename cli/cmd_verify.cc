// verify: compares a file with the server, key by key.

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/types.h"
#include "cli/bulk_fetch.h"
#include "cli/commands.h"
#include "cli/compare.h"
#include "cli/format.h"
#include "cli/input.h"
#include "cli/json.h"
#include "cli/table.h"

namespace cairn::cli {
namespace {

class Verifier {
 public:
  Verifier(const Options& options, Clock& clock)
      : options_(options),
        clock_(clock),
        progress_(&clock, options.progress),
        comparison_(options.show_max) {}

  ExitCode Run() {
    Result<std::unique_ptr<RecordFile>> file = RecordFile::Open(options_.file, options_.format);
    if (!file.ok()) {
      PrintError(file.status().message());
      return ExitCode::kUsage;
    }
    Result<std::unique_ptr<Client>> client = Client::Connect(options_.client, &clock_);
    if (!client.ok()) return Fail(client.status());
    Status status = CompareFile(**file, **client);
    if (status.ok() && options_.extra) status = FindExtra();
    progress_.Done();
    if (!status.ok()) {
      PrintError(status.message());
      return status == Code::kInvalidArgument ? ExitCode::kUsage : ExitCodeOf(status);
    }
    return Report();
  }

 private:
  // INVALID_ARGUMENT: the file cannot be read.
  Status CompareFile(RecordFile& file, Client& client) {
    while (true) {
      RecordFile::Found found = file.Next();
      if (found.kind == RecordFile::Kind::kUnreadable) return found.error;
      if (found.kind == RecordFile::Kind::kBadRecord) {
        if (bad_++ < options_.show_max) PrintError(found.error.message());
        continue;
      }
      const bool end = found.kind == RecordFile::Kind::kEnd;
      if (!end) {
        found.record.key.insert(0, options_.prefix);
        keys_.push_back(found.record.key);
        records_.push_back(std::move(found.record));
      }
      if (records_.size() == kFetchBatchKeys || end) {
        CAIRN_RETURN_IF_ERROR(CompareBatch(client));
        Show(file);
      }
      if (end) return Status::Ok();
    }
  }

  Status CompareBatch(Client& client) {
    std::vector<Difference> differences(records_.size(), {Verdict::kMissing, "not on the server"});
    CAIRN_RETURN_IF_ERROR(
        FetchBatch(client, keys_, options_.client.timeout_ms, [&](const FetchedValue& value) {
          differences[value.index] = CompareRecord(records_[value.index], value.value, value.flags);
        }));
    for (size_t i = 0; i < records_.size(); ++i) {
      comparison_.Add(std::move(keys_[i]), std::move(differences[i]));
    }
    keys_.clear();
    records_.clear();
    return Status::Ok();
  }

  Status FindExtra() {
    CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<KeyLister> lister,
                           KeyLister::Start(options_.client, &clock_));
    while (true) {
      CAIRN_ASSIGN_OR_RETURN(std::optional<ListedKey> listed, lister->Next());
      if (!listed) return Status::Ok();
      if (listed->key.starts_with(options_.prefix)) comparison_.AddListed(std::move(listed->key));
    }
  }

  void Show(const RecordFile& file) {
    ProgressView view;
    view.label = "verify";
    view.items = comparison_.keys();
    view.bytes = file.input().bytes_read();
    view.bytes_total = file.input().size();
    if (view.bytes_total != 0) {
      view.fraction = static_cast<double>(view.bytes) / static_cast<double>(view.bytes_total);
    }
    progress_.Update(std::move(view));
  }

  ExitCode Report() {
    const Comparison::Counts counts = comparison_.counts();
    const bool same = counts.different + counts.missing + counts.extra == 0;
    std::string text;
    if (options_.json) {
      JsonWriter json;
      json.BeginObject().Name("equal").Number(counts.equal).Name("different").Number(counts.different);
      json.Name("missing").Number(counts.missing);
      if (options_.extra) json.Name("extra").Number(counts.extra);
      json.Name("bad_records").Number(bad_).Name("seconds").Decimal(progress_.elapsed_s(), 3);
      json.Name("differences").BeginArray();
      for (const auto& [key, what] : comparison_.Examples()) {
        json.BeginObject().Bytes("key", key).Name("what").String(what).EndObject();
      }
      text = json.EndArray().EndObject().text();
    } else {
      for (const auto& [key, what] : comparison_.Examples()) {
        text += EscapeForTerminal(key) + ": " + what + "\n";
      }
      text += fmt::format("{}: {} equal, {} different, {} missing, {} extra, compared key by key in {}\n",
                          same ? "the same" : "NOT THE SAME", FormatCount(counts.equal),
                          FormatCount(counts.different), FormatCount(counts.missing),
                          options_.extra ? FormatCount(counts.extra) : "unknown",
                          FormatDuration(progress_.elapsed_s()));
    }
    if (!Print(text)) return ExitCode::kPartial;
    if (bad_ != 0) PrintError(fmt::format("{} records of the file could not be read", FormatCount(bad_)));
    if (!same) return ExitCode::kDifference;
    return bad_ == 0 ? ExitCode::kOk : ExitCode::kPartial;
  }

  const Options& options_;
  Clock& clock_;
  Progress progress_;
  Comparison comparison_;
  std::vector<std::string> keys_;  // of records_, as FetchBatch wants them
  std::vector<Record> records_;
  uint64_t bad_ = 0;
};

}  // namespace

ExitCode RunVerify(const Options& options, Clock& clock) { return Verifier(options, clock).Run(); }

}  // namespace cairn::cli
