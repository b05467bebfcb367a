#include "cli/json.h"

#include <gtest/gtest.h>

namespace cairn::cli {
namespace {

TEST(JsonWriterTest, PlacesCommasInNestedValues) {
  JsonWriter json;
  json.BeginObject().Name("a").Number(1).Name("b").BeginArray().Number(2).String("x").BeginObject();
  json.EndObject().EndArray().Name("c").Bool(true).Name("d").Null().Name("e").Decimal(1.5, 2).EndObject();
  EXPECT_EQ(json.text(), R"({"a":1,"b":[2,"x",{}],"c":true,"d":null,"e":1.50})");
}

TEST(JsonWriterTest, EscapesWhatMustNotStandInAString) {
  JsonWriter json;
  json.String("a\"b\\c\n\t\x01 \xc3\xbc \xff");
  EXPECT_EQ(json.text(), "\"a\\\"b\\\\c\\n\\t\\u0001 \xc3\xbc \\ufffd\"");
}

TEST(JsonWriterTest, StatisticsAreNumbersOnlyWhenNoDigitIsLost) {
  JsonWriter json;
  json.BeginArray().Auto("0").Auto("42").Auto("9007199254740992").Auto("9007199254740993").Auto("007");
  json.Auto("-1").Auto("1.5").Auto("").Auto("normal").EndArray();
  EXPECT_EQ(json.text(), R"([0,42,9007199254740992,"9007199254740993","007","-1","1.5","","normal"])");
}

TEST(JsonWriterTest, BytesThatAreNoUtf8BecomeBase64) {
  JsonWriter json;
  json.BeginObject().Bytes("key", "plain").Bytes("value", "\xff\xfe").EndObject();
  EXPECT_EQ(json.text(), R"({"key":"plain","value_base64":"//4="})");
}

TEST(Base64Test, RoundTripsEveryLengthAndByte) {
  std::string bytes;
  for (int i = 0; i < 260; ++i) {
    const Result<std::string> back = Base64Decode(Base64Encode(bytes));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(*back, bytes);
    bytes.push_back(static_cast<char>(i * 7));
  }
  EXPECT_EQ(Base64Encode("foobar"), "Zm9vYmFy");
  EXPECT_EQ(Base64Encode("fooba"), "Zm9vYmE=");
  EXPECT_EQ(Base64Encode("foob"), "Zm9vYg==");
}

TEST(Base64Test, RefusesWhatIsNone) {
  for (const char* bad : {"Zg", "Zg=", "Z===", "====", "Zg==Zg==", "Zm9v!mFy", "Zm9v\nZm9"}) {
    EXPECT_FALSE(Base64Decode(bad).ok()) << bad;
  }
}

TEST(Utf8Test, KnowsWellFormedSequences) {
  EXPECT_TRUE(IsUtf8("a\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80"));
  // Alone, cut, overlong, surrogate, beyond the end.
  for (const char* bad : {"\x80", "\xc3", "\xe2\x82", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80",
                          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xc3("}) {
    EXPECT_FALSE(IsUtf8(bad)) << Base64Encode(bad);
  }
}

TEST(FlatObjectTest, ReadsStringsNumbersAndWords) {
  const auto fields = ParseFlatObject(
      R"( { "key" : "a\"\\\/\b\f\n\r\tz" , "value":"\u00fc\u20ac\ud83d\ude00","flags":7,"x":null,"y":true } )");
  ASSERT_TRUE(fields.ok()) << fields.status().ToString();
  ASSERT_EQ(fields->size(), 5u);
  EXPECT_EQ((*fields)[0].name, "key");
  EXPECT_EQ((*fields)[0].text, "a\"\\/\b\f\n\r\tz");
  EXPECT_TRUE((*fields)[0].is_string);
  EXPECT_EQ((*fields)[1].text, "\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80");
  EXPECT_EQ((*fields)[2].text, "7");
  EXPECT_FALSE((*fields)[2].is_string);
  EXPECT_EQ((*fields)[3].text, "null");
  EXPECT_TRUE(ParseFlatObject("{}")->empty());
}

TEST(FlatObjectTest, SaysWhereItGoesWrong) {
  for (const char* bad :
       {"", "[]", "{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,}", "{\"a\":{}}", "{\"a\":[1]}",
        "{\"a\":\"x}", "{\"a\":\"\\q\"}", "{\"a\":\"\\u12\"}", "{\"a\":\"\\ud800\"}", "{\"a\":\"\\udc00\"}",
        "{\"a\":\"\\ud800\\u0041\"}", "{\"a\":yes}", "{\"a\":1} x", "{a:1}", "{\"a\":\"\\"}) {
    const auto fields = ParseFlatObject(bad);
    EXPECT_FALSE(fields.ok()) << bad;
    EXPECT_NE(fields.status().message().find("column"), std::string_view::npos) << bad;
  }
}

}  // namespace
}  // namespace cairn::cli
