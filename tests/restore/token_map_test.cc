#include "server/restore/token_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "model/image/codec.h"

namespace deweather {
namespace {

using testing::ElementsAre;

Image Decoded(const TokenMap& map) {
  const auto png = map.EncodePng8();
  EXPECT_TRUE(png.ok()) << png.status();
  return DecodeImage(*png, {}).value();
}

TEST(TokenMapTest, OneTileIsItsOwnMap) {
  TokenMap map(16, 8, 8);
  map.Add(0, {.x = 0, .y = 0, .width = 16, .height = 8}, {3, 200});
  const Image image = Decoded(map);
  EXPECT_EQ(image.channels, 1);
  EXPECT_EQ(image.width, 2);
  EXPECT_EQ(image.height, 1);
  EXPECT_THAT(image.samples, ElementsAre(3, 200));
}

TEST(TokenMapTest, PaddingBeyondThePictureIsCutOff) {
  TokenMap map(9, 3, 8);  // two cells wide, the second one pixel of the picture
  map.Add(0, {.x = 0, .y = 0, .width = 24, .height = 16}, {1, 2, 3, 4, 5, 6});
  EXPECT_THAT(Decoded(map).samples, ElementsAre(1, 2));
}

TEST(TokenMapTest, NearestTileWinsInAnyOrder) {
  // Two tiles of four cells that share two: each takes the half nearer to it.
  const TileRect left{.x = 0, .y = 0, .width = 32, .height = 8};
  const TileRect right{.x = 16, .y = 0, .width = 32, .height = 8};
  TokenMap forward(48, 8, 8);
  forward.Add(0, left, {1, 1, 1, 1});
  forward.Add(1, right, {2, 2, 2, 2});
  TokenMap backward(48, 8, 8);
  backward.Add(1, right, {2, 2, 2, 2});
  backward.Add(0, left, {1, 1, 1, 1});
  EXPECT_THAT(Decoded(forward).samples, ElementsAre(1, 1, 1, 2, 2, 2));
  EXPECT_THAT(Decoded(backward).samples, ElementsAre(1, 1, 1, 2, 2, 2));
}

TEST(TokenMapTest, SixteenBitsHoldTheirShare) {
  TokenMap map(40, 8, 8);
  map.Add(0, {.x = 0, .y = 0, .width = 40, .height = 8}, {0.0f, 0.25f, 1.0f, 1.5f, 1e-5f});
  const Image image = DecodeImage(map.EncodePng16().value(), {}).value();
  EXPECT_EQ(image.channels, 1);
  ASSERT_EQ(image.bytes_per_sample, 2);
  std::vector<uint16_t> samples(5);
  ASSERT_EQ(image.samples.size(), 10u);
  std::memcpy(samples.data(), image.samples.data(), 10);
  EXPECT_THAT(samples, ElementsAre(0, 16384, 65535, 65535, 1));
}

TEST(TokenMapTest, EveryOrderOfAGridGivesTheSameMap) {
  const TileGrid grid(150, 101, {.multiple_px = 8, .tile_px = 64, .overlap_px = 16});
  std::vector<int> order(static_cast<size_t>(grid.size()));
  for (int i = 0; i < grid.size(); ++i) order[static_cast<size_t>(i)] = i;
  std::mt19937 random(7);
  std::vector<uint8_t> expected;
  for (int round = 0; round < 5; ++round) {
    TokenMap map(150, 101, 8);
    for (const int i : order)
      map.Add(i, grid.tile(i), std::vector<float>(64, static_cast<float>(i + 1)));
    const Image image = Decoded(map);
    if (round == 0) expected = image.samples;
    EXPECT_EQ(image.samples, expected);
    EXPECT_EQ(std::ranges::count(image.samples, 0), 0) << "a token without a tile";
    std::ranges::shuffle(order, random);
  }
}

}  // namespace
}  // namespace deweather
