// BulkStore and FetchBatch against a server that refuses on command; and the pure parts around them.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "cli/bulk_fetch.h"
#include "cli/bulk_store.h"
#include "tests/cli/scripted_server.h"

namespace cairn::cli {
namespace {

using proto::BinaryStatus;

BinaryStatus AlwaysOk(size_t, std::string_view) { return BinaryStatus::kOk; }

class BulkTest : public testing::Test {
 protected:
  std::unique_ptr<Client> Connect(const ScriptedServer& server, int64_t timeout_ms = 5000) {
    Result<std::unique_ptr<Client>> client =
        Client::Connect({.address = server.address(), .timeout_ms = timeout_ms}, &clock_);
    EXPECT_TRUE(client.ok()) << client.status().ToString();
    return client.ok() ? std::move(*client) : nullptr;
  }
  std::unique_ptr<BulkStore> Store(const ScriptedServer& server, const BulkStoreOptions& options) {
    return std::make_unique<BulkStore>(
        Connect(server), &clock_, options,
        [this](const Record& record, const Status&) { refused_.push_back(record.key); });
  }
  static Record Make(const std::string& key, const std::string& value) { return {key, value, {}, {}}; }

  SystemClock clock_;
  std::vector<std::string> refused_;
};

TEST_F(BulkTest, StoresEverythingInBatches) {
  ScriptedServer server(AlwaysOk);
  auto store = Store(server, {.batch_items_max = 10});
  for (int i = 0; i < 95; ++i) ASSERT_TRUE(store->Add(Make("k" + std::to_string(i), "v")).ok());
  ASSERT_TRUE(store->Finish().ok());
  EXPECT_EQ(store->counts().stored, 95u);
  store.reset();
  server.Stop();
  EXPECT_EQ(server.items.size(), 95u);
  EXPECT_EQ(server.noops, 10u);
}

TEST_F(BulkTest, ALargeRecordIsABatchOfItsOwn) {
  ScriptedServer server(AlwaysOk);
  auto store = Store(server, {.batch_bytes_max = 1000});
  for (const char* key : {"a", "b", "c"}) {
    ASSERT_TRUE(store->Add(Make(key, std::string(3'000'000, 'x'))).ok());
  }
  ASSERT_TRUE(store->Finish().ok());
  store.reset();
  server.Stop();
  EXPECT_EQ(server.items.size(), 3u);
  EXPECT_EQ(server.noops, 3u);
}

TEST_F(BulkTest, TheLastRecordOfAKeyWinsThoughAnEarlierOneWasRefusedForTheMoment) {
  // The first record of the key is refused three times; the later one must not overtake it.
  size_t refusals = 3;
  ScriptedServer server([&](size_t, std::string_view key) {
    return key == "k" && refusals > 0 && refusals-- > 0 ? BinaryStatus::kTmpFail : BinaryStatus::kOk;
  });
  auto store = Store(server, {});
  ASSERT_TRUE(store->Add(Make("k", "old")).ok());
  ASSERT_TRUE(store->Add(Make("other", "1")).ok());
  ASSERT_TRUE(store->Add(Make("k", "new")).ok());
  ASSERT_TRUE(store->Finish().ok());
  EXPECT_EQ(store->counts().stored, 3u);
  EXPECT_EQ(store->counts().retried, 3u);
  store.reset();
  server.Stop();
  EXPECT_EQ(server.stored_values, (std::vector<std::string>{"1", "old", "new"}));
  EXPECT_EQ(server.items.at("k"), "new");
}

TEST_F(BulkTest, WhatIsRefusedForGoodIsCountedAndTheRestStored) {
  ScriptedServer server(
      [](size_t, std::string_view key) { return key == "bad" ? BinaryStatus::kTooBig : BinaryStatus::kOk; });
  auto store = Store(server, {});
  for (const char* key : {"a", "bad", "b"}) ASSERT_TRUE(store->Add(Make(key, "v")).ok());
  ASSERT_TRUE(store->Finish().ok());
  EXPECT_EQ(store->counts().stored, 2u);
  EXPECT_EQ(store->counts().refused, 1u);
  EXPECT_EQ(refused_, std::vector<std::string>{"bad"});
}

TEST_F(BulkTest, GivesUpWhenTheServerHasNoRoomForTooLong) {
  ScriptedServer server([](size_t, std::string_view) { return BinaryStatus::kNoMemory; });
  auto store = Store(server, {.retry_ms_max = 30});
  ASSERT_TRUE(store->Add(Make("a", "v")).ok());
  const Status status = store->Finish();
  EXPECT_EQ(status.code(), Code::kTmpFail);
  EXPECT_NE(status.message().find("NO_MEMORY"), std::string_view::npos) << status.message();
  EXPECT_EQ(store->counts().stored, 0u);
  EXPECT_EQ(store->counts().refused, 1u);
  EXPECT_GE(store->counts().retried, 1u);
}

TEST_F(BulkTest, AServerThatGoesAwayIsAnErrorAndNotAWait) {
  ScriptedServer server(AlwaysOk);
  auto store = Store(server, {});
  ASSERT_TRUE(store->Add(Make("a", "v")).ok());
  server.Stop();
  EXPECT_EQ(store->Finish().code(), Code::kIoError);
  EXPECT_EQ(store->counts().stored, 0u);
}

TEST_F(BulkTest, FetchesHitsAndLeavesOutMisses) {
  ScriptedServer server(AlwaysOk);
  server.items = {{"a", "1"}, {"c", "3"}};
  const auto client = Connect(server);
  const std::vector<std::string> keys = {"a", "b", "c"};
  std::vector<std::string> seen;
  const Status status = FetchBatch(*client, keys, 1000, [&](const FetchedValue& found) {
    seen.push_back(keys[found.index] + "=" + std::string(found.value) + "/" + std::to_string(found.flags));
  });
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(seen, (std::vector<std::string>{"a=1/7", "c=3/7"}));
}

TEST_F(BulkTest, AFetchAsksAgainOnlyForWhatWasRefusedForTheMoment) {
  std::vector<std::string> asked;
  ScriptedServer server([&](size_t n, std::string_view key) {
    asked.emplace_back(key);
    return key == "b" && n < 3 ? BinaryStatus::kTmpFail : BinaryStatus::kOk;
  });
  server.items = {{"a", "1"}, {"b", "2"}};
  auto client = Connect(server);
  const std::vector<std::string> keys = {"a", "b"};
  size_t found = 0;
  ASSERT_TRUE(FetchBatch(*client, keys, 1000, [&](const FetchedValue&) { ++found; }).ok());
  EXPECT_EQ(found, 2u);
  client.reset();
  server.Stop();
  EXPECT_EQ(asked, (std::vector<std::string>{"a", "b", "b", "b"}));
}

TEST_F(BulkTest, ALastingRefusalEndsTheFetch) {
  ScriptedServer server([](size_t, std::string_view) { return BinaryStatus::kInternal; });
  const auto client = Connect(server);
  const std::vector<std::string> keys = {"a"};
  const Status status = FetchBatch(*client, keys, 1000, [](const FetchedValue&) {});
  EXPECT_EQ(status.message(), "INTERNAL (0x84): as the script says");
}

TEST_F(BulkTest, NoAnswerIsATimeoutAndNotAHang) {
  ScriptedServer server(AlwaysOk);
  const auto client = Connect(server, 50);
  EXPECT_EQ(client->Receive().status().code(), Code::kTimeout);
}

TEST_F(BulkTest, NoServerIsAnErrorThatNamesTheAddress) {
  const auto client = Client::Connect({.address = *ParseAddress("unix:/nonexistent/socket")}, &clock_);
  ASSERT_FALSE(client.ok());
  EXPECT_EQ(client.status().code(), Code::kIoError);
  EXPECT_NE(client.status().message().find("unix:/nonexistent/socket"), std::string_view::npos);
}

TEST(RetryPauseTest, GrowsToASecond) {
  EXPECT_EQ(RetryPauseMs(0), 10);
  EXPECT_EQ(RetryPauseMs(1), 20);
  EXPECT_EQ(RetryPauseMs(6), 640);
  EXPECT_EQ(RetryPauseMs(7), 1000);
  EXPECT_EQ(RetryPauseMs(UINT32_MAX), 1000);
}

TEST(MetadumpTest, ReadsKeyAndExpiryAmongOtherFields) {
  const auto listed = ParseMetadumpLine("key=a%20b%0Ac exp=1700000000 la=1 cas=2 fetch=no cls=1 size=64");
  ASSERT_TRUE(listed.has_value());
  EXPECT_EQ(listed->key, "a b\nc");
  EXPECT_EQ(listed->expiry, 1'700'000'000u);
  EXPECT_EQ(ParseMetadumpLine("exp=-1 key=k")->expiry, 0u);
  for (const char* bad : {"", "END", "ERROR", "key=", "key=%zz", "key=%4", "BUSY currently processing"}) {
    EXPECT_FALSE(ParseMetadumpLine(bad).has_value()) << bad;
  }
}

TEST(KeyPageTest, ReadsSizeExpiryAndKey) {
  const auto keys = ParseKeyPage(std::string_view("\0\1\0\0\0\0a\0\3\x65\x53\xf1\0b\0c", 16));
  ASSERT_TRUE(keys.has_value());
  ASSERT_EQ(keys->size(), 2u);
  EXPECT_EQ((*keys)[0].key, "a");
  EXPECT_EQ((*keys)[0].expiry, 0u);
  EXPECT_EQ((*keys)[1].key, std::string("b\0c", 3));
  EXPECT_EQ((*keys)[1].expiry, 0x6553f100u);
  EXPECT_TRUE(ParseKeyPage("")->empty());
  for (const size_t cut : {size_t{1}, size_t{6}, size_t{8}, size_t{15}}) {
    EXPECT_FALSE(ParseKeyPage(std::string_view("\0\1\0\0\0\0a\0\3\x65\x53\xf1\0b\0c", cut)).has_value())
        << cut;
  }
}

TEST(RequestTest, HasTheBytesOfTheProtocol) {
  // The SET of memcached's protocol_binary.txt, section 4.2.1: flags 0xdeadbeef, expiry 0xe10.
  std::string out;
  const std::string extras = SetExtras(0xdeadbeef, 0xe10);
  AppendRequest({.opcode = proto::Opcode::kAdd, .extras = extras, .key = "Hello", .value = "World"}, &out);
  EXPECT_EQ(out, std::string("\x80\x02\x00\x05\x08\x00\x00\x00\x00\x00\x00\x12\x00\x00\x00\x00"
                             "\x00\x00\x00\x00\x00\x00\x00\x00\xde\xad\xbe\xef\x00\x00\x0e\x10HelloWorld",
                             42));
}

TEST(RefusalTest, NamesStatusNumberAndTextWithoutControlCharacters) {
  Reply reply;
  reply.status = BinaryStatus::kNotSupported;
  reply.value = "no\x1b";
  EXPECT_EQ(Refusal(reply).message(), "NOT_SUPPORTED (0x83): no\\x1b");
  EXPECT_EQ(StatusName(static_cast<BinaryStatus>(0x1234)), "STATUS_0x1234");
  EXPECT_TRUE(IsTransient(BinaryStatus::kTmpFail));
  EXPECT_FALSE(IsTransient(BinaryStatus::kTooBig));
}

}  // namespace
}  // namespace cairn::cli
