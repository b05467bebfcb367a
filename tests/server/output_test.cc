#include "server/output.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace cairn::server {
namespace {

ItemRef MakeItem(size_t size, char fill) {
  return Item::NewValue("key", std::string(size, fill), ItemMeta{});
}

// Sends `step` bytes at a time, through iovecs as the kernel would see them.
std::string Drain(Output& out, size_t step) {
  std::string sent;
  while (!out.empty()) {
    iovec iovecs[6];
    const size_t count = out.FillIovecs(iovecs);
    EXPECT_GT(count, 0U);
    std::string offered;
    for (size_t i = 0; i < count; ++i) {
      offered.append(static_cast<const char*>(iovecs[i].iov_base), iovecs[i].iov_len);
    }
    const size_t taken = std::min(step, offered.size());
    sent += offered.substr(0, taken);
    out.Consume(taken);
  }
  return sent;
}

TEST(Output, SmallValuesAreCopiedLargeOnesShared) {
  const ItemRef small = MakeItem(Output::kShareBytesMin - 1, 's');
  const ItemRef large = MakeItem(Output::kShareBytesMin, 'l');
  Output out;
  out.AppendValue(small);
  out.AppendValue(large);
  EXPECT_EQ(small->ref_count(), 1U);
  EXPECT_EQ(large->ref_count(), 2U);
  EXPECT_EQ(out.size(), 2 * Output::kShareBytesMin - 1);
  Drain(out, 1'000'000);
  EXPECT_EQ(large->ref_count(), 1U) << "a value that was sent is let go";
}

TEST(Output, BytesLeaveInOrderWhateverTheKernelTakes) {
  for (const size_t step : {size_t{1}, size_t{7}, size_t{1000}, size_t{16'384}, size_t{100'000}}) {
    Output out;
    std::string expected;
    const auto append = [&](const std::string& text) {
      out.buffer().Append(text);
      expected += text;
    };
    const auto share = [&](size_t size, char fill) {
      out.AppendValue(MakeItem(size, fill));
      expected += std::string(size, fill);
    };
    share(20'000, 'a');
    share(20'001, 'b');
    append("between");
    for (int i = 0; i < 10; ++i) {
      share(16'384, static_cast<char>('c' + i));
      append("\r\n");
    }
    append("end");
    EXPECT_EQ(out.size(), expected.size());
    EXPECT_TRUE(Drain(out, step) == expected) << step;
  }
}

TEST(Output, TakeFromKeepsTheOrder) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    Output unsent;
    std::string expected;
    std::string sent;
    for (int part = 0; part < 5; ++part) {
      Output batch;
      for (int i = 0; i < 3; ++i) {
        const std::string text(random() % 50, static_cast<char>('a' + part));
        batch.buffer().Append(text);
        expected += text;
        if (random() % 2 == 0) {
          batch.AppendValue(MakeItem(20'000, static_cast<char>('0' + part)));
          expected += std::string(20'000, static_cast<char>('0' + part));
        }
      }
      unsent.TakeFrom(batch);
      EXPECT_TRUE(batch.empty());
      iovec iovecs[8];
      const size_t count = unsent.FillIovecs(iovecs);
      std::string offered;
      for (size_t i = 0; i < count; ++i) {
        offered.append(static_cast<const char*>(iovecs[i].iov_base), iovecs[i].iov_len);
      }
      const size_t taken = random() % (offered.size() + 1);
      sent += offered.substr(0, taken);
      unsent.Consume(taken);
    }
    sent += Drain(unsent, 10'000);
    ASSERT_TRUE(sent == expected) << "round " << round;
  }
}

const engine::Requirement kRequirement{Vbid(1), engine::DurabilityLevel::kMajority, Seqno(7), 9};

TEST(Output, AmbiguousAnswersKeepTheirPlaceAmongTheOthers) {
  Output out;
  out.buffer().Append("first ");
  for (const std::string_view answer : {"STORED\r\n", "TOUCHED\r\n", "DELETED\r\n"}) {
    const size_t begin = out.position();
    out.buffer().Append(answer);
    out.MarkText(begin, {&kRequirement, 1});
    out.AppendValue(MakeItem(20'000, 'v'));
    out.buffer().Append(" next ");
  }
  ASSERT_EQ(out.mark_count(), 3U);
  out.SetAmbiguous(0);
  out.SetAmbiguous(2);
  out.ReplaceAmbiguous();
  EXPECT_FALSE(out.has_mutations());
  const std::string ambiguous = "SERVER_ERROR ambiguous: not known to be durable\r\n";
  const std::string rest = std::string(20'000, 'v') + " next ";
  EXPECT_TRUE(Drain(out, 5000) == "first " + ambiguous + rest + "TOUCHED\r\n" + rest + ambiguous + rest);
}

TEST(Output, KeepsWhatEachMarkHasToReach) {
  Output out;
  const engine::Requirement several[] = {{Vbid(1), engine::DurabilityLevel::kMajority, Seqno(1), 9},
                                         {Vbid(2), engine::DurabilityLevel::kMajority, Seqno(2), 9}};
  out.buffer().Append("OK\r\n");
  out.MarkText(0, several);
  out.MarkBinary(out.position(), proto::BinaryHeader(), {&kRequirement, 1});
  ASSERT_EQ(out.mark_count(), 2U) << "a quiet binary mutation has a mark too";
  EXPECT_EQ(out.requirements(0).size(), 2U);
  EXPECT_EQ(out.requirements(0)[1].vbucket, Vbid(2));
  ASSERT_EQ(out.requirements(1).size(), 1U);
  EXPECT_EQ(out.requirements(1)[0].seqno, Seqno(7));
  out.ReplaceAmbiguous();
  EXPECT_EQ(Drain(out, 100), "OK\r\n");
}

TEST(Output, NobodyWaitsForANoreplyOrForNothing) {
  Output out;
  out.MarkText(out.position(), {&kRequirement, 1});
  EXPECT_FALSE(out.has_mutations());
  out.buffer().Append("OK\r\n");
  out.MarkText(0, {});
  EXPECT_FALSE(out.has_mutations());
}

TEST(Output, OneBatchHasOneTime) {
  Output out;
  EXPECT_TRUE(out.TakesTimeout(5));
  out.buffer().Append("OK\r\n");
  out.set_timeout_ms(5);
  out.MarkText(0, {&kRequirement, 1});
  EXPECT_TRUE(out.TakesTimeout(5));
  EXPECT_FALSE(out.TakesTimeout(6));
  out.Clear();
  EXPECT_TRUE(out.TakesTimeout(6));
}

}  // namespace
}  // namespace cairn::server
