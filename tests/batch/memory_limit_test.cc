#include "server/batch/memory_limit.h"

#include <gtest/gtest.h>

#include "server/batch/tile_queue.h"

namespace deweather {
namespace {

void Succeed(MemoryLimit& memory, int size, int times) {
  for (int i = 0; i < times; ++i) memory.Succeeded(size);
}

TEST(MemoryLimitTest, IsTheLargestSizeAtFirst) {
  EXPECT_EQ(MemoryLimit(BatchSizes(8)).tiles(), 8);
  EXPECT_EQ(MemoryLimit(BatchSizes(1)).tiles(), 1);
}

TEST(MemoryLimitTest, IsHalfOfWhatFailed) {
  MemoryLimit memory(BatchSizes(16));
  memory.Failed(16);
  EXPECT_EQ(memory.tiles(), 8);
  memory.Failed(4);
  EXPECT_EQ(memory.tiles(), 2);
}

TEST(MemoryLimitTest, IsAlwaysASizeOfBatches) {
  MemoryLimit memory(BatchSizes(12));
  memory.Failed(12);
  EXPECT_EQ(memory.tiles(), 4);
}

TEST(MemoryLimitTest, IsAtLeastOne) {
  MemoryLimit memory(BatchSizes(2));
  memory.Failed(2);
  memory.Failed(1);
  EXPECT_EQ(memory.tiles(), 1);
}

TEST(MemoryLimitTest, FailureOfAnOldLargerBatchRaisesNothing) {
  MemoryLimit memory(BatchSizes(16));
  memory.Failed(4);
  memory.Failed(16);
  EXPECT_EQ(memory.tiles(), 2);
}

TEST(MemoryLimitTest, DoublesAfterATrial) {
  MemoryLimit memory(BatchSizes(8));
  memory.Failed(8);
  Succeed(memory, 4, kMemoryTrial - 1);
  EXPECT_EQ(memory.tiles(), 4);
  memory.Succeeded(4);
  EXPECT_EQ(memory.tiles(), 8);
}

TEST(MemoryLimitTest, EachStepHasItsOwnTrial) {
  MemoryLimit memory(BatchSizes(8));
  memory.Failed(4);
  Succeed(memory, 2, kMemoryTrial);
  EXPECT_EQ(memory.tiles(), 4);
  Succeed(memory, 4, kMemoryTrial - 1);
  EXPECT_EQ(memory.tiles(), 4);
}

TEST(MemoryLimitTest, SmallerBatchesProveNothing) {
  MemoryLimit memory(BatchSizes(8));
  memory.Failed(8);
  Succeed(memory, 2, 10 * kMemoryTrial);
  EXPECT_EQ(memory.tiles(), 4);
}

TEST(MemoryLimitTest, FailureBeginsTheTrialAnew) {
  MemoryLimit memory(BatchSizes(8));
  memory.Failed(8);
  Succeed(memory, 4, kMemoryTrial - 1);
  memory.Failed(8);
  memory.Succeeded(4);
  EXPECT_EQ(memory.tiles(), 4);
}

}  // namespace
}  // namespace deweather
