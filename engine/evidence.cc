#include "engine/evidence.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/key.h"
#include "base/log.h"

namespace cairn::engine {
namespace {

namespace fs = std::filesystem;

constexpr size_t kFilesMax = 16;
constexpr size_t kLinesMax = 1'000'000;
constexpr size_t kItemsPerLock = 64;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

std::string_view KindName(const Item& item) {
  switch (item.kind()) {
    case ItemKind::kValue:
      return "value";
    case ItemKind::kEjected:
      return "ejected";
    case ItemKind::kDeleted:
      return "deleted";
    case ItemKind::kMarker:
      return "marker";
  }
  return "unknown";
}

/// Removes the oldest files, so that one more fits.
void MakeRoom(const fs::path& directory) {
  std::error_code error;
  std::vector<std::pair<fs::file_time_type, fs::path>> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
    files.emplace_back(entry.last_write_time(error), entry.path());
  }
  std::sort(files.begin(), files.end());
  for (size_t i = 0; i + kFilesMax <= files.size(); ++i) fs::remove(files[i].second, error);
}

bool WriteItems(const VBucket& vb, std::FILE* out) {
  hashtable::VisitCursor cursor;
  size_t lines = 0;
  for (bool more = true; more && lines < kLinesMax;) {
    std::vector<ItemRef> items;
    {
      MutexLock lock(vb.mutex);
      more = vb.CollectEverySome(cursor, kItemsPerLock, &items);
    }
    for (const ItemRef& item : items) {
      if (++lines > kLinesMax) break;
      const std::string line =
          fmt::format("{} {} {} {:016x} {}\n", EscapeKey(item->key()), item->seqno().get(), item->cas().get(),
                      item->digest(), KindName(*item));
      if (std::fwrite(line.data(), 1, line.size(), out) != line.size()) return false;
    }
  }
  return true;
}

}  // namespace

void WriteEvidence(const Core& core, const VBucket& vb, const DigestAlarm& alarm) {
  if (core.options.data_dir.empty()) return;
  const fs::path directory = fs::path(core.options.data_dir) / "evidence";
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    CAIRN_LOG(kError, "cannot make {}: {}", directory.string(), std::generic_category().message(errno));
    return;
  }
  MakeRoom(directory);
  const fs::path path = directory / fmt::format("vb{}-ckpt{}.txt", vb.id().get(), alarm.checkpoint.get());
  // Not fopen: the mode must be right from the beginning, and a umask is the whole process's.
  const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  const File file(descriptor < 0 ? nullptr : fdopen(descriptor, "w"));
  const std::string head = fmt::format(
      "# vbucket {} checkpoint {} last {} expected {:016x} found {:016x}\n# key seqno cas digest kind\n",
      vb.id().get(), alarm.checkpoint.get(), alarm.last.get(), alarm.expected, alarm.found);
  const bool written = file != nullptr &&
                       std::fwrite(head.data(), 1, head.size(), file.get()) == head.size() &&
                       WriteItems(vb, file.get()) && std::fflush(file.get()) == 0;
  if (written) {
    CAIRN_LOG(kError, "vbucket {}: what it held is in {}", vb.id().get(), path.string());
  } else {
    CAIRN_LOG(kError, "cannot write {}: {}", path.string(), std::generic_category().message(errno));
  }
}

}  // namespace cairn::engine
