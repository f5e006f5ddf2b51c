// The tile queue against a plain model of it, over random lives; and the check itself against
// queues with a planted bug.
//
// By default 100 seeds of 5 000 events. The full check, 100 seeds of 10^5, takes some minutes:
//
//    DEWEATHER_MODEL_CHECK_EVENTS=100000 build/release/tests/batch_test --gtest_filter='*TileQueueModelTest*'

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tests/batch/queue_check.h"

namespace deweather {
namespace {

using testing::HasSubstr;

constexpr uint32_t kSeedsInACase = 10;

int Events() {
  const char* const wanted = std::getenv("DEWEATHER_MODEL_CHECK_EVENTS");
  return wanted == nullptr ? 5000 : std::atoi(wanted);
}

class TileQueueModelTest : public testing::TestWithParam<uint32_t> {};

TEST_P(TileQueueModelTest, EveryTileIsAnsweredOnceInTurnAndInItsOwnCompany) {
  for (uint32_t seed = GetParam(); seed < GetParam() + kSeedsInACase; ++seed) {
    EXPECT_EQ(QueueCheck<TileQueue>(seed).Run(Events()), "") << "seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, TileQueueModelTest, testing::Range(1u, 101u, kSeedsInACase));

// A queue like the real one, for the bugs below.
class WrappedQueue {
 public:
  using Popped = TileQueue::Popped;

  WrappedQueue(int max_batch, absl::Duration max_batch_delay)
      : queue_(max_batch, max_batch_delay) {}

  void Push(Tile tile, absl::Time now) { queue_.Push(std::move(tile), now); }
  Popped PopBatch(absl::Time now, int max_size) { return queue_.PopBatch(now, max_size); }
  std::optional<absl::Time> NextDeadline() const { return queue_.NextDeadline(); }
  std::vector<Tile> Remove(const Call& call) { return queue_.Remove(call); }
  bool empty() const { return queue_.empty(); }
  QueueDepth Depth(absl::Time now) const { return queue_.Depth(now); }

 protected:
  TileQueue queue_;
};

// What the check finds at some seeds: with and without a delay, with large and small batches.
template <typename Queue>
std::string CheckOf() {
  std::string findings;
  for (uint32_t seed = 1; seed <= 10; ++seed) findings += QueueCheck<Queue>(seed).Run(10000);
  return findings;
}

TEST(PlantedBugTest, NoneIsSeenInTheQueueItself) { EXPECT_EQ(CheckOf<WrappedQueue>(), ""); }

// Now and then two tiles of a batch change places with the first left out and the second run twice.
class SkippingQueue : public WrappedQueue {
 public:
  using WrappedQueue::WrappedQueue;
  Popped PopBatch(absl::Time now, int max_size) {
    Popped popped = queue_.PopBatch(now, max_size);
    if (popped.batch.size() > 1 && ++batches_ % 100 == 0) popped.batch[0] = popped.batch[1];
    return popped;
  }

 private:
  int batches_ = 0;
};

TEST(PlantedBugTest, SkippedTileIsCaught) {
  EXPECT_THAT(CheckOf<SkippingQueue>(), HasSubstr("skipped"));
}

// Now and then a tile that went in is lost, and the depth does not tell.
class LosingQueue : public WrappedQueue {
 public:
  using WrappedQueue::WrappedQueue;
  void Push(Tile tile, absl::Time now) {
    if (++tiles_ % 1000 == 0) {
      ++lost_;
    } else {
      queue_.Push(std::move(tile), now);
    }
  }
  QueueDepth Depth(absl::Time now) const {
    QueueDepth depth = queue_.Depth(now);
    depth.tiles += lost_;
    return depth;
  }

 private:
  int tiles_ = 0;
  int lost_ = 0;
};

TEST(PlantedBugTest, LostTileIsCaught) { EXPECT_NE(CheckOf<LosingQueue>(), ""); }

// Takes all models for one.
class MixingQueue : public WrappedQueue {
 public:
  using WrappedQueue::WrappedQueue;
  void Push(Tile tile, absl::Time now) {
    model_of_[tile.call.get()] = std::exchange(tile.model, any_model_);
    queue_.Push(std::move(tile), now);
  }
  Popped PopBatch(absl::Time now, int max_size) {
    Popped popped = queue_.PopBatch(now, max_size);
    for (Tile& tile : popped.batch) tile.model = model_of_.at(tile.call.get());
    return popped;
  }

 private:
  const std::shared_ptr<const Restorer> any_model_ = FakeModel();
  std::unordered_map<const Call*, std::shared_ptr<const Restorer>> model_of_;
};

TEST(PlantedBugTest, TwoVersionsInABatchAreCaught) {
  EXPECT_THAT(CheckOf<MixingQueue>(), HasSubstr("two models in a batch"));
}

// Looks at deadlines with an old clock.
class LateQueue : public WrappedQueue {
 public:
  using WrappedQueue::WrappedQueue;
  Popped PopBatch(absl::Time now, int max_size) {
    return queue_.PopBatch(now - absl::Milliseconds(1), max_size);
  }
};

TEST(PlantedBugTest, ExpiredTileInABatchIsCaught) { EXPECT_NE(CheckOf<LateQueue>(), ""); }

// Overlooks the limit of a device that is short of memory.
class GreedyQueue : public WrappedQueue {
 public:
  using WrappedQueue::WrappedQueue;
  Popped PopBatch(absl::Time now, int) { return queue_.PopBatch(now); }
};

TEST(PlantedBugTest, BatchAboveTheMemoryLimitIsCaught) { EXPECT_NE(CheckOf<GreedyQueue>(), ""); }

}  // namespace
}  // namespace deweather
