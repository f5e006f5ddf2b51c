#include "client/heat_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "model/image/codec.h"

namespace deweather {
namespace {

using testing::ElementsAre;

std::string Map(int width, int height, const std::vector<uint16_t>& values) {
  Image image;
  image.width = width;
  image.height = height;
  image.channels = 1;
  image.bytes_per_sample = 2;
  image.samples.resize(2 * values.size());
  std::memcpy(image.samples.data(), values.data(), image.samples.size());
  return EncodeImage(image, {.format = ImageFormat::kPng}).value();
}

std::array<uint8_t, 3> At(const Image& picture, int x, int y) {
  const uint8_t* const pixel = picture.row(y) + 3 * x;
  return {pixel[0], pixel[1], pixel[2]};
}

// CIE L*, of sRGB.
double Lightness(const std::array<uint8_t, 3>& colour) {
  const auto linear = [](uint8_t sample) {
    const double value = sample / 255.0;
    return value <= 0.04045 ? value / 12.92 : std::pow((value + 0.055) / 1.055, 2.4);
  };
  const double y =
      0.2126 * linear(colour[0]) + 0.7152 * linear(colour[1]) + 0.0722 * linear(colour[2]);
  return 116 * std::cbrt(y) - 16;
}

TEST(HeatColourTest, FromDarkToLightInEvenSteps) {
  EXPECT_THAT(HeatColour(0), ElementsAre(0x44, 0x01, 0x54));
  EXPECT_THAT(HeatColour(1), ElementsAre(0xfd, 0xe7, 0x25));
  constexpr int kSteps = 32;
  const double step = (Lightness(HeatColour(1)) - Lightness(HeatColour(0))) / kSteps;
  for (int i = 0; i < kSteps; ++i) {
    const double rise =
        Lightness(HeatColour((i + 1.0) / kSteps)) - Lightness(HeatColour(i * 1.0 / kSteps));
    EXPECT_NEAR(rise, step, 0.35 * step) << i;
  }
}

TEST(HeatMapTest, ATokenIsASquareAndTheLargestIsTheEndOfTheScale) {
  const auto heat = DrawHeatMap(Map(3, 2, {0, 100, 200, 50, 0, 400}), 20, 11, 8);
  ASSERT_TRUE(heat.ok()) << heat.status();
  EXPECT_DOUBLE_EQ(heat->scale.most, 400 / 65535.0);
  EXPECT_DOUBLE_EQ(heat->scale.mean, 125 / 65535.0);
  const Image picture = DecodeImage(heat->png, {}).value();
  EXPECT_EQ(picture.width, 20);
  EXPECT_EQ(picture.height, 11);
  EXPECT_EQ(At(picture, 0, 0), HeatColour(0));
  EXPECT_EQ(At(picture, 7, 7), HeatColour(0));
  EXPECT_EQ(At(picture, 8, 7), HeatColour(0.25));
  EXPECT_EQ(At(picture, 7, 8), HeatColour(0.125));
  EXPECT_EQ(At(picture, 19, 10), HeatColour(1));
}

TEST(HeatMapTest, ASureRouterIsDarkEverywhere) {
  const auto heat = DrawHeatMap(Map(2, 1, {0, 0}), 12, 6, 8);
  ASSERT_TRUE(heat.ok()) << heat.status();
  EXPECT_EQ(heat->scale.most, 0);
  EXPECT_EQ(At(DecodeImage(heat->png, {}).value(), 11, 5), HeatColour(0));
}

TEST(HeatMapTest, ATokenHasTheSideThatTheServerSays) {
  for (const int side : {12, 16}) {  // three columns and a row of either cover the picture
    const auto heat = DrawHeatMap(Map(3, 1, {0, 9, 0}), 36, 11, side);
    ASSERT_TRUE(heat.ok()) << heat.status();
    const Image picture = DecodeImage(heat->png, {}).value();
    EXPECT_EQ(At(picture, side - 1, 9), HeatColour(0));
    EXPECT_EQ(At(picture, side, 0), HeatColour(1));
    EXPECT_EQ(At(picture, 2 * side - 1, 10), HeatColour(1));
    EXPECT_EQ(At(picture, 2 * side, 0), HeatColour(0));
  }
}

TEST(HeatMapTest, WhatIsAboveTheMapsLargestValueIsSaid) {
  EXPECT_FALSE(DrawHeatMap(Map(1, 1, {65534}), 8, 8, 8)->scale.saturated);
  const auto heat = DrawHeatMap(Map(1, 1, {65535}), 8, 8, 8);
  EXPECT_TRUE(heat->scale.saturated);
  EXPECT_EQ(heat->scale.most, 1);
}

TEST(HeatMapTest, NoMapIsThatOfAnotherServer) {
  EXPECT_EQ(DrawHeatMap("", 8, 8, 8).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(HeatMapTest, WhatIsNoMapOfThePictureIsLost) {
  Image bytes;
  bytes.width = bytes.height = 1;
  bytes.samples = {1, 2, 3};
  const std::string rgb = EncodeImage(bytes, {.format = ImageFormat::kPng}).value();
  for (const std::string& map : {std::string("hello"), rgb, Map(3, 1, {1, 2, 3})}) {
    EXPECT_EQ(DrawHeatMap(map, 8, 8, 8).status().code(), absl::StatusCode::kDataLoss);
  }
  EXPECT_EQ(DrawHeatMap(Map(1, 1, {1}), 8, 8, 0).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace deweather
