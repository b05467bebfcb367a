#include "cli/records.h"

#include <gtest/gtest.h>

#include <vector>

namespace cairn::cli {
namespace {

struct Parsed {
  std::vector<Record> records;
  std::vector<std::string> errors;
};

void Drain(RecordParser& parser, Parsed* parsed) {
  while (auto next = parser.Next()) {
    if (next->ok()) {
      parsed->records.push_back(std::move(**next));
    } else {
      parsed->errors.emplace_back(next->status().message());
    }
  }
}

// Fed in pieces of `piece` bytes, each drained at once.
Parsed Parse(RecordFormat format, std::string_view text, size_t piece = 1u << 20) {
  const auto parser = RecordParser::Make(format);
  Parsed parsed;
  for (size_t at = 0; at < text.size(); at += piece) {
    parser->Feed(text.substr(at, piece));
    Drain(*parser, &parsed);
  }
  parser->Finish();
  Drain(*parser, &parsed);
  return parsed;
}

constexpr std::string_view kPackages =
    "Package: 0ad\n"
    "Version: 0.0.26-3\n"
    "Tag: game::strategy,\n"
    " uitoolkit::sdl\n"
    "\n"
    "\n"
    "Version: 1\n"
    "package:7zip\n"
    "Description: Package: not me\n";

TEST(RecordsTest, ADebianStanzaIsTheValueAndItsPackageTheKey) {
  // However the bytes are cut.
  for (const size_t piece : {size_t{1}, size_t{2}, size_t{7}, kPackages.size()}) {
    const Parsed parsed = Parse(RecordFormat::kDebian, kPackages, piece);
    ASSERT_EQ(parsed.records.size(), 2u) << piece;
    EXPECT_EQ(parsed.records[0].key, "0ad");
    EXPECT_EQ(parsed.records[0].value,
              "Package: 0ad\nVersion: 0.0.26-3\nTag: game::strategy,\n uitoolkit::sdl");
    EXPECT_EQ(parsed.records[1].key, "7zip");
    EXPECT_EQ(parsed.records[1].value, "Version: 1\npackage:7zip\nDescription: Package: not me");
    EXPECT_FALSE(parsed.records[0].flags.has_value());
    EXPECT_TRUE(parsed.errors.empty());
  }
}

TEST(RecordsTest, AStanzaWithoutAPackageIsAnErrorAndTheNextIsRead) {
  const Parsed parsed = Parse(RecordFormat::kDebian, "Origin: x\n\nPackage: b\n\n Package: continued\n");
  ASSERT_EQ(parsed.records.size(), 1u);
  EXPECT_EQ(parsed.records[0].key, "b");
  EXPECT_EQ(parsed.errors, (std::vector<std::string>{"line 1: the stanza has no field Package",
                                                     "line 5: the stanza has no field Package"}));
}

TEST(RecordsTest, TsvHasEscapesAndOptionalColumns) {
  const Parsed parsed = Parse(RecordFormat::kTsv, "a\\tb\tx\\ny\\\\z\\0\\r\n\nk\t\nc\tv\t7\t1700000000", 3);
  ASSERT_EQ(parsed.records.size(), 3u);
  EXPECT_EQ(parsed.records[0].key, "a\tb");
  EXPECT_EQ(parsed.records[0].value, std::string("x\ny\\z\0\r", 7));
  EXPECT_EQ(parsed.records[1].value, "");
  EXPECT_FALSE(parsed.records[1].flags.has_value());
  EXPECT_EQ(parsed.records[2].flags, 7u);
  EXPECT_EQ(parsed.records[2].expiry, 1'700'000'000u);
  EXPECT_TRUE(parsed.errors.empty());
}

TEST(RecordsTest, BadTsvLinesAreNamedAndSkipped) {
  const Parsed parsed = Parse(RecordFormat::kTsv,
                              "alone\n"
                              "\tvalue\n"
                              "a\t\\q\n"
                              "a\tb\\\n"
                              "a\tb\tx\n"
                              "a\tb\t1\t4294967296\n"
                              "a\tb\t1\t2\t3\n"
                              "good\t1\n");
  ASSERT_EQ(parsed.records.size(), 1u);
  EXPECT_EQ(parsed.records[0].key, "good");
  ASSERT_EQ(parsed.errors.size(), 7u);
  for (size_t i = 0; i < parsed.errors.size(); ++i) {
    EXPECT_EQ(parsed.errors[i].find("line " + std::to_string(i + 1) + ": "), 0u) << parsed.errors[i];
  }
}

TEST(RecordsTest, KeysHaveOneTo250Bytes) {
  const std::string longest(250, 'k');
  const Parsed parsed = Parse(RecordFormat::kTsv, longest + "\t1\n" + longest + "k\t2\n");
  ASSERT_EQ(parsed.records.size(), 1u);
  EXPECT_EQ(parsed.records[0].key, longest);
  EXPECT_EQ(parsed.errors, std::vector<std::string>{"line 2: a key of 251 bytes (at most 250)"});
}

TEST(RecordsTest, JsonlTakesItsFieldsAndIgnoresOthers) {
  const Parsed parsed =
      Parse(RecordFormat::kJsonl,
            "{\"key\":\"a\",\"value\":\"1\",\"flags\":3,\"expiry\":60,\"comment\":\"x\"}\r\n"
            "\n"
            "{\"key_base64\":\"/w==\",\"value_base64\":\"AAE=\"}");
  ASSERT_EQ(parsed.records.size(), 2u);
  EXPECT_EQ(parsed.records[0].flags, 3u);
  EXPECT_EQ(parsed.records[0].expiry, 60u);
  EXPECT_EQ(parsed.records[1].key, "\xff");
  EXPECT_EQ(parsed.records[1].value, std::string("\0\x01", 2));
}

TEST(RecordsTest, BadJsonlLinesAreNamedAndSkipped) {
  const Parsed parsed = Parse(RecordFormat::kJsonl,
                              "nonsense\n"
                              "{\"key\":\"a\"}\n"
                              "{\"value\":\"a\"}\n"
                              "{\"key\":1,\"value\":\"a\"}\n"
                              "{\"key\":\"a\",\"value\":null}\n"
                              "{\"key\":\"a\",\"value\":\"a\",\"flags\":\"1\"}\n"
                              "{\"key\":\"a\",\"value\":\"a\",\"expiry\":-1}\n"
                              "{\"key\":\"a\",\"value_base64\":\"*\"}\n");
  EXPECT_TRUE(parsed.records.empty());
  EXPECT_EQ(parsed.errors.size(), 8u);
}

TEST(RecordsTest, ALineWithoutEndIsDroppedAndNotKept) {
  const auto parser = RecordParser::Make(RecordFormat::kTsv);
  const std::string piece(8u << 20, 'x');
  for (size_t fed = 0; fed <= kRecordBytesMax; fed += piece.size()) {
    parser->Feed(piece);
    ASSERT_FALSE(parser->Next().has_value());
  }
  parser->Feed("more\nk\tv\n");
  auto next = parser->Next();
  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(next->status().message(), "line 1: the line is too long");
  next = parser->Next();
  ASSERT_TRUE(next.has_value() && next->ok());
  EXPECT_EQ((*next)->key, "k");
}

TEST(RecordsTest, WhatIsWrittenIsReadBackEqual) {
  std::string all_bytes;
  for (int i = 0; i < 256; ++i) all_bytes.push_back(static_cast<char>(i));
  const std::vector<Record> records = {
      {"plain", "value", 0u, 0u}, {"k\t\n\\", all_bytes, 5u, 0u}, {"e", "", 0u, 1'700'000'000u}};
  for (const RecordFormat format : {RecordFormat::kTsv, RecordFormat::kJsonl}) {
    std::string text;
    for (const Record& record : records) AppendRecord(format, record, &text);
    const Parsed parsed = Parse(format, text);
    ASSERT_EQ(parsed.errors, std::vector<std::string>());
    ASSERT_EQ(parsed.records.size(), records.size());
    for (size_t i = 0; i < records.size(); ++i) {
      EXPECT_EQ(parsed.records[i].key, records[i].key);
      EXPECT_EQ(parsed.records[i].value, records[i].value);
      EXPECT_EQ(parsed.records[i].flags.value_or(0), records[i].flags);
      EXPECT_EQ(parsed.records[i].expiry.value_or(0), records[i].expiry);
    }
  }
}

}  // namespace
}  // namespace cairn::cli
