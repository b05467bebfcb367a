// Cost of the codec alone: parsing the frequent requests, building the frequent answers, encoding records.
// One core, everything in the first-level cache; the numbers are a floor, not a server's.

#include <benchmark/benchmark.h>

#include <string>

#include "base/crc32c.h"
#include "base/item.h"
#include "proto/binary.h"
#include "proto/disk_record.h"
#include "proto/text.h"

namespace cairn::proto {
namespace {

const std::string kKey32 = "user:0000000000000000000:profile";
const std::string kValue100(100, 'v');

/// Parses a batch of the same request as a connection does: one after the other out of one buffer.
void ParseTextBatch(benchmark::State& state, const std::string& one) {
  constexpr int kBatch = 30;
  std::string batch;
  for (int i = 0; i < kBatch; ++i) batch += one;
  const Limits limits;
  TextRequest request;
  for (auto _ : state) {
    std::string_view in = batch;
    while (!in.empty()) {
      const ParseOutcome outcome = ParseText(in, limits, &request);
      if (outcome.state != ParseState::kOk) return state.SkipWithError("the request does not parse");
      benchmark::DoNotOptimize(request);
      in.remove_prefix(outcome.bytes);
    }
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}

void TextGet(benchmark::State& state) { ParseTextBatch(state, "get " + kKey32 + "\r\n"); }
void TextSet100(benchmark::State& state) {
  ParseTextBatch(state, "set " + kKey32 + " 0 0 100\r\n" + kValue100 + "\r\n");
}
void TextSetNoreply(benchmark::State& state) {
  ParseTextBatch(state, "set " + kKey32 + " 0 0 100 noreply\r\n" + kValue100 + "\r\n");
}
void TextDelete(benchmark::State& state) { ParseTextBatch(state, "delete " + kKey32 + "\r\n"); }
BENCHMARK(TextGet);
BENCHMARK(TextSet100);
BENCHMARK(TextSetNoreply);
BENCHMARK(TextDelete);

/// Items are keys.
void TextMultiget50(benchmark::State& state) {
  constexpr int kKeys = 50;
  std::string in = "get";
  for (int i = 0; i < kKeys; ++i) in += " " + kKey32;
  in += "\r\n";
  const Limits limits;
  TextRequest request;
  for (auto _ : state) {
    if (ParseText(in, limits, &request).state != ParseState::kOk) return state.SkipWithError("refused");
    TextKeys keys(request);
    for (std::string_view key; keys.Next(&key);) benchmark::DoNotOptimize(key);
  }
  state.SetItemsProcessed(state.iterations() * kKeys);
}
BENCHMARK(TextMultiget50);

std::string BinaryFrame(Opcode opcode, size_t extras, const std::string& value) {
  BinaryHeader header;
  header.magic = kMagicRequest;
  header.opcode = opcode;
  header.extras_size = static_cast<uint8_t>(extras);
  header.key_size = static_cast<uint16_t>(kKey32.size());
  header.body_size = static_cast<uint32_t>(extras + kKey32.size() + value.size());
  std::string bytes(kBinaryHeaderSize + extras, '\0');
  EncodeBinaryHeader(header, bytes.data());
  return bytes + kKey32 + value;
}

void ParseBinaryOne(benchmark::State& state, const std::string& frame) {
  const Limits limits;
  BinaryRequest request;
  for (auto _ : state) {
    std::string_view in = frame;
    benchmark::DoNotOptimize(in);
    if (ParseBinary(in, limits, &request).state != ParseState::kOk) return state.SkipWithError("refused");
    benchmark::DoNotOptimize(request);
  }
  state.SetItemsProcessed(state.iterations());
}
void BinaryGet(benchmark::State& state) { ParseBinaryOne(state, BinaryFrame(Opcode::kGet, 0, "")); }
void BinarySet100(benchmark::State& state) { ParseBinaryOne(state, BinaryFrame(Opcode::kSet, 8, kValue100)); }
BENCHMARK(BinaryGet);
BENCHMARK(BinarySet100);

void AnswerTextValue(benchmark::State& state) {
  OutBuffer out;
  for (auto _ : state) {
    AppendTextValue(kKey32, 0, kValue100, &out);
    if (out.size() > 64u << 10) out.Clear();
    benchmark::DoNotOptimize(out);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(AnswerTextValue);

void AnswerBinaryValue(benchmark::State& state) {
  OutBuffer out;
  BinaryHeader header;
  header.opcode = Opcode::kGet;
  for (auto _ : state) {
    AppendBinaryValue(header, 1, 0, kKey32, kValue100, &out);
    if (out.size() > 64u << 10) out.Clear();
    benchmark::DoNotOptimize(out);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(AnswerBinaryValue);

void EncodeLog100(benchmark::State& state) {
  const ItemRef item = Item::NewValue(kKey32, kValue100, ItemMeta{0, 0, Cas(1ULL << 60), Seqno(1'000'000)});
  std::string record;
  for (auto _ : state) {
    EncodeLogRecord(Vbid(100), *item, CheckpointId(1000), &record);
    benchmark::DoNotOptimize(record);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(EncodeLog100);

void EncodeData100(benchmark::State& state) {
  const ItemRef item = Item::NewValue(kKey32, kValue100, ItemMeta{0, 0, Cas(1ULL << 60), Seqno(1'000'000)});
  std::string record;
  for (auto _ : state) {
    EncodeDataRecord(Vbid(100), *item, &record);
    benchmark::DoNotOptimize(record);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(EncodeData100);

/// With the allocation of the item.
void DecodeData100(benchmark::State& state) {
  const ItemRef item = Item::NewValue(kKey32, kValue100, ItemMeta{0, 0, Cas(1ULL << 60), Seqno(1'000'000)});
  std::string record;
  EncodeDataRecord(Vbid(100), *item, &record);
  for (auto _ : state) {
    auto decoded = DecodeDataRecord(Vbid(100), kKey32, record);
    benchmark::DoNotOptimize(decoded);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(DecodeData100);

void Crc32cOf(benchmark::State& state) {
  const std::string bytes(static_cast<size_t>(state.range(0)), 'x');
  for (auto _ : state) benchmark::DoNotOptimize(Crc32c(bytes));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(Crc32cOf)->Arg(100)->Arg(4096)->Arg(1 << 20);

}  // namespace
}  // namespace cairn::proto
