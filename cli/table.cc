#include "cli/table.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/json.h"

namespace cairn::cli {
namespace {

// Columns that the text takes: one per code point, which is right for what servers send in practice.
size_t WidthOf(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

void AppendCell(std::string_view cell, size_t width, bool right, std::string* line) {
  const size_t pad = width - std::min(width, WidthOf(cell));
  if (right) line->append(pad, ' ');
  line->append(cell);
  if (!right) line->append(pad, ' ');
}

void FinishLine(std::string line, std::string* out) {
  line.erase(line.find_last_not_of(' ') + 1);
  out->append(line).push_back('\n');
}

}  // namespace

std::string EscapeForTerminal(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    const size_t length = Utf8Length(bytes);
    const auto first = static_cast<unsigned char>(bytes[0]);
    // U+0080…U+009F (c2 80…9f) are control characters too: some terminals obey them.
    const bool c1_control = length == 2 && first == 0xc2 && static_cast<unsigned char>(bytes[1]) < 0xa0;
    const size_t take = length == 0 ? 1 : length;
    if (first == '\n') {
      out += "\\n";
    } else if (first == '\t') {
      out += "\\t";
    } else if (first == '\\') {
      out += "\\\\";
    } else if (length == 0 || first < 0x20 || first == 0x7f || c1_control) {
      for (const char c : bytes.substr(0, take)) {
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
      }
    } else {
      out.append(bytes.substr(0, take));
    }
    bytes.remove_prefix(take);
  }
  return out;
}

void Table::AddRow(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  for (std::string& cell : cells) cell = EscapeForTerminal(cell);
  rows_.push_back(std::move(cells));
}

std::string Table::Render() const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = WidthOf(columns_[i].title);
    for (const auto& row : rows_) width = std::max(width, WidthOf(row[i]));
    widths.push_back(width);
  }
  std::string out;
  std::string heading;
  std::string rule;
  for (size_t i = 0; i < columns_.size(); ++i) {
    const std::string_view gap = i == 0 ? "" : "  ";
    heading += gap;
    rule += gap;
    AppendCell(columns_[i].title, widths[i], columns_[i].right_aligned, &heading);
    rule.append(widths[i], '-');
  }
  FinishLine(std::move(heading), &out);
  FinishLine(std::move(rule), &out);
  for (const auto& row : rows_) {
    std::string line;
    for (size_t i = 0; i < columns_.size(); ++i) {
      if (i != 0) line += "  ";
      AppendCell(row[i], widths[i], columns_[i].right_aligned, &line);
    }
    FinishLine(std::move(line), &out);
  }
  return out;
}

std::string RenderFields(const std::vector<std::pair<std::string, std::string>>& fields) {
  size_t width = 0;
  for (const auto& field : fields) width = std::max(width, WidthOf(field.first));
  std::string out;
  for (const auto& [name, value] : fields) {
    std::string line;
    if (!name.empty()) {
      AppendCell(EscapeForTerminal(name), width, false, &line);
      line += "  " + EscapeForTerminal(value);
    }
    FinishLine(std::move(line), &out);
  }
  return out;
}

}  // namespace cairn::cli
