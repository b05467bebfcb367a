// dump: writes all keys and values to a file that `load` and `verify` read.

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/bulk_fetch.h"
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/json.h"

namespace cairn::cli {
namespace {

// The file that a dump makes. It has its name only when it is whole: until then it is called NAME.part.
class Output {
 public:
  explicit Output(std::string name) : name_(std::move(name)), part_(name_ + ".part") {}
  ~Output() {
    if (file_ == nullptr || file_ == stdout) return;
    std::fclose(file_);
    std::remove(part_.c_str());
  }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  bool Open() {
    file_ = name_ == "-" ? stdout : std::fopen(part_.c_str(), "we");
    return file_ != nullptr || Complain();
  }
  bool Write(const std::string& text) {
    return std::fwrite(text.data(), 1, text.size(), file_) == text.size() || Complain();
  }
  bool Finish() {
    if (std::fflush(file_) != 0) return Complain();
    if (file_ == stdout) return true;
    if (fsync(fileno(file_)) != 0) return Complain();
    if (std::fclose(std::exchange(file_, nullptr)) != 0) return Complain();
    return std::rename(part_.c_str(), name_.c_str()) == 0 || Complain();
  }

 private:
  bool Complain() {
    PrintError(fmt::format("{}: {}", name_ == "-" ? "standard output" : name_, std::strerror(errno)));
    return false;
  }

  std::string name_;
  std::string part_;
  std::FILE* file_ = nullptr;
};

class Dumper {
 public:
  Dumper(const Options& options, Clock& clock)
      : options_(options), clock_(clock), progress_(&clock, options.progress), output_(options.file) {}

  ExitCode Run() {
    if (!output_.Open()) return ExitCode::kUsage;
    Result<std::unique_ptr<Client>> client = Client::Connect(options_.client, &clock_);
    if (!client.ok()) return Fail(client.status());
    Result<std::unique_ptr<KeyLister>> lister = KeyLister::Start(options_.client, &clock_);
    if (!lister.ok()) return Fail(lister.status());
    Result<std::optional<ListedKey>> next = std::optional<ListedKey>();
    do {
      next = (*lister)->Next();
      if (!next.ok()) return Ended(next.status());
      const bool wanted = *next && (*next)->key.starts_with(options_.prefix);
      if (wanted) {
        keys_.push_back(std::move((*next)->key));
        expiries_.push_back((*next)->expiry);
      }
      if (keys_.size() < kFetchBatchKeys && *next) continue;
      const Status fetched = WriteBatch(**client);
      if (!fetched.ok()) return Ended(fetched);
      if (!writable_) return ExitCode::kPartial;
    } while (*next);
    progress_.Done();
    if (!output_.Finish()) return ExitCode::kPartial;
    Report();
    return ExitCode::kOk;
  }

 private:
  Status WriteBatch(Client& client) {
    std::string text;
    size_t found = 0;
    const Status status =
        FetchBatch(client, keys_, options_.client.timeout_ms, [&](const FetchedValue& value) {
          AppendRecord(options_.format,
                       {keys_[value.index], std::string(value.value), value.flags, expiries_[value.index]},
                       &text);
          bytes_ += keys_[value.index].size() + value.value.size();
          ++found;
        });
    CAIRN_RETURN_IF_ERROR(status);
    items_ += found;
    gone_ += keys_.size() - found;
    keys_.clear();
    expiries_.clear();
    writable_ = output_.Write(text);
    ProgressView view;
    view.label = "dump";
    view.items = items_;
    view.bytes = bytes_;
    progress_.Update(std::move(view));
    return Status::Ok();
  }

  ExitCode Ended(const Status& status) {
    progress_.Done();
    return Fail(status);
  }

  // To stderr, since the items themselves may go to stdout.
  void Report() const {
    const double seconds = progress_.elapsed_s();
    if (options_.json) {
      JsonWriter json;
      json.BeginObject().Name("items").Number(items_).Name("bytes").Number(bytes_);
      json.Name("gone_meanwhile").Number(gone_).Name("seconds").Decimal(seconds, 3);
      std::fprintf(stderr, "%s\n", json.EndObject().text().c_str());
      return;
    }
    std::fprintf(stderr, "wrote %s items, %s, in %s; %s were gone when they were read\n",
                 FormatCount(items_).c_str(), FormatBytes(bytes_).c_str(), FormatDuration(seconds).c_str(),
                 FormatCount(gone_).c_str());
  }

  const Options& options_;
  Clock& clock_;
  Progress progress_;
  Output output_;
  std::vector<std::string> keys_;
  std::vector<uint32_t> expiries_;
  uint64_t items_ = 0;
  uint64_t bytes_ = 0;
  uint64_t gone_ = 0;
  bool writable_ = true;
};

}  // namespace

ExitCode RunDump(const Options& options, Clock& clock) { return Dumper(options, clock).Run(); }

}  // namespace cairn::cli
