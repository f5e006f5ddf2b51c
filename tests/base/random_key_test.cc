// Keys are written down: what crops show and which values a map's passes drop hangs on them.

#include "model/base/random_key.h"

#include <gtest/gtest.h>

namespace deweather {
namespace {

TEST(RandomKeyTest, KnownAnswers) {
  EXPECT_EQ(RandomKey({0}), 0xe220a8397b1dcdaf);  // SplitMix64's first number of seed 0
  EXPECT_EQ(CropKey(1, 2, 3), 0xd0734750fde362b3);
  EXPECT_EQ(TileKey(~uint64_t{0}, 40000, 7), 0xd406515c084c90f6);
  EXPECT_EQ(CropDropoutKey(1, 2, 3), 0x767c4bc0f6a99b76);
}

TEST(RandomKeyTest, EveryNumberAndItsPlaceMatter) {
  const uint64_t key = CropKey(1, 2, 3);
  EXPECT_NE(key, CropKey(2, 2, 3));
  EXPECT_NE(key, CropKey(1, 3, 2));
  EXPECT_NE(key, CropKey(2, 1, 3));
  EXPECT_NE(key, RandomKey({1, 2}));
}

// A crop's dropout must not follow from what the crop shows, nor from a tile's.
TEST(RandomKeyTest, DropoutOfCropsHasKeysOfItsOwn) {
  EXPECT_NE(CropDropoutKey(1, 2, 3), CropKey(1, 2, 3));
  EXPECT_NE(CropDropoutKey(1, 2, 3), TileKey(1, 2, 3));
}

}  // namespace
}  // namespace deweather
