#include "server/batch/tile_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/batch/fake_tile.h"

namespace deweather {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class TileQueueTest : public testing::Test {
 protected:
  // Pushes tiles first, first + 1, ... of a call.
  static void Push(TileQueue& queue, const std::shared_ptr<Call>& call,
                   const std::shared_ptr<const Restorer>& model, int first, int count,
                   absl::Time now = At(0), int side_px = 8,
                   const std::shared_ptr<BatchCost>& cost = nullptr) {
    for (int i = 0; i < count; ++i) {
      Tile tile = MakeTile(call, model, first + i, side_px);
      tile.cost = cost;
      queue.Push(std::move(tile), now);
    }
  }

  // The indices of the next batch.
  static std::vector<int> Pop(TileQueue& queue, absl::Time now = At(0), int max_size = 1000) {
    return IndicesOf(queue.PopBatch(now, max_size).batch);
  }

  // Of tiles of 8 px: a batch takes `fixed`, and each tile `per_tile`.
  static std::shared_ptr<BatchCost> Cost(absl::Duration fixed, absl::Duration per_tile) {
    auto cost = std::make_shared<BatchCost>();
    for (const int64_t tiles : {1, 8}) cost->Add(tiles * 64, fixed + tiles * per_tile);
    return cost;
  }
  // As on a GPU: only the number of batches counts.
  static std::shared_ptr<BatchCost> FixedCost() {
    return Cost(absl::Seconds(1), absl::Microseconds(1));
  }

  const std::shared_ptr<const Restorer> model_ = FakeModel();
};

TEST(BatchSizesTest, PowersOfTwoAndTheLargest) {
  EXPECT_THAT(BatchSizes(1), ElementsAre(1));
  EXPECT_THAT(BatchSizes(2), ElementsAre(1, 2));
  EXPECT_THAT(BatchSizes(6), ElementsAre(1, 2, 4, 6));
  EXPECT_THAT(BatchSizes(8), ElementsAre(1, 2, 4, 8));
  EXPECT_THAT(BatchSizes(12), ElementsAre(1, 2, 4, 8, 12));
}

TEST_F(TileQueueTest, EmptyGivesNothing) {
  TileQueue queue(8);
  const TileQueue::Popped popped = queue.PopBatch(At(0));
  EXPECT_THAT(popped.batch, IsEmpty());
  EXPECT_THAT(popped.dropped, IsEmpty());
  EXPECT_TRUE(queue.empty());
}

struct SizeCase {
  int max_batch;
  int waiting;
  int expected;
};

class TileQueueSizeTest : public testing::TestWithParam<SizeCase> {};

TEST_P(TileQueueSizeTest, TakesTheLargestSizeThatTheWaitingTilesFill) {
  TileQueue queue(GetParam().max_batch);
  const auto model = FakeModel();
  for (int i = 0; i < GetParam().waiting; ++i) queue.Push(MakeTile(MakeCall(), model, i), At(0));
  EXPECT_EQ(queue.PopBatch(At(0)).batch.size(), static_cast<size_t>(GetParam().expected));
  EXPECT_EQ(queue.Depth(At(0)).tiles, GetParam().waiting - GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(Sizes, TileQueueSizeTest,
                         testing::Values(SizeCase{8, 1, 1}, SizeCase{8, 2, 2}, SizeCase{8, 3, 2},
                                         SizeCase{8, 4, 4}, SizeCase{8, 7, 4}, SizeCase{8, 8, 8},
                                         SizeCase{8, 9, 8}, SizeCase{1, 5, 1}, SizeCase{6, 5, 4},
                                         SizeCase{6, 6, 6}, SizeCase{6, 100, 6}));

TEST_F(TileQueueTest, OneCallInOrder) {
  TileQueue queue(4);
  Push(queue, MakeCall(), model_, 0, 6);
  EXPECT_THAT(IndicesOf(queue.PopBatch(At(0)).batch), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(IndicesOf(queue.PopBatch(At(0)).batch), ElementsAre(4, 5));
}

TEST_F(TileQueueTest, CallsTakeTurnsWithinABatch) {
  TileQueue queue(8);
  Push(queue, MakeCall(), model_, 0, 5, At(0), 8, FixedCost());
  Push(queue, MakeCall(), model_, 10, 1);
  Push(queue, MakeCall(), model_, 20, 2);
  EXPECT_THAT(IndicesOf(queue.PopBatch(At(0)).batch), ElementsAre(0, 10, 20, 1, 21, 2, 3, 4));
}

TEST_F(TileQueueTest, CallsTakeTurnsAcrossBatches) {
  TileQueue queue(1);
  Push(queue, MakeCall(), model_, 0, 3);
  Push(queue, MakeCall(), model_, 10, 3);
  std::vector<int> order;
  while (!queue.empty()) order.push_back(queue.PopBatch(At(0)).batch.front().rect.x);
  EXPECT_THAT(order, ElementsAre(0, 10, 1, 11, 2, 12));
}

TEST_F(TileQueueTest, LateSmallCallIsInTheNextBatch) {
  TileQueue queue(2);
  Push(queue, MakeCall(), model_, 0, 1000);
  queue.PopBatch(At(0));
  Push(queue, MakeCall(), model_, 5000, 1);
  EXPECT_THAT(IndicesOf(queue.PopBatch(At(0)).batch), ElementsAre(2, 5000));
}

TEST_F(TileQueueTest, NeverMixesModels) {
  TileQueue queue(8);
  const auto other = FakeModel();
  Push(queue, MakeCall(), model_, 0, 2);
  Push(queue, MakeCall(), other, 10, 2);
  Push(queue, MakeCall(), model_, 20, 2);
  EXPECT_THAT(IndicesOf(queue.PopBatch(At(0)).batch), ElementsAre(0, 20, 1, 21));
  EXPECT_THAT(IndicesOf(queue.PopBatch(At(0)).batch), ElementsAre(10, 11));
}

TEST_F(TileQueueTest, NeverMixesSizes) {
  TileQueue queue(8);
  Push(queue, MakeCall(), model_, 0, 1, At(0), 8);
  Push(queue, MakeCall(), model_, 10, 1, At(0), 16);
  EXPECT_THAT(IndicesOf(queue.PopBatch(At(0)).batch), ElementsAre(0));
  EXPECT_THAT(IndicesOf(queue.PopBatch(At(0)).batch), ElementsAre(10));
}

TEST_F(TileQueueTest, WhoWantsNoUncertaintyIsInNoBatchWithIt) {
  TileQueue queue(8);
  const auto plain = MakeCall(), map = MakeCall();
  Push(queue, plain, model_, 0, 2);
  for (int i = 10; i < 12; ++i) {
    Tile tile = MakeTile(map, model_, i);
    tile.uncertainty = true;
    queue.Push(std::move(tile), At(0));
  }
  Push(queue, MakeCall(), model_, 20, 2);
  EXPECT_THAT(Pop(queue), testing::UnorderedElementsAre(0, 1, 20, 21));
  EXPECT_THAT(Pop(queue), ElementsAre(10, 11));
}

TEST_F(TileQueueTest, RareModelIsNotStarved) {
  TileQueue queue(4);
  const auto rare = FakeModel();
  Push(queue, MakeCall(), model_, 0, 100);
  Push(queue, MakeCall(), rare, 500, 1);
  EXPECT_THAT(IndicesOf(queue.PopBatch(At(0)).batch), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(IndicesOf(queue.PopBatch(At(0)).batch), ElementsAre(500));
}

TEST_F(TileQueueTest, ExpiredTilesLeaveWithDeadlineExceeded) {
  TileQueue queue(8);
  Push(queue, MakeCall(At(10)), model_, 0, 2);
  Push(queue, MakeCall(At(11)), model_, 10, 1);
  const TileQueue::Popped popped = queue.PopBatch(At(10));
  EXPECT_THAT(IndicesOf(popped.batch), ElementsAre(10));
  ASSERT_EQ(popped.dropped.size(), 2u);
  EXPECT_EQ(popped.dropped[0].tile.rect.x, 0);
  EXPECT_EQ(popped.dropped[0].status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(queue.empty());
}

TEST_F(TileQueueTest, CancelledTilesLeaveWithCancelled) {
  TileQueue queue(8);
  const auto call = MakeCall();
  Push(queue, call, model_, 0, 1);
  Push(queue, MakeCall(), model_, 10, 1);
  call->cancelled = true;
  const TileQueue::Popped popped = queue.PopBatch(At(0));
  EXPECT_THAT(IndicesOf(popped.batch), ElementsAre(10));
  ASSERT_EQ(popped.dropped.size(), 1u);
  EXPECT_EQ(popped.dropped[0].status.code(), absl::StatusCode::kCancelled);
}

TEST_F(TileQueueTest, CancelledAfterItsDeadlineIsTooLate) {
  TileQueue queue(8);
  const auto call = MakeCall(At(1));
  Push(queue, call, model_, 0, 1);
  call->cancelled = true;
  EXPECT_EQ(queue.PopBatch(At(2)).dropped.front().status.code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST_F(TileQueueTest, UnwantedTilesDoNotCountTowardsTheBatch) {
  TileQueue queue(8);
  Push(queue, MakeCall(At(1)), model_, 0, 3);
  Push(queue, MakeCall(), model_, 10, 1);
  EXPECT_THAT(IndicesOf(queue.PopBatch(At(1)).batch), ElementsAre(10));
}

TEST_F(TileQueueTest, RemoveTakesOneCallOut) {
  TileQueue queue(8);
  const auto call = MakeCall();
  Push(queue, call, model_, 0, 3);
  Push(queue, MakeCall(), model_, 10, 1);
  EXPECT_THAT(IndicesOf(queue.Remove(*call)), ElementsAre(0, 1, 2));
  EXPECT_THAT(queue.Remove(*call), IsEmpty());
  EXPECT_EQ(queue.Depth(At(0)).tiles, 1);
  EXPECT_THAT(IndicesOf(queue.PopBatch(At(0)).batch), ElementsAre(10));
}

TEST_F(TileQueueTest, CallThatWasRemovedMayComeBack) {
  TileQueue queue(8);
  const auto call = MakeCall();
  Push(queue, call, model_, 0, 1);
  queue.Remove(*call);
  Push(queue, call, model_, 5, 1);
  EXPECT_THAT(IndicesOf(queue.PopBatch(At(0)).batch), ElementsAre(5));
}

TEST_F(TileQueueTest, CallThatRanEmptyGoesToTheBack) {
  TileQueue queue(1);
  const auto call = MakeCall();
  Push(queue, call, model_, 0, 1);
  Push(queue, MakeCall(), model_, 10, 2);
  queue.PopBatch(At(0));
  Push(queue, call, model_, 1, 1);
  EXPECT_THAT(IndicesOf(queue.PopBatch(At(0)).batch), ElementsAre(10));
  EXPECT_THAT(IndicesOf(queue.PopBatch(At(0)).batch), ElementsAre(1));
}

TEST_F(TileQueueTest, RemoveAllEmptiesIt) {
  TileQueue queue(8);
  Push(queue, MakeCall(), model_, 0, 2);
  Push(queue, MakeCall(), FakeModel(), 10, 1);
  EXPECT_THAT(IndicesOf(queue.RemoveAll()), ElementsAre(0, 1, 10));
  EXPECT_TRUE(queue.empty());
  EXPECT_THAT(queue.PopBatch(At(0)).batch, IsEmpty());
}

TEST_F(TileQueueTest, DepthCountsTilesAndTheLongestWaitOfNormalOnes) {
  TileQueue queue(1);
  EXPECT_EQ(queue.Depth(At(9)).tiles, 0);
  EXPECT_EQ(queue.Depth(At(9)).oldest, absl::ZeroDuration());
  Push(queue, MakeCall(), model_, 0, 1, At(1));
  Push(queue, MakeCall(), model_, 10, 1, At(4));
  EXPECT_EQ(queue.Depth(At(9)).tiles, 2);
  EXPECT_EQ(queue.Depth(At(9)).oldest, absl::Seconds(8));
  queue.PopBatch(At(9));
  EXPECT_EQ(queue.Depth(At(9)).oldest, absl::Seconds(5));
  Push(queue, MakeCallOf("b", Priority::kBackground), model_, 20, 1, At(0));
  EXPECT_EQ(queue.Depth(At(9)).tiles, 2);
  EXPECT_EQ(queue.Depth(At(9)).oldest, absl::Seconds(5));
  queue.PopBatch(At(9));
  EXPECT_EQ(queue.Depth(At(9)).tiles, 1);
  EXPECT_EQ(queue.Depth(At(9)).oldest, absl::ZeroDuration());
}

TEST_F(TileQueueTest, CallersTakeTurnsWithinABatch) {
  TileQueue queue(8);
  Push(queue, MakeCallOf("a"), model_, 0, 10);
  Push(queue, MakeCallOf("b"), model_, 100, 10);
  EXPECT_THAT(Pop(queue), ElementsAre(0, 100, 1, 101, 2, 102, 3, 103));
}

TEST_F(TileQueueTest, CallerOfManyCallsGetsNoMoreThanCallerOfOne) {
  TileQueue queue(4);
  for (int call = 0; call < 1000; ++call) Push(queue, MakeCallOf("a"), model_, call, 1);
  Push(queue, MakeCallOf("b"), model_, 5000, 2);
  EXPECT_THAT(Pop(queue), ElementsAre(0, 5000, 1, 5001));
}

TEST_F(TileQueueTest, CallerOfManyTilesGetsNoMoreThanCallerOfFew) {
  TileQueue queue(4);
  Push(queue, MakeCallOf("a"), model_, 0, 1000);
  Push(queue, MakeCallOf("b"), model_, 5000, 2);
  EXPECT_THAT(Pop(queue), ElementsAre(0, 5000, 1, 5001));
}

TEST_F(TileQueueTest, LateCallerIsInTheNextBatch) {
  TileQueue queue(2);
  for (int call = 0; call < 1000; ++call) Push(queue, MakeCallOf("a"), model_, call, 1);
  Pop(queue);
  Push(queue, MakeCallOf("b"), model_, 5000, 1);
  EXPECT_THAT(Pop(queue), ElementsAre(2, 5000));
}

TEST_F(TileQueueTest, CallsOfACallerTakeTurns) {
  TileQueue queue(8);
  Push(queue, MakeCallOf("a"), model_, 0, 9);
  Push(queue, MakeCallOf("b"), model_, 100, 9);
  Push(queue, MakeCallOf("a"), model_, 200, 9);
  EXPECT_THAT(Pop(queue), ElementsAre(0, 100, 200, 101, 1, 102, 201, 103));
}

TEST_F(TileQueueTest, TurnsOfCallersGoOnInTheNextBatch) {
  TileQueue queue(2);
  for (const int caller : {0, 100, 200}) {
    Push(queue, MakeCallOf(std::to_string(caller)), model_, caller, 4);
  }
  EXPECT_THAT(Pop(queue), ElementsAre(0, 100));
  EXPECT_THAT(Pop(queue), ElementsAre(200, 1));
  EXPECT_THAT(Pop(queue), ElementsAre(101, 201));
}

TEST_F(TileQueueTest, CallerWaitsForNoMoreBatchesThanCallersAreAhead) {
  TileQueue queue(1);
  for (int caller = 0; caller < 5; ++caller) {
    Push(queue, MakeCallOf(std::to_string(caller)), model_, caller * 100, 50);
  }
  Push(queue, MakeCallOf("late"), model_, 5000, 1);
  for (int batch = 0; batch < 5; ++batch) EXPECT_THAT(Pop(queue), ElementsAre(batch * 100));
  EXPECT_THAT(Pop(queue), ElementsAre(5000));
}

TEST_F(TileQueueTest, CallerThatRanEmptyGoesToTheBack) {
  TileQueue queue(1);
  Push(queue, MakeCallOf("a"), model_, 0, 1);
  Push(queue, MakeCallOf("b"), model_, 10, 2);
  EXPECT_THAT(Pop(queue), ElementsAre(0));
  Push(queue, MakeCallOf("a"), model_, 1, 1);
  EXPECT_THAT(Pop(queue), ElementsAre(10));
  EXPECT_THAT(Pop(queue), ElementsAre(1));
}

// During a swap a caller may have an old request on the old version and new ones on the new: when
// only its turns in others' batches counted, the old one would never lead a batch.
TEST_F(TileQueueTest, CallIsNotStarvedByItsCallersOwnOfAnotherModel) {
  TileQueue queue(2);
  const auto old = FakeModel();
  Push(queue, MakeCallOf("b"), model_, 100, 50);
  Push(queue, MakeCallOf("a"), old, 500, 1);
  Push(queue, MakeCallOf("a"), model_, 200, 50);
  EXPECT_THAT(Pop(queue), ElementsAre(100, 200));
  EXPECT_THAT(Pop(queue), ElementsAre(500));
}

TEST_F(TileQueueTest, RemoveLeavesTheCallersOtherCalls) {
  TileQueue queue(8);
  const auto call = MakeCallOf("a");
  Push(queue, call, model_, 0, 3);
  Push(queue, MakeCallOf("a"), model_, 10, 2);
  EXPECT_THAT(IndicesOf(queue.Remove(*call)), ElementsAre(0, 1, 2));
  EXPECT_THAT(Pop(queue), ElementsAre(10, 11));
}

TEST_F(TileQueueTest, BackgroundWaitsForNormal) {
  TileQueue queue(4);
  Push(queue, MakeCallOf("a", Priority::kBackground), model_, 100, 4);
  Push(queue, MakeCallOf("a"), model_, 0, 5);
  EXPECT_THAT(Pop(queue), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(Pop(queue), ElementsAre(4));
  EXPECT_THAT(Pop(queue), ElementsAre(100, 101, 102, 103));
}

TEST_F(TileQueueTest, BatchIsOfOnePriority) {
  TileQueue queue(8);
  Push(queue, MakeCall(), model_, 0, 1);
  Push(queue, MakeCallOf("", Priority::kBackground), model_, 100, 7);
  EXPECT_THAT(Pop(queue), ElementsAre(0));
}

TEST_F(TileQueueTest, BackgroundGetsOneBatchInEight) {
  TileQueue queue(1);
  Push(queue, MakeCall(), model_, 0, 100);
  Push(queue, MakeCallOf("", Priority::kBackground), model_, 1000, 100);
  std::vector<int> backgrounds;
  for (int batch = 1; batch <= 32; ++batch) {
    if (Pop(queue).front() >= 1000) backgrounds.push_back(batch);
  }
  EXPECT_THAT(backgrounds, ElementsAre(8, 16, 24, 32));
}

TEST_F(TileQueueTest, BackgroundSavesUpNothingWhileItIsEmpty) {
  TileQueue queue(1);
  Push(queue, MakeCall(), model_, 0, 100);
  for (int batch = 0; batch < 20; ++batch) Pop(queue);
  Push(queue, MakeCallOf("", Priority::kBackground), model_, 1000, 1);
  for (int batch = 1; batch < kBackgroundEvery; ++batch) EXPECT_LT(Pop(queue).front(), 1000);
  EXPECT_THAT(Pop(queue), ElementsAre(1000));
}

TEST_F(TileQueueTest, BackgroundCallersTakeTurnsToo) {
  TileQueue queue(2);
  Push(queue, MakeCallOf("a", Priority::kBackground), model_, 0, 100);
  Push(queue, MakeCallOf("b", Priority::kBackground), model_, 500, 2);
  EXPECT_THAT(Pop(queue), ElementsAre(0, 500));
}

// A call of one tile beside one of many.
class TileQueueSmallCallTest : public TileQueueTest {
 protected:
  size_t SizeWith(const std::shared_ptr<BatchCost>& cost, int small_call_tiles = 1) {
    TileQueue queue(32);
    Push(queue, MakeCallOf("small"), model_, 0, small_call_tiles, At(0), 8, cost);
    Push(queue, MakeCallOf("large"), model_, 100, 100, At(0), 8, cost);
    return Pop(queue).size();
  }
};

TEST_F(TileQueueSmallCallTest, WaitsForTwiceItsTimeWhereTimeIsTheTiles) {
  EXPECT_EQ(SizeWith(Cost(absl::ZeroDuration(), absl::Milliseconds(10))), 2u);
  EXPECT_EQ(SizeWith(Cost(absl::ZeroDuration(), absl::Milliseconds(10)), 4), 8u);
}

TEST_F(TileQueueSmallCallTest, UnknownCostIsTakenAsTheTiles) {
  EXPECT_EQ(SizeWith(nullptr), 2u);
  EXPECT_EQ(SizeWith(std::make_shared<BatchCost>(), 2), 4u);
}

TEST_F(TileQueueSmallCallTest, IsNoLimitWhereTimeIsTheBatch) {
  EXPECT_EQ(SizeWith(FixedCost()), 32u);
}

// 60 + 10 n <= 2 (60 + 10): n <= 8.
TEST_F(TileQueueSmallCallTest, AllowsWhatTheFixedPartIsWorth) {
  EXPECT_EQ(SizeWith(Cost(absl::Milliseconds(61), absl::Milliseconds(10))), 8u);
  EXPECT_EQ(SizeWith(Cost(absl::Milliseconds(59), absl::Milliseconds(10))), 4u);
}

TEST_F(TileQueueSmallCallTest, LoneCallHasNoLimit) {
  TileQueue queue(32);
  Push(queue, MakeCall(), model_, 0, 33);
  EXPECT_EQ(Pop(queue).size(), 32u);
  EXPECT_EQ(Pop(queue).size(), 1u);
}

TEST_F(TileQueueSmallCallTest, ManySmallCallsShareALargeBatch) {
  TileQueue queue(32);
  for (int call = 0; call < 40; ++call) Push(queue, MakeCall(), model_, call, 1);
  EXPECT_EQ(Pop(queue).size(), 32u);
}

TEST_F(TileQueueSmallCallTest, CallOfAnotherModelIsNotSpared) {
  TileQueue queue(8);
  Push(queue, MakeCallOf("large"), model_, 100, 100);
  Push(queue, MakeCallOf("small"), FakeModel(), 0, 1);
  EXPECT_EQ(Pop(queue).size(), 8u);
}

TEST_F(TileQueueTest, LimitOfTheCallerBoundsTheBatch) {
  TileQueue queue(8);
  Push(queue, MakeCall(), model_, 0, 100);
  EXPECT_EQ(Pop(queue, At(0), 8).size(), 8u);
  EXPECT_EQ(Pop(queue, At(0), 7).size(), 4u);
  EXPECT_EQ(Pop(queue, At(0), 2).size(), 2u);
  EXPECT_EQ(Pop(queue, At(0), 1).size(), 1u);
}

class TileQueueDelayTest : public TileQueueTest {
 protected:
  TileQueue queue_{4, absl::Seconds(10)};
};

TEST_F(TileQueueDelayTest, NothingWaitsNothingIsDue) {
  EXPECT_EQ(queue_.NextDeadline(), std::nullopt);
  EXPECT_THAT(Pop(queue_), IsEmpty());
}

TEST_F(TileQueueDelayTest, FewTilesWaitForMore) {
  Push(queue_, MakeCall(), model_, 0, 3, At(1));
  EXPECT_THAT(Pop(queue_, At(10.9)), IsEmpty());
  EXPECT_EQ(queue_.NextDeadline(), At(11));
  EXPECT_THAT(Pop(queue_, At(11)), ElementsAre(0, 1));
  EXPECT_THAT(Pop(queue_, At(11)), ElementsAre(2));
}

TEST_F(TileQueueDelayTest, NoTileWaitsItsDeadlineAway) {
  Push(queue_, MakeCall(At(15)), model_, 0, 1, At(1));
  EXPECT_EQ(queue_.NextDeadline(), At(5)) << "as much is left as the delay is long";
  EXPECT_THAT(Pop(queue_, At(4.9)), IsEmpty());
  EXPECT_THAT(Pop(queue_, At(5)), ElementsAre(0));
  Push(queue_, MakeCall(At(12)), model_, 1, 1, At(6));
  EXPECT_THAT(Pop(queue_, At(6)), ElementsAre(1)) << "less is left";
}

TEST_F(TileQueueDelayTest, FullBatchGoesAtOnce) {
  Push(queue_, MakeCall(), model_, 0, 3, At(1));
  EXPECT_THAT(Pop(queue_, At(1)), IsEmpty());
  Push(queue_, MakeCall(), model_, 10, 3, At(2));
  EXPECT_THAT(Pop(queue_, At(2)), ElementsAre(0, 10, 1, 11));
  EXPECT_THAT(Pop(queue_, At(2)), IsEmpty());
}

TEST_F(TileQueueDelayTest, TheLimitOfTheCallerIsFullToo) {
  Push(queue_, MakeCall(), model_, 0, 2, At(1));
  EXPECT_THAT(Pop(queue_, At(1), 4), IsEmpty());
  EXPECT_THAT(Pop(queue_, At(1), 2), ElementsAre(0, 1));
}

TEST_F(TileQueueDelayTest, FullBatchIsNotHeldUpByAnotherModels) {
  Push(queue_, MakeCallOf("a"), FakeModel(), 0, 1, At(1));
  Push(queue_, MakeCallOf("b"), model_, 10, 5, At(2));
  EXPECT_THAT(Pop(queue_, At(2)), ElementsAre(10, 11, 12, 13));
  EXPECT_EQ(queue_.NextDeadline(), At(11));
}

TEST_F(TileQueueDelayTest, FullBackgroundBatchIsNotHeldUpByNormalTiles) {
  Push(queue_, MakeCall(), model_, 0, 1, At(1));
  Push(queue_, MakeCallOf("b", Priority::kBackground), model_, 10, 4, At(2));
  EXPECT_THAT(Pop(queue_, At(2)), ElementsAre(10, 11, 12, 13));
}

TEST_F(TileQueueDelayTest, EachModelHasItsOwnDelay) {
  Push(queue_, MakeCall(), FakeModel(), 0, 1, At(5));
  Push(queue_, MakeCall(), model_, 10, 1, At(1));
  EXPECT_EQ(queue_.NextDeadline(), At(11));
  EXPECT_THAT(Pop(queue_, At(11)), ElementsAre(10));
  EXPECT_EQ(queue_.NextDeadline(), At(15));
}

TEST_F(TileQueueDelayTest, UnwantedTilesLeaveWhileOthersWait) {
  Push(queue_, MakeCall(At(2)), model_, 0, 1, At(1));
  Push(queue_, MakeCall(), model_, 10, 1, At(1));
  const TileQueue::Popped popped = queue_.PopBatch(At(2));
  EXPECT_THAT(popped.batch, IsEmpty());
  EXPECT_EQ(popped.dropped.size(), 1u);
}

TEST_F(TileQueueDelayTest, ClockThatIsSetBackHoldsNothingUp) {
  Push(queue_, MakeCall(), model_, 0, 1, At(1000));
  EXPECT_THAT(Pop(queue_, At(1)), ElementsAre(0));
}

TEST_F(TileQueueDelayTest, WithoutADelayWhatWaitsIsDue) {
  TileQueue queue(4);
  Push(queue, MakeCall(), model_, 0, 1, At(1));
  EXPECT_EQ(queue.NextDeadline(), At(1));
}

TEST_F(TileQueueTest, PushNotesWhenATileCame) {
  TileQueue queue(1);
  Push(queue, MakeCall(), model_, 0, 1, At(3));
  EXPECT_EQ(queue.PopBatch(At(7)).batch.front().enqueued, At(3));
}

}  // namespace
}  // namespace deweather
