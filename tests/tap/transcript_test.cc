// Runs every transcripts/*.txt (tests/support/transcript.h): what a consumer says to a producer, and all that
// the producer then sends.
//
// The source is an engine of one vbucket, without threads. Words in [] may be left out; NAME=VALUE in any
// order.
//   set KEY VALUE | del KEY | checkpoint | persist | settle (merge too) | crash
//   update start|complete|revert | state (of the vbucket) | clock MS
//   hello [name= versions=A-B vbuckets= node= features=A,B noop= idle= credits=]   on a new connection
//   open SEQNO [uuid=current|none|other|old] [epoch=] [snapshot=A-B] [window=current|other start=]
//        [checkpoint=] [vbucket=] [dump] [keys-only] [takeover] [no-backfill]
//   close | progress APPLIED PERSISTED [ready] | fence EPOCH | credits BYTES | noop-answer | goodbye
//   again (whatever is said in a first message, twice) | disconnect

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <sstream>

#include "proto/epoch.h"
#include "proto/tap_frame.h"
#include "tests/support/transcript.h"
#include "tests/tap/pipe.h"

namespace cairn::tap {
namespace {

using Lines = std::vector<std::string>;

std::string_view KindName(proto::TapSnapshotKind kind) {
  return kind == proto::TapSnapshotKind::kMemory ? "memory"
         : kind == proto::TapSnapshotKind::kLog  ? "log"
                                                 : "data";
}

/// The words behind a command's name: flags, NAME=VALUE, and what stands by itself.
class Arguments {
 public:
  explicit Arguments(std::istringstream& in) : words_{std::istream_iterator<std::string>(in), {}} {}
  bool Flag(const std::string& name) const {
    return std::find(words_.begin(), words_.end(), name) != words_.end();
  }
  std::string Text(const std::string& name, const std::string& otherwise) const {
    for (const std::string& word : words_) {
      if (word.starts_with(name + "=")) return word.substr(name.size() + 1);
    }
    return otherwise;
  }
  uint64_t Number(const std::string& name, uint64_t otherwise) const {
    const std::string text = Text(name, "");
    return text.empty() ? otherwise : std::strtoull(text.c_str(), nullptr, 0);
  }
  std::string Word(size_t i) const { return i < words_.size() ? words_[i] : ""; }
  uint64_t At(size_t i) const { return std::strtoull(Word(i).c_str(), nullptr, 0); }
  /// "A-B"
  std::pair<uint64_t, uint64_t> Range(const std::string& name, uint64_t from, uint64_t to) const {
    const std::string text = Text(name, "");
    const size_t dash = text.find('-');
    if (dash == std::string::npos) return {from, to};
    return {std::strtoull(text.c_str(), nullptr, 0), std::strtoull(text.c_str() + dash + 1, nullptr, 0)};
  }

 private:
  Lines words_;
};

class Interpreter {
 public:
  Interpreter() {
    SetLogLevel(LogLevel::kOff);
    engine::EngineOptions options = engine::SmallOptions();
    options.vbuckets = 1;
    source_.Open(options);
    first_uuid_ = source_.At(Vbid(0)).failover_log.front().uuid;
  }
  ~Interpreter() { Disconnect(); }

  Lines Run(const std::string& line) {
    std::istringstream in(line);
    std::string command;
    in >> command;
    const Arguments arguments(in);
    lines_.clear();
    if (!Engine(command, arguments) && !Say(command, arguments)) lines_.push_back("unknown command");
    Poll();
    return lines_;
  }

 private:
  bool Engine(const std::string& command, const Arguments& arguments) {
    if (command == "set") {
      EXPECT_EQ(source_.E().Set(arguments.Word(0), arguments.Word(1)), Code::kOk);
    } else if (command == "del") {
      EXPECT_EQ(source_.E().Delete(arguments.Word(0)), Code::kOk);
    } else if (command == "checkpoint") {
      EXPECT_TRUE(source_.E()->CreateCheckpoint(Vbid(0)).ok());
    } else if (command == "persist") {
      source_.Persist();
    } else if (command == "settle") {
      source_.Persist();
      source_.E().Settle();
    } else if (command == "crash") {
      Disconnect();
      source_.CrashAndReopen();
      source_.E().Settle();
    } else if (command == "update") {
      using Step = engine::TestEngine::Step;
      const std::string step = arguments.Word(0);
      const Status done = source_.E().Update(step == "start"      ? Step::kStart
                                             : step == "complete" ? Step::kComplete
                                                                  : Step::kRevert);
      EXPECT_TRUE(done.ok()) << done.ToString();
    } else if (command == "state") {
      const engine::VbucketPosition at = source_.At(Vbid(0));
      lines_.push_back(fmt::format("{} epoch {} high {} persisted {} merged {}",
                                   engine::VbucketStateName(at.state), proto::FormatEpoch(at.epoch),
                                   at.high.get(), at.persisted.get(), at.merged.get()));
    } else if (command == "clock") {
      clock_.Advance(static_cast<int64_t>(arguments.At(0)) * 1'000'000);
    } else {
      return false;
    }
    return true;
  }

  void Disconnect() {
    if (!producer_) return;
    source_.R().RemoveListener(listener_);
    producer_.reset();
    notices_.clear();
  }

  bool Say(const std::string& command, const Arguments& arguments) {
    ConsumerMessage message;
    if (command == "disconnect") {
      Disconnect();
      return true;
    }
    if (command == "hello") {
      Connect(arguments, message);
    } else if (command == "again") {
      message.hello = last_hello_;
    } else if (command == "open") {
      message.open.push_back(Open(arguments));
    } else if (command == "close") {
      message.close.push_back(Vbid(0));
    } else if (command == "progress") {
      Progress& progress = message.progress.emplace_back();
      progress.history_uuid = Uuid("current");
      progress.applied = Seqno(arguments.At(0));
      progress.persisted = Seqno(arguments.At(1));
      progress.pending_ready = arguments.Flag("ready");
    } else if (command == "fence") {
      message.fence.push_back({Vbid(0), proto::MakeEpoch(arguments.At(0), 0)});
    } else if (command == "credits") {
      message.credit_bytes = arguments.At(0);
    } else if (command == "noop-answer") {
      message.noop_answer = true;
    } else if (command == "goodbye") {
      message.goodbye = true;
    } else {
      return false;
    }
    if (!producer_) {
      lines_.push_back("not connected");
    } else {
      producer_->OnMessage(message, clock_.SteadyNs());
    }
    return true;
  }

  void Connect(const Arguments& arguments, ConsumerMessage& message) {
    Disconnect();
    Producer::Options options;
    options.name = "source";
    producer_ = std::make_unique<Producer>(source_.R(), options, clock_.SteadyNs());
    listener_ = source_.R().AddListener([this](std::span<const Vbid> vbuckets, bool) {
      notices_.insert(notices_.end(), vbuckets.begin(), vbuckets.end());
    });
    Hello hello;
    std::tie(hello.version_min, hello.version_max) = arguments.Range("versions", 1, 1);
    std::istringstream features(arguments.Text("features", "digest,takeover,keys-only"));
    for (std::string feature; std::getline(features, feature, ',');) hello.features.push_back(feature);
    hello.name = arguments.Text("name", "replica");
    hello.node_uuid =
        arguments.Text("node", "other") == "self" ? source_.R().node_uuid() : std::array<uint8_t, 16>{};
    if (arguments.Text("node", "").starts_with("n"))
      hello.node_uuid[0] = static_cast<uint8_t>(arguments.Text("node", "")[1]);
    hello.vbucket_count = static_cast<uint32_t>(arguments.Number("vbuckets", 1));
    hello.noop_interval_ms = static_cast<uint32_t>(arguments.Number("noop", 1'000));
    hello.idle_timeout_ms = static_cast<uint32_t>(arguments.Number("idle", 30'000));
    last_hello_ = hello;
    message.hello = hello;
    message.credit_bytes = arguments.Number("credits", 1 << 20);
  }

  uint64_t Uuid(const std::string& which) {
    if (which == "none") return 0;
    if (which == "other") return 12345;
    if (which == "old") return first_uuid_;
    return source_.At(Vbid(0)).failover_log.front().uuid;
  }

  OpenStream Open(const Arguments& arguments) {
    OpenStream open;
    open.vbucket = Vbid(static_cast<uint16_t>(arguments.Number("vbucket", 0)));
    open.seqno = Seqno(arguments.At(0));
    const auto snapshot = arguments.Range("snapshot", arguments.At(0), arguments.At(0));
    open.snapshot_start = Seqno(snapshot.first);
    open.snapshot_end = Seqno(snapshot.second);
    open.history_uuid = Uuid(arguments.Text("uuid", "current"));
    const uint64_t known = proto::EpochCounter(source_.At(Vbid(0)).epoch);
    open.epoch = proto::MakeEpoch(arguments.Number("epoch", known), 0);
    open.checkpoint = CheckpointId(arguments.Number("checkpoint", 0));
    const std::string window = arguments.Text("window", "");
    if (window == "current") open.window = source_.At(Vbid(0)).window;
    if (window == "other") open.window.bytes[0] = 1;
    open.window_start = Seqno(arguments.Number("start", 0));
    open.dump = arguments.Flag("dump");
    open.keys_only = arguments.Flag("keys-only");
    open.takeover = arguments.Flag("takeover");
    open.no_backfill = arguments.Flag("no-backfill");
    return open;
  }

  void Poll() {
    if (!producer_) return;
    for (const Vbid vbucket : std::exchange(notices_, {})) producer_->OnOperations(vbucket);
    while (const auto message = producer_->Poll(clock_.SteadyNs())) Show(*message);
    if (producer_->ended()) Disconnect();
  }

  void Show(const ProducerMessage& message) {
    if (message.welcome) {
      std::string features;
      for (const std::string& feature : message.welcome->features) features += " " + feature;
      lines_.push_back(fmt::format("welcome version {} from {}, {} vbuckets, features:{}",
                                   message.welcome->version, message.welcome->name,
                                   message.welcome->vbucket_count, features));
    }
    for (const StreamAnswer& answer : message.answers) Show(answer);
    if (!message.chunk.empty()) Show(message.chunk);
    if (message.noop) lines_.push_back("noop");
    if (message.goodbye) {
      lines_.push_back(fmt::format("goodbye {}: {}", EndReasonName(*message.goodbye), message.goodbye_text));
    }
  }

  void Show(const StreamAnswer& answer) {
    if (answer.reason == EndReason::kOk) {
      std::string log;
      for (const proto::FailoverEntry& entry : answer.failover_log) {
        log += fmt::format(" {}@{}", entry.uuid == first_uuid_ ? "old" : "new", entry.seqno.get());
      }
      lines_.push_back(fmt::format("answer {}: ok, epoch {}, high {}, history{}{}", answer.vbucket.get(),
                                   proto::FormatEpoch(answer.epoch), answer.high.get(), log,
                                   answer.disk_snapshot ? ", begins with a disk snapshot" : ""));
    } else if (answer.reason == EndReason::kRollback) {
      lines_.push_back(fmt::format("answer {}: rollback to {}: {}", answer.vbucket.get(),
                                   answer.rollback.get(), answer.text));
    } else {
      lines_.push_back(
          fmt::format("answer {}: {}: {}", answer.vbucket.get(), EndReasonName(answer.reason), answer.text));
    }
  }

  void Show(const std::string& chunk) {
    lines_.push_back("chunk");
    proto::TapChunkReader reader(chunk, 1, 1 << 20);
    while (true) {
      const auto frame = reader.Next();
      ASSERT_TRUE(frame.ok()) << frame.status().ToString();
      if (!frame->has_value()) return;
      lines_.push_back("  " + Describe(**frame));
    }
  }

  static std::string Describe(const proto::TapFrame& frame) {
    using Type = proto::TapFrameType;
    switch (frame.type) {
      case Type::kSnapshot:
        return fmt::format("snapshot {} ({}, {}] of checkpoint {}, source persisted {}, {} operations{}{}",
                           KindName(frame.kind), frame.start.get(), frame.end.get(), frame.checkpoint.get(),
                           frame.source_persisted.get(), frame.operations,
                           frame.continues ? ", continues" : "", frame.last_part ? "" : ", to be continued");
      case Type::kOperation:
        return Describe(*frame.item);
      case Type::kCheckpointEnd:
        return fmt::format("end of checkpoint {} at {}{}", frame.checkpoint.get(), frame.last.get(),
                           frame.digest ? ", with its digest" : "");
      case Type::kVbucketState:
        return fmt::format("state {} epoch {}",
                           engine::VbucketStateName(static_cast<engine::VbucketState>(frame.state)),
                           proto::FormatEpoch(frame.epoch));
      case Type::kStreamEnd:
        return fmt::format("stream end {}{}{}", EndReasonName(static_cast<EndReason>(frame.reason)),
                           frame.text.empty() ? "" : ": ", frame.text);
    }
    return "?";
  }
  static std::string Describe(const Item& item) {
    const uint64_t seqno = item.seqno().get();
    if (item.is_marker()) {
      const auto marker = proto::DecodeMarker(item.value());
      return fmt::format("{} <{}>", seqno, marker.ok() ? proto::MarkerTypeName(marker->type) : "?");
    }
    if (item.is_deleted()) return fmt::format("{} {} deleted", seqno, item.key());
    if (item.is_ejected()) return fmt::format("{} {} of {} bytes", seqno, item.key(), item.value_size());
    return fmt::format("{} {} = {}", seqno, item.key(), item.value());
  }

  ManualClock clock_;
  Node source_{1, &clock_};
  uint64_t first_uuid_ = 0;
  std::unique_ptr<Producer> producer_;
  engine::Replication::ListenerId listener_ = 0;
  std::vector<Vbid> notices_;
  std::optional<Hello> last_hello_;
  Lines lines_;
};

class TapTranscriptTest : public ::testing::TestWithParam<std::string> {};

TEST_P(TapTranscriptTest, AnswersAsWritten) {
  support::CheckTranscript<Interpreter>(CAIRN_TRANSCRIPT_DIR, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Files, TapTranscriptTest,
                         ::testing::ValuesIn(support::TranscriptNames(CAIRN_TRANSCRIPT_DIR)),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace cairn::tap
