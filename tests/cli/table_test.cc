#include "cli/table.h"

#include <gtest/gtest.h>

namespace cairn::cli {
namespace {

TEST(TableTest, ColumnsAreAsWideAsTheirWidestCell) {
  Table table({{"name"}, {"keys", true}, {"note"}});
  table.AddRow({"a", "1,000,000", "x"});
  table.AddRow({"longer name", "7"});
  EXPECT_EQ(table.Render(),
            "name              keys  note\n"
            "-----------  ---------  ----\n"
            "a            1,000,000  x\n"
            "longer name          7\n");
}

TEST(TableTest, WidthCountsCharactersAndNotBytes) {
  Table table({{"k"}, {"v"}});
  table.AddRow({"grün", "1"});
  table.AddRow({"grau", "2"});
  EXPECT_EQ(table.Render(),
            "k     v\n"
            "----  -\n"
            "grün  1\n"
            "grau  2\n");
}

TEST(TableTest, FieldsStandInOneColumn) {
  EXPECT_EQ(RenderFields({{"state", "normal"}, {}, {"digest now", "00ff"}}),
            "state       normal\n"
            "\n"
            "digest now  00ff\n");
}

TEST(TableTest, NothingFromAServerCanSteerTheTerminal) {
  EXPECT_EQ(EscapeForTerminal("plain grün \xe2\x82\xac"), "plain grün \xe2\x82\xac");
  EXPECT_EQ(EscapeForTerminal("a\nb\tc\\d"), "a\\nb\\tc\\\\d");
  EXPECT_EQ(EscapeForTerminal("\x1b[31mred"), "\\x1b[31mred");
  EXPECT_EQ(EscapeForTerminal(std::string_view("\0\x7f", 2)), "\\x00\\x7f");
  // U+009B is the one-character form of ESC [.
  EXPECT_EQ(EscapeForTerminal("\xc2\x9b"
                              "31m"),
            "\\xc2\\x9b31m");
  EXPECT_EQ(EscapeForTerminal("\xff\xc3"), "\\xff\\xc3");
  Table table({{"k"}});
  table.AddRow({"\x1b]0;x"});
  EXPECT_EQ(table.Render().find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace cairn::cli
