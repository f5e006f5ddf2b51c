// A long random life of a queue beside a plain model of what must be in it.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "server/batch/tile_queue.h"
#include "tests/batch/fake_tile.h"

namespace deweather {
namespace {

constexpr int kMaxBatch = 8;
constexpr int kEvents = 20000;

// What a call has in the queue, and how long it has been passed over.
struct Waiting {
  std::shared_ptr<Call> call;
  std::shared_ptr<const Restorer> model;
  int side_px = 8;
  std::vector<int> tiles;  // in order
  size_t calls_ahead = 0;  // when it came, or last had its turn
  size_t passed_over = 0;  // batches since
};

class QueueModel {
 public:
  explicit QueueModel(uint32_t seed) : random_(seed) {}

  void Run() {
    for (int event = 0; event < kEvents && !testing::Test::HasFailure(); ++event) {
      now_ += absl::Milliseconds(Below(5));
      const int kind = Below(10);
      if (kind < 4) {
        Push();
      } else if (kind < 8) {
        Pop();
      } else if (kind < 9) {
        CancelOne();
      } else {
        RemoveOne();
      }
      ASSERT_EQ(queue_.Depth(now_).tiles, Count());
    }
    Drain();
  }

 private:
  int Below(int bound) { return static_cast<int>(random_() % static_cast<uint32_t>(bound)); }

  int64_t Count() const {
    int64_t count = 0;
    for (const auto& [call, waiting] : waiting_)
      count += static_cast<int64_t>(waiting.tiles.size());
    return count;
  }

  const Call* AnyCall() {
    if (waiting_.empty()) return nullptr;
    return std::next(waiting_.begin(), Below(static_cast<int>(waiting_.size())))->first;
  }

  void Push() {
    const Call* const old = AnyCall();
    if (old != nullptr && Below(2) == 0) return PushOf(waiting_.at(old));
    const bool hurried = Below(3) == 0;
    Waiting fresh{
        .call = MakeCall(hurried ? now_ + absl::Milliseconds(Below(40)) : absl::InfiniteFuture()),
        .model = models_[static_cast<size_t>(Below(3))],
        .side_px = Below(8) == 0 ? 16 : 8,
        .tiles = {},
        .calls_ahead = waiting_.size()};
    PushOf(waiting_.emplace(fresh.call.get(), fresh).first->second);
  }

  void PushOf(Waiting& waiting) {
    for (int i = Below(12); i >= 0; --i) {
      waiting.tiles.push_back(next_tile_);
      queue_.Push(MakeTile(waiting.call, waiting.model, next_tile_++, waiting.side_px), now_);
    }
  }

  void Pop() {
    TileQueue::Popped popped = queue_.PopBatch(now_);
    for (const TileQueue::Dropped& dropped : popped.dropped) CheckDropped(dropped);
    for (const auto& [call, waiting] : waiting_) {
      ASSERT_TRUE(StillWanted(*call, now_).ok()) << "an unwanted tile stayed";
    }
    if (popped.batch.empty()) {
      ASSERT_TRUE(waiting_.empty()) << "tiles wait and none was taken";
      return;
    }
    CheckBatch(popped.batch);
  }

  void CheckDropped(const TileQueue::Dropped& dropped) {
    ASSERT_FALSE(StillWanted(*dropped.tile.call, now_).ok());
    ASSERT_EQ(dropped.status.code(), StillWanted(*dropped.tile.call, now_).code());
    Answer(dropped.tile);
  }

  // The tile is the next of its call, and is answered only this once.
  void Answer(const Tile& tile) {
    ASSERT_TRUE(answered_.insert(tile.rect.x).second) << "answered twice";
    const auto found = waiting_.find(tile.call.get());
    ASSERT_NE(found, waiting_.end());
    ASSERT_EQ(found->second.tiles.front(), tile.rect.x);
    found->second.tiles.erase(found->second.tiles.begin());
    if (found->second.tiles.empty()) waiting_.erase(found);
  }

  void CheckBatch(const std::vector<Tile>& batch) {
    const std::vector<int> sizes = BatchSizes(kMaxBatch);
    const auto size = static_cast<int>(batch.size());
    ASSERT_TRUE(std::ranges::binary_search(sizes, size)) << size;
    size_t fitting = 0;
    for (const auto& [call, waiting] : waiting_) {
      if (Fits(waiting, batch.front())) fitting += waiting.tiles.size();
    }
    const auto next_size = std::ranges::upper_bound(sizes, size);
    if (next_size != sizes.end()) {
      ASSERT_LT(fitting, static_cast<size_t>(*next_size)) << "a larger batch was possible";
    }
    CheckTurns(batch);
  }

  static bool Fits(const Waiting& waiting, const Tile& tile) {
    return waiting.model == tile.model && waiting.side_px == tile.rect.width;
  }

  void CheckTurns(const std::vector<Tile>& batch) {
    std::map<const Call*, int> given;
    for (const Tile& tile : batch) {
      ASSERT_EQ(tile.model, batch.front().model);
      ASSERT_EQ(tile.rect.width, batch.front().rect.width);
      ++given[tile.call.get()];
      Answer(tile);
    }
    const int most =
        std::ranges::max_element(given, {}, [](const auto& entry) { return entry.second; })->second;
    for (auto& [call, waiting] : waiting_) {
      ASSERT_TRUE(!Fits(waiting, batch.front()) || given[call] >= most - 1) << "out of turn";
      CountTurn(waiting, given[call] > 0);
    }
  }

  void CountTurn(Waiting& waiting, bool served) {
    waiting.passed_over = served ? 0 : waiting.passed_over + 1;
    if (served) waiting.calls_ahead = waiting_.size();
    ASSERT_LE(waiting.passed_over, waiting.calls_ahead) << "starved";
  }

  void CancelOne() {
    const Call* const call = AnyCall();
    if (call != nullptr) waiting_.at(call).call->cancelled = true;
  }

  void RemoveOne() {
    const Call* const call = AnyCall();
    if (call == nullptr) return;
    ASSERT_EQ(IndicesOf(queue_.Remove(*call)), waiting_.at(call).tiles);
    for (const int tile : waiting_.at(call).tiles) ASSERT_TRUE(answered_.insert(tile).second);
    waiting_.erase(call);
  }

  void Drain() {
    while (!queue_.empty() && !testing::Test::HasFailure()) Pop();
    EXPECT_EQ(static_cast<int>(answered_.size()), next_tile_) << "a tile was lost";
    EXPECT_TRUE(waiting_.empty());
  }

  std::mt19937 random_;
  TileQueue queue_{kMaxBatch};
  const std::vector<std::shared_ptr<const Restorer>> models_ = {FakeModel(), FakeModel(),
                                                                FakeModel()};
  absl::Time now_ = At(0);
  int next_tile_ = 0;
  std::map<const Call*, Waiting> waiting_;
  std::set<int> answered_;
};

class TileQueueModelTest : public testing::TestWithParam<uint32_t> {};

TEST_P(TileQueueModelTest, EveryTileIsAnsweredOnceInTurnAndInItsOwnCompany) {
  QueueModel(GetParam()).Run();
}

INSTANTIATE_TEST_SUITE_P(Seeds, TileQueueModelTest, testing::Range(1u, 11u));

}  // namespace
}  // namespace deweather
