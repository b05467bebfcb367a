// Runs every transcripts/*.txt (tests/support/transcript.h): commands for a checkpoint manager.
//
//   limits ITEMS BYTES AGE_MS    start over with these limits (first command)
//   start SEQNO ID               start over after SEQNO with checkpoint ID open
//   set KEY [SIZE] | del KEY | marker PAYLOAD     "SEQNO [supersedes SEQNO]"
//   at SEQNO set|del|marker …    the same with a given seqno (replica)
//   close [DIGEST] | open ID [DIGEST] | skip SEQNO | clock MS (should it close?)
//   cursor NAME FROM | droppable NAME FROM | remove NAME | drop-slowest
//   read NAME [ITEMS [BYTES]] | advance NAME SEQNO | rewind NAME
//   show                         checkpoints, cursors, and how many items are held

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <iterator>
#include <memory>
#include <sstream>

#include "tests/checkpoint/sequence.h"
#include "tests/support/transcript.h"

namespace cairn::checkpoint {
namespace {

using Words = std::vector<std::string>;

class Interpreter {
 public:
  /// The lines that answer one command.
  Words Run(const std::string& line) {
    std::istringstream in(line);
    const Words words{std::istream_iterator<std::string>(in), {}};
    using Handler = Words (Interpreter::*)(const Words&);
    static const std::map<std::string, Handler> kHandlers = {
        {"limits", &Interpreter::LimitsCommand},
        {"start", &Interpreter::Start},
        {"set", &Interpreter::Write},
        {"del", &Interpreter::Write},
        {"marker", &Interpreter::Write},
        {"at", &Interpreter::WriteAt},
        {"close", &Interpreter::Close},
        {"open", &Interpreter::Open},
        {"skip", &Interpreter::Skip},
        {"clock", &Interpreter::Clock},
        {"cursor", &Interpreter::AddCursor},
        {"droppable", &Interpreter::AddCursor},
        {"remove", &Interpreter::Remove},
        {"drop-slowest", &Interpreter::DropSlowest},
        {"read", &Interpreter::Read},
        {"advance", &Interpreter::Advance},
        {"rewind", &Interpreter::Rewind},
        {"show", &Interpreter::Show},
    };
    const auto handler = kHandlers.find(words.at(0));
    if (handler == kHandlers.end()) return {"unknown command"};
    return (this->*handler->second)(words);
  }

 private:
  CheckpointManager& manager() { return sequence_->manager; }
  static uint64_t Number(const Words& words, size_t i, uint64_t otherwise = 0) {
    return i < words.size() ? std::strtoull(words[i].c_str(), nullptr, 0) : otherwise;
  }
  CursorId Cursor(const Words& words) { return cursor_ids_.at(words.at(1)); }

  Words LimitsCommand(const Words& words) {
    limits_ = Limits{Number(words, 1), Number(words, 2), static_cast<int64_t>(Number(words, 3) * 1'000'000)};
    sequence_ = std::make_unique<Sequence>(limits_);
    return {};
  }
  Words Start(const Words& words) {
    sequence_ = std::make_unique<Sequence>(limits_, Seqno(Number(words, 1)), CheckpointId(Number(words, 2)));
    return {};
  }

  ItemRef NewItem(const Words& words, size_t at, Seqno seqno) {
    const ItemMeta meta{0, 0, Cas(), seqno};
    const std::string& what = words.at(at);
    const std::string& name = words.at(at + 1);
    if (what == "marker") return Item::NewMarker(name, seqno);
    if (what == "del") return Item::NewDeleted(name, false, meta);
    return Item::NewValue(name, std::string(Number(words, at + 2, 4), 'v'), meta);
  }
  Words WriteItem(ItemRef item) {
    const Seqno seqno = item->seqno();
    const std::string key(item->key());
    const auto older = sequence_->newest.find(key);
    const uint64_t replaced = older == sequence_->newest.end() ? 0 : older->second.get();
    const Status status = sequence_->AppendAt(key, std::move(item));
    if (!status.ok()) return {status.ToString()};
    const std::string gap = sequence_->superseded_last ? fmt::format(" supersedes {}", replaced) : "";
    return {fmt::format("{}{}", seqno.get(), gap)};
  }
  Words Write(const Words& words) { return WriteItem(NewItem(words, 0, manager().next_seqno())); }
  Words WriteAt(const Words& words) { return WriteItem(NewItem(words, 2, Seqno(Number(words, 1)))); }

  Words Close(const Words& words) {
    if (!manager().CloseOpen(Number(words, 1), sequence_->now_ns)) return {"empty, not closed"};
    return {fmt::format("closed {}, open {}", manager().last_closed_id().get(),
                        manager().open_checkpoint().id.get())};
  }
  Words Open(const Words& words) {
    const Status status =
        manager().OpenNext(CheckpointId(Number(words, 1)), Number(words, 2), sequence_->now_ns);
    return {status.ToString()};
  }
  Words Skip(const Words& words) {
    manager().SkipTo(Seqno(Number(words, 1)));
    return {fmt::format("next {}, high {}", manager().next_seqno().get(), manager().high_seqno().get())};
  }
  Words Clock(const Words& words) {
    sequence_->now_ns = static_cast<int64_t>(Number(words, 1)) * 1'000'000;
    return {manager().ShouldClose(sequence_->now_ns) ? "should close" : "may stay open"};
  }

  Words AddCursor(const Words& words) {
    const std::string& name = words.at(1);
    const Seqno from(Number(words, 2, 1));
    const Result<CursorId> id =
        words[0] == "droppable" ? manager().AddDroppableCursor(name, from) : manager().AddCursor(name, from);
    if (!id.ok()) return {id.status().ToString()};
    cursor_ids_[name] = *id;
    return {};
  }
  Words Remove(const Words& words) {
    sequence_->Remove(Cursor(words));
    return {};
  }
  Words DropSlowest(const Words&) {
    Trash trash;
    return {manager().DropSlowestCursor(trash).value_or("none")};
  }

  Words Read(const Words& words) {
    const CursorId cursor = Cursor(words);
    const bool had_more = manager().HasMore(cursor);
    const Batch batch = manager().Read(cursor, Number(words, 2, SIZE_MAX), Number(words, 3, SIZE_MAX));
    EXPECT_EQ(had_more, !batch.nothing());
    if (batch.nothing()) return {"nothing"};
    std::string text = fmt::format("{}..{}:", batch.first.get(), batch.last.get());
    for (const Operation& operation : batch.operations) text += " " + Describe(*operation.item);
    if (batch.ends_checkpoint) {
      text +=
          fmt::format(" | end of {}, digest {:#x}", batch.checkpoint.id.get(), batch.checkpoint.end_digest);
    }
    return {text};
  }
  static std::string Describe(const Item& item) {
    const std::string seqno = std::to_string(item.seqno().get());
    if (item.is_marker()) return seqno + "<" + std::string(item.value()) + ">";
    return seqno + (item.is_deleted() ? "-" : "=") + std::string(item.key());
  }
  Words Advance(const Words& words) {
    sequence_->Advance(Cursor(words), Number(words, 2));
    return {};
  }
  Words Rewind(const Words& words) {
    manager().Rewind(Cursor(words));
    return {};
  }

  Words Show(const Words&) {
    Words lines;
    for (const CheckpointInfo& info : manager().checkpoints()) {
      lines.push_back(fmt::format(
          "checkpoint {} {} {}..{} live {}{}", info.id.get(), info.open ? "open" : "closed", info.first.get(),
          info.last.get(), info.live_items, info.open ? "" : fmt::format(" digest {:#x}", info.end_digest)));
    }
    for (const auto& cursor : manager().cursors()) {
      lines.push_back(fmt::format("cursor {} read {} confirmed {} remaining {}{}", cursor.name,
                                  cursor.read.get(), cursor.confirmed.get(), cursor.remaining,
                                  cursor.droppable ? " droppable" : ""));
    }
    std::string held = "held:";
    for (const auto& [seqno, item] : sequence_->items) {
      if (sequence_->Holds(seqno)) held += " " + std::to_string(seqno);
    }
    lines.push_back(held + (manager().memory_bytes() == 0 ? " no memory" : ""));
    return lines;
  }

  Limits limits_;
  std::unique_ptr<Sequence> sequence_ = std::make_unique<Sequence>();
  std::map<std::string, CursorId> cursor_ids_;
};

class TranscriptTest : public ::testing::TestWithParam<std::string> {};

TEST_P(TranscriptTest, AnswersAsWritten) {
  support::CheckTranscript<Interpreter>(CAIRN_TRANSCRIPT_DIR, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Files, TranscriptTest,
                         ::testing::ValuesIn(support::TranscriptNames(CAIRN_TRANSCRIPT_DIR)),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace cairn::checkpoint
