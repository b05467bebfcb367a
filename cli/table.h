#pragma once
// Tables for a terminal: left or right aligned columns, two spaces between them. What a server sent is
// escaped, so that no key or name can steer the terminal. Pure.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn::cli {

/// Control characters and bytes that are no UTF-8 become \n, \t, \\ or \xHH; everything else stays.
std::string EscapeForTerminal(std::string_view bytes);

struct Column {
  std::string title;
  bool right_aligned = false;
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  /// One cell per column; missing cells are empty, surplus ones are dropped.
  void AddRow(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }
  /// Heading, rule, rows; each line ends with a newline and has no trailing blanks.
  std::string Render() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// Name and value per line, the values in one column; a pair without a name is a blank line.
std::string RenderFields(const std::vector<std::pair<std::string, std::string>>& fields);

}  // namespace cairn::cli
