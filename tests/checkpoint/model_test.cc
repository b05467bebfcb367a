// Random operations against a model that keeps every operation for ever in plain lists and counts by walking
// over them. On an active and on a replica (gaps in the seqnos, ids that jump).

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "base/random.h"
#include "checkpoint/checkpoint_manager.h"
#include "tests/checkpoint/sequence.h"

namespace cairn::checkpoint {
namespace {

struct ModelOperation {
  uint64_t seqno;
  std::string key;  // empty: a marker
  size_t bytes;
  bool live = true;
};

struct ModelCheckpoint {
  uint64_t id;
  uint64_t digest = 0;
  bool open = true;
  std::vector<ModelOperation> operations = {};
  uint64_t last() const { return operations.empty() ? 0 : operations.back().seqno; }
};

struct ModelPosition {
  size_t checkpoint;
  uint64_t seqno;
};

struct ModelCursor {
  CursorId id;
  std::string name;
  bool droppable;
  uint64_t from;
  ModelPosition read;
  ModelPosition confirmed;
  std::map<std::string, uint64_t> newest_read;
};

class ModelRun {
 public:
  ModelRun(uint64_t seed, bool replica)
      : random_(seed),
        replica_(replica),
        keys_(random_.OneIn(2) ? 12 : 700),
        sequence_({}, Seqno(seed % 50)),
        released_through_(seed % 50) {
    checkpoints_.push_back({1});
  }

  void Steps(int count) {
    for (int i = 0; i < count && !::testing::Test::HasFatalFailure(); ++i) {
      Step();
      CheckCursors();
      if (i % 64 == 0) CheckHeld();
    }
  }

  /// Every cursor takes everything; then nothing may be held, and each key's newest version was read.
  void Drain() {
    if (cursors_.empty()) Add(sequence_.manager.next_seqno().get());
    for (ModelCursor& cursor : cursors_) {
      while (sequence_.manager.HasMore(cursor.id)) Read(cursor, 1 + random_.Uniform(40));
      Advance(cursor, cursor.read.seqno);
      for (const auto& [key, seqno] : sequence_.newest) {
        if (seqno.get() >= cursor.from) {
          ASSERT_EQ(seqno.get(), cursor.newest_read[key]) << cursor.name;
        }
      }
    }
    CheckCursors();
    ASSERT_EQ(0u, sequence_.manager.memory_bytes());
    ASSERT_EQ(0u, sequence_.held());
    ASSERT_EQ(1u, sequence_.manager.checkpoints().size());
  }

  size_t reads() const { return reads_; }

 private:
  void Step() {
    const uint64_t dice = random_.Uniform(100);
    if (dice < 70) return Write();
    if (dice < 72) return Close();
    if (dice < 74 && cursors_.size() < 5) return Add(random_.Between(1, Next() + 1));
    if (cursors_.empty()) return;
    ModelCursor& cursor = cursors_[random_.Uniform(cursors_.size())];
    if (dice < 87) return Read(cursor, random_.OneIn(3) ? 100'000 : 1 + random_.Uniform(60));
    if (dice < 96) return Advance(cursor, random_.Between(cursor.confirmed.seqno, cursor.read.seqno));
    if (dice < 98) return Rewind(cursor);
    if (random_.OneIn(8)) return random_.OneIn(2) ? Remove(cursor) : DropSlowest();
  }

  uint64_t Next() const { return sequence_.manager.next_seqno().get(); }

  /// Lowest confirmed position of all cursors; 0 without one.
  uint64_t Floor() const {
    uint64_t floor = cursors_.empty() ? 0 : UINT64_MAX;
    for (const ModelCursor& cursor : cursors_) floor = std::min(floor, cursor.confirmed.seqno);
    return floor;
  }

  void Write() {
    const bool marker = random_.OneIn(80);
    const std::string key = marker ? "" : "k" + std::to_string(random_.Uniform(keys_));
    const uint64_t seqno = replica_ ? Next() + Gap() : Next();
    const ItemMeta meta{0, 0, Cas(), Seqno(seqno)};
    ItemRef item = marker             ? Item::NewMarker("m", Seqno(seqno))
                   : random_.OneIn(5) ? Item::NewDeleted(key, false, meta)
                                      : Item::NewValue(key, std::string(random_.Uniform(50), 'v'), meta);
    const size_t bytes = item->allocated_bytes();
    const auto older = sequence_.newest.find(key);
    const uint64_t replaced = older == sequence_.newest.end() ? 0 : older->second.get();
    ASSERT_TRUE(sequence_.AppendAt(key, std::move(item)).ok());
    if (replaced != 0) CheckSuperseded(replaced, sequence_.superseded_last);
    checkpoints_.back().operations.push_back({seqno, key, bytes});
  }

  uint64_t Gap() {
    if (random_.OneIn(200)) return uint64_t{1} << random_.Between(5, 33);
    return random_.OneIn(4) ? random_.Uniform(30) : 0;
  }

  // A version in the open checkpoint, behind its last marker and not confirmed by all, must go. One that is
  // confirmed by all may be gone already. Any other must stay.
  void CheckSuperseded(uint64_t replaced, bool superseded) {
    std::vector<ModelOperation>& operations = checkpoints_.back().operations;
    for (auto operation = operations.rbegin(); operation != operations.rend(); ++operation) {
      if (operation->key.empty()) break;
      if (operation->seqno != replaced) continue;
      if (replaced > Floor()) {
        ASSERT_TRUE(superseded) << replaced;
      }
      operation->live = !superseded;
      return;
    }
    ASSERT_FALSE(superseded) << replaced;
  }

  void Close() {
    const bool empty = checkpoints_.back().operations.empty();
    const uint64_t digest = random_.Next64();
    const uint64_t next_id = checkpoints_.back().id + (replica_ ? random_.Between(1, 3) : 1);
    if (replica_) {
      ASSERT_TRUE(sequence_.manager.OpenNext(CheckpointId(next_id), digest, 0).ok());
      if (empty) checkpoints_.back().id = next_id;
    } else {
      ASSERT_EQ(!empty, sequence_.manager.CloseOpen(digest, 0));
    }
    if (empty) return;
    checkpoints_.back().open = false;
    checkpoints_.back().digest = digest;
    checkpoints_.push_back({next_id});
  }

  void Add(uint64_t from) {
    const std::string name = "c" + std::to_string(++names_);
    const bool droppable = random_.OneIn(2);
    const auto id = droppable ? sequence_.manager.AddDroppableCursor(name, Seqno(from))
                              : sequence_.manager.AddCursor(name, Seqno(from));
    if (from > Next()) {
      ASSERT_EQ(Code::kInvalidArgument, id.code());
      return;
    }
    if (!id.ok()) {
      ASSERT_EQ(Code::kOutOfRange, id.code());
      ASSERT_LE(from, released_through_) << "nothing there was ever confirmed by all";
      return;
    }
    size_t at = 0;
    while (!checkpoints_[at].open && checkpoints_[at].last() < from) ++at;
    const ModelPosition position{at, from - 1};
    cursors_.push_back({*id, name, droppable, from, position, position, {}});
  }

  void Read(ModelCursor& cursor, size_t items_max) {
    const size_t bytes_max = random_.OneIn(3) ? random_.Uniform(2000) : 1'000'000'000;
    const ModelCheckpoint& checkpoint = checkpoints_[cursor.read.checkpoint];
    std::vector<uint64_t> expected;
    size_t bytes = 0;
    bool all = true;
    for (const ModelOperation& operation : checkpoint.operations) {
      if (!operation.live || operation.seqno <= cursor.read.seqno) continue;
      if (!expected.empty() && (expected.size() >= items_max || bytes + operation.bytes > bytes_max)) {
        all = false;
        break;
      }
      expected.push_back(operation.seqno);
      bytes += operation.bytes;
    }
    const uint64_t last = all ? std::max(cursor.read.seqno, checkpoint.last()) : expected.back();

    const Batch batch = sequence_.manager.Read(cursor.id, items_max, bytes_max);
    ++reads_;
    ASSERT_EQ(expected, Seqnos(batch));
    ASSERT_EQ(cursor.read.seqno + 1, batch.first.get());
    ASSERT_EQ(last, batch.last.get());
    ASSERT_EQ(bytes, batch.bytes);
    ASSERT_EQ(checkpoint.id, batch.checkpoint.id.get());
    ASSERT_EQ(all && !checkpoint.open, batch.ends_checkpoint);
    if (batch.ends_checkpoint) {
      ASSERT_EQ(checkpoint.digest, batch.checkpoint.end_digest);
    }
    cursor.read = {cursor.read.checkpoint + (batch.ends_checkpoint ? 1 : 0), last};
    for (const Operation& operation : batch.operations) {
      if (!operation.item->is_marker()) {
        cursor.newest_read[std::string(operation.item->key())] = operation.item->seqno().get();
      }
    }
  }

  void Advance(ModelCursor& cursor, uint64_t through) {
    sequence_.Advance(cursor.id, through);
    cursor.confirmed.seqno = through;
    while (cursor.confirmed.checkpoint < cursor.read.checkpoint &&
           checkpoints_[cursor.confirmed.checkpoint].last() <= through) {
      ++cursor.confirmed.checkpoint;
    }
    released_through_ = std::max(released_through_, Floor());
  }

  void Rewind(ModelCursor& cursor) {
    sequence_.manager.Rewind(cursor.id);
    cursor.read = cursor.confirmed;
  }

  void Remove(ModelCursor& cursor) {
    sequence_.Remove(cursor.id);
    std::erase_if(cursors_, [id = cursor.id](const ModelCursor& c) { return c.id == id; });
    released_through_ = std::max(released_through_, Floor());
  }

  void DropSlowest() {
    uint64_t undroppable = UINT64_MAX;
    uint64_t slowest = UINT64_MAX;
    for (const ModelCursor& cursor : cursors_) {
      uint64_t& lowest = cursor.droppable ? slowest : undroppable;
      lowest = std::min(lowest, cursor.confirmed.seqno);
    }
    Trash trash;
    const std::optional<std::string> name = sequence_.manager.DropSlowestCursor(trash);
    if (!name) {
      ASSERT_GE(slowest, undroppable);
      return;
    }
    const auto dropped =
        std::find_if(cursors_.begin(), cursors_.end(), [&](const ModelCursor& c) { return c.name == *name; });
    ASSERT_TRUE(dropped != cursors_.end() && dropped->droppable);
    ASSERT_EQ(slowest, dropped->confirmed.seqno);
    ASSERT_LE(slowest, undroppable);
    cursors_.erase(dropped);
    released_through_ = std::max(released_through_, Floor());
  }

  size_t LiveAfter(const ModelPosition& position) const {
    size_t count = 0;
    for (size_t i = position.checkpoint; i < checkpoints_.size(); ++i) {
      for (auto op = checkpoints_[i].operations.rbegin(); op != checkpoints_[i].operations.rend(); ++op) {
        if (op->seqno <= position.seqno) break;
        count += op->live ? 1 : 0;
      }
    }
    return count;
  }

  void CheckCursors() {
    ASSERT_EQ(cursors_.size(), sequence_.manager.cursors().size());
    for (const ModelCursor& cursor : cursors_) {
      ASSERT_EQ(LiveAfter(cursor.read), sequence_.manager.Remaining(cursor.id)) << cursor.name;
      ASSERT_EQ(cursor.read.seqno, sequence_.manager.ReadPosition(cursor.id).get());
      ASSERT_EQ(cursor.confirmed.seqno, sequence_.manager.Confirmed(cursor.id).get());
    }
  }

  // Superseded: given back at once. Not confirmed by all: held. Confirmed by all: at most a chunk's worth.
  void CheckHeld() {
    const uint64_t floor = Floor();
    size_t confirmed_and_held = 0;
    size_t held_bytes = 0;
    for (const ModelCheckpoint& checkpoint : checkpoints_) {
      for (const ModelOperation& operation : checkpoint.operations) {
        const bool held = sequence_.Holds(operation.seqno);
        held_bytes += held ? operation.bytes : 0;
        if (!operation.live) {
          ASSERT_FALSE(held) << operation.seqno;
        } else if (operation.seqno > std::max(floor, released_through_)) {
          ASSERT_TRUE(held) << operation.seqno;
        } else if (!cursors_.empty() && operation.seqno <= floor) {
          confirmed_and_held += held ? 1 : 0;
        }
      }
    }
    ASSERT_LE(confirmed_and_held, 501u);
    ASSERT_LE(held_bytes, sequence_.manager.memory_bytes());
  }

  Random random_;
  const bool replica_;
  const uint64_t keys_;
  Sequence sequence_;
  std::vector<ModelCheckpoint> checkpoints_;
  std::vector<ModelCursor> cursors_;
  uint64_t released_through_;  // the highest that was ever confirmed by all
  int names_ = 0;
  size_t reads_ = 0;
};

class ModelTest : public ::testing::TestWithParam<bool> {};

TEST_P(ModelTest, DoesWhatPlainListsDo) {
  size_t reads = 0;
  for (uint64_t seed = 1; seed <= 30 && !HasFatalFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    ModelRun run(seed, GetParam());
    run.Steps(3000);
    if (!HasFatalFailure()) run.Drain();
    reads += run.reads();
  }
  EXPECT_GT(reads, 5000u) << "the run must not be idle";
}

INSTANTIATE_TEST_SUITE_P(Sides, ModelTest, ::testing::Values(false, true),
                         [](const auto& param) { return param.param ? "Replica" : "Active"; });

}  // namespace
}  // namespace cairn::checkpoint
