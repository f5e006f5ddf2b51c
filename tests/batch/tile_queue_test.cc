#include "server/batch/tile_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

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
                   absl::Time now = At(0), int side_px = 8) {
    for (int i = 0; i < count; ++i) queue.Push(MakeTile(call, model, first + i, side_px), now);
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
  Push(queue, MakeCall(), model_, 0, 5);
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

TEST_F(TileQueueTest, DepthCountsTilesAndTheLongestWait) {
  TileQueue queue(1);
  EXPECT_EQ(queue.Depth(At(9)).tiles, 0);
  EXPECT_EQ(queue.Depth(At(9)).oldest, absl::ZeroDuration());
  Push(queue, MakeCall(), model_, 0, 1, At(1));
  Push(queue, MakeCall(), model_, 10, 1, At(4));
  EXPECT_EQ(queue.Depth(At(9)).tiles, 2);
  EXPECT_EQ(queue.Depth(At(9)).oldest, absl::Seconds(8));
  queue.PopBatch(At(9));
  EXPECT_EQ(queue.Depth(At(9)).oldest, absl::Seconds(5));
}

TEST_F(TileQueueTest, PushNotesWhenATileCame) {
  TileQueue queue(1);
  Push(queue, MakeCall(), model_, 0, 1, At(3));
  EXPECT_EQ(queue.PopBatch(At(7)).batch.front().enqueued, At(3));
}

}  // namespace
}  // namespace deweather
