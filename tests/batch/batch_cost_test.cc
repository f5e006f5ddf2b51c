#include "server/batch/batch_cost.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace deweather {
namespace {

constexpr int64_t kMegapixel = 1'000'000;

double Ms(absl::Duration duration) { return absl::ToDoubleMilliseconds(duration); }

TEST(BatchCostTest, NothingIsKnownBeforeTheFirstBatch) {
  EXPECT_FALSE(BatchCost().Fit().known());
  EXPECT_EQ(BatchCost().Fit().Of(kMegapixel), absl::ZeroDuration());
}

TEST(BatchCostTest, FindsTheLineThroughExactTimes) {
  BatchCost cost;
  for (const int64_t n : {1, 2, 4, 8}) {
    cost.Add(n * kMegapixel, absl::Milliseconds(7 + 3 * n));
  }
  EXPECT_TRUE(cost.Fit().known());
  EXPECT_NEAR(Ms(cost.Fit().fixed), 7, 1e-5);
  EXPECT_NEAR(Ms(cost.Fit().per_megapixel), 3, 1e-5);
  EXPECT_NEAR(Ms(cost.Fit().Of(16 * kMegapixel)), 7 + 3 * 16, 1e-4);
}

TEST(BatchCostTest, FindsItAmongNoise) {
  BatchCost cost;
  for (int i = 0; i < 48; ++i) {
    const int64_t n = int64_t{1} << (i % 4);
    const int noise_ms = (i / 4) % 2 == 0 ? 1 : -1;
    cost.Add(n * kMegapixel, absl::Milliseconds(20 + 10 * n + noise_ms));
  }
  EXPECT_NEAR(Ms(cost.Fit().fixed), 20, 1e-3);
  EXPECT_NEAR(Ms(cost.Fit().per_megapixel), 10, 1e-3);
}

TEST(BatchCostTest, BatchesOfOneSizeAreTakenAsTheirPixels) {
  BatchCost cost;
  cost.Add(2 * kMegapixel, absl::Milliseconds(10));
  cost.Add(2 * kMegapixel, absl::Milliseconds(14));
  EXPECT_NEAR(Ms(cost.Fit().fixed), 0, 1e-5);
  EXPECT_NEAR(Ms(cost.Fit().per_megapixel), 6, 1e-5);
}

TEST(BatchCostTest, FixedPartIsNotNegative) {
  BatchCost cost;
  cost.Add(kMegapixel, absl::Milliseconds(1));
  cost.Add(8 * kMegapixel, absl::Milliseconds(80));
  EXPECT_EQ(cost.Fit().fixed, absl::ZeroDuration());
  EXPECT_NEAR(Ms(cost.Fit().per_megapixel), 9, 1e-5) << "through the mean";
}

TEST(BatchCostTest, LargerBatchesAreNotFaster) {
  BatchCost cost;
  cost.Add(kMegapixel, absl::Milliseconds(30));
  cost.Add(8 * kMegapixel, absl::Milliseconds(10));
  EXPECT_EQ(cost.Fit().per_megapixel, absl::ZeroDuration());
  EXPECT_NEAR(Ms(cost.Fit().fixed), 20, 1e-5) << "the mean";
}

TEST(BatchCostTest, OnlyTheLastTenBatchesOfASizeCount) {
  BatchCost cost;
  for (int i = 0; i < 500; ++i) cost.Add((1 + i % 2) * kMegapixel, absl::Seconds(10));
  for (int i = 0; i < 20; ++i) {
    const int64_t n = 1 + i % 2;
    cost.Add(n * kMegapixel, absl::Milliseconds(5 + 2 * n));
  }
  EXPECT_NEAR(Ms(cost.Fit().fixed), 5, 1e-4);
  EXPECT_NEAR(Ms(cost.Fit().per_megapixel), 2, 1e-4);
}

TEST(BatchCostTest, ALongRunOfOneSizeDoesNotForgetTheOthers) {
  BatchCost cost;
  cost.Add(100 * kMegapixel, absl::Milliseconds(1010));
  for (int i = 0; i < 1000; ++i) cost.Add(kMegapixel, absl::Milliseconds(20));
  EXPECT_NEAR(Ms(cost.Fit().Of(100 * kMegapixel)), 1010, 1);
  EXPECT_EQ(cost.Fit().most_pixels, 100 * kMegapixel);
}

TEST(BatchCostTest, NineNewBatchesDoNotHideAnOldOne) {
  BatchCost cost;
  cost.Add(kMegapixel, absl::Seconds(10));
  for (int i = 0; i < 9; ++i) cost.Add(kMegapixel, absl::Milliseconds(10));
  EXPECT_GT(cost.Fit().per_megapixel, absl::Milliseconds(100));
  cost.Add(kMegapixel, absl::Milliseconds(10));
  EXPECT_NEAR(Ms(cost.Fit().per_megapixel), 10, 1e-4);
}

}  // namespace
}  // namespace deweather
