#include "bench/loadgen/server_usage.h"

#include <unistd.h>

#include <charconv>
#include <fstream>
#include <iterator>
#include <string>

namespace cairn::loadgen {
namespace {

Result<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) return Status(Code::kNotFound, "cannot read " + path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

bool ReadUnsigned(std::string_view text, uint64_t* out) {
  const size_t start = text.find_first_not_of(" \t");
  if (start == std::string_view::npos) return false;
  const char* begin = text.data() + start;
  return std::from_chars(begin, text.data() + text.size(), *out).ec == std::errc();
}

bool ReadKilobytes(std::string_view text, std::string_view name, uint64_t* bytes) {
  const size_t at = text.find(name);
  if (at == std::string_view::npos || !ReadUnsigned(text.substr(at + name.size()), bytes)) return false;
  *bytes *= 1024;
  return true;
}

}  // namespace

Status ParseStat(std::string_view text, double ticks_per_second, ProcessUsage* usage) {
  const size_t name_end = text.rfind(')');
  if (name_end == std::string_view::npos) return Status(Code::kInvalidArgument, "no process name in stat");
  std::string_view rest = text.substr(name_end + 1);
  // The state, field 3, comes next; user time is field 14.
  for (int field = 3; field < 14; ++field) {
    const size_t start = rest.find_first_not_of(' ');
    const size_t end = start == std::string_view::npos ? start : rest.find(' ', start);
    if (end == std::string_view::npos) return Status(Code::kInvalidArgument, "stat is too short");
    rest.remove_prefix(end);
  }
  uint64_t user = 0;
  uint64_t system = 0;
  const size_t second = rest.find(' ', rest.find_first_not_of(' '));
  if (!ReadUnsigned(rest, &user) || second == std::string_view::npos ||
      !ReadUnsigned(rest.substr(second), &system)) {
    return Status(Code::kInvalidArgument, "no times in stat");
  }
  usage->user_seconds = static_cast<double>(user) / ticks_per_second;
  usage->system_seconds = static_cast<double>(system) / ticks_per_second;
  return Status::Ok();
}

Status ParseStatus(std::string_view text, ProcessUsage* usage) {
  if (!ReadKilobytes(text, "\nVmRSS:", &usage->rss_bytes) ||
      !ReadKilobytes(text, "\nVmHWM:", &usage->rss_peak_bytes)) {
    return Status(Code::kInvalidArgument, "no resident size in status (is it a live process?)");
  }
  return Status::Ok();
}

Result<ProcessUsage> ReadUsage(int pid) {
  const std::string folder = "/proc/" + std::to_string(pid);
  ProcessUsage usage;
  CAIRN_ASSIGN_OR_RETURN(const std::string stat, ReadFile(folder + "/stat"));
  CAIRN_RETURN_IF_ERROR(ParseStat(stat, static_cast<double>(sysconf(_SC_CLK_TCK)), &usage));
  CAIRN_ASSIGN_OR_RETURN(const std::string status, ReadFile(folder + "/status"));
  CAIRN_RETURN_IF_ERROR(ParseStatus(status, &usage));
  return usage;
}

}  // namespace cairn::loadgen
