#include "training/weather/haze.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/weather/pictures.h"
#include "training/weather/weather.h"

namespace deweather {
namespace {

RgbImage Haze(const RgbImage& clean, const HazeParams& haze, uint64_t seed = 1) {
  absl::StatusOr<RgbImage> hazy = AddHaze(clean, haze, seed);
  EXPECT_TRUE(hazy.ok()) << hazy.status();
  return hazy.ok() ? *hazy : RgbImage{};
}

float Red(const RgbImage& image, int x, int y) {
  return image.pixels[3 * (static_cast<size_t>(y) * image.width + x)];
}

// One depth everywhere: the formula can be written down.
TEST(Haze, IsKoschmiedersLaw) {
  HazeParams haze{.density = 1.5, .air_light = {0.9, 0.8, 0.7}, .depth = 0.6, .relief = 0};
  const RgbImage hazy = Haze(Grey(16, 8, 0.2f), haze);
  const double through = std::exp(-1.5 * 0.6);
  for (size_t i = 0; i < hazy.pixels.size(); ++i) {
    EXPECT_NEAR(hazy.pixels[i], 0.2 * through + haze.air_light[i % 3] * (1 - through), 1e-6);
  }
}

TEST(Haze, ThickensWithDensity) {
  double before = 0.2;
  for (const double density : {0.25, 0.5, 1.0, 2.0, 3.0}) {
    const double now = Red(Haze(Grey(8, 8, 0.2f), {.density = density, .relief = 0}), 4, 4);
    EXPECT_GT(now, before);
    before = now;
  }
}

TEST(Haze, PlaneRecedesWhereItPoints) {
  HazeParams haze{.density = 2, .depth = 0.6, .relief = 1, .plane = 1, .noise = 0};
  const RgbImage up = Haze(Grey(64, 64, 0.1f), haze);
  EXPECT_GT(Red(up, 32, 2), Red(up, 32, 61) + 0.1);
  EXPECT_NEAR(Red(up, 2, 32), Red(up, 61, 32), 1e-6);
  haze.plane_deg = 90;
  const RgbImage right = Haze(Grey(64, 64, 0.1f), haze);
  EXPECT_GT(Red(right, 61, 32), Red(right, 2, 32) + 0.1);
}

TEST(Haze, PriorPutsPaleThingsFar) {
  RgbImage scene = Grey(64, 32, 0);
  for (int y = 0; y < 32; ++y) {
    for (int x = 0; x < 64; ++x) {  // left saturated red, right grey: of equal red
      float* pixel = &scene.pixels[3 * (static_cast<size_t>(y) * 64 + x)];
      pixel[0] = 0.4f;
      pixel[1] = pixel[2] = x < 32 ? 0.0f : 0.4f;
    }
  }
  const RgbImage hazy =
      Haze(scene, {.density = 2, .depth = 0.6, .relief = 1, .plane = 0, .noise = 0});
  EXPECT_GT(Red(hazy, 50, 16), Red(hazy, 10, 16) + 0.1);
}

TEST(Haze, ParametersStayInTheirRanges) {
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    const HazeParams haze = SampleHaze(seed);
    EXPECT_GE(haze.density, 0.1);
    EXPECT_LE(haze.density, 3);
    for (const double light : haze.air_light) {
      EXPECT_GE(light, 0.4);
      EXPECT_LE(light, 1);
    }
    EXPECT_GE(haze.depth, 0.3);
    EXPECT_LE(haze.depth, 1);
    EXPECT_GE(haze.relief, 0.05);
    EXPECT_LE(haze.relief, 1);
    EXPECT_LE(std::abs(haze.plane_deg), 180);
    EXPECT_GE(haze.plane, 0);
    EXPECT_GE(haze.noise, 0);
    EXPECT_LE(haze.plane + haze.noise, 1);
    EXPECT_GE(haze.noise_px, 40);
    EXPECT_LE(haze.noise_px, 300);
  }
}

TEST(Haze, SameSeedSamePixels) {
  const RgbImage clean = Grey(40, 30, 0.3f);
  const absl::StatusOr<RgbImage> a = AddWeather(clean, Weather::kHaze, 7);
  const absl::StatusOr<RgbImage> b = AddWeather(clean, Weather::kHaze, 7);
  const absl::StatusOr<RgbImage> other = AddWeather(clean, Weather::kHaze, 8);
  ASSERT_TRUE(a.ok() && b.ok() && other.ok());
  EXPECT_EQ(a->pixels, b->pixels);
  EXPECT_NE(a->pixels, other->pixels);
}

TEST(Haze, PixelsStayInRangeAtAnySize) {
  for (const auto& [width, height] : {std::pair{1, 1}, {1, 50}, {50, 1}, {3, 7}, {128, 128}}) {
    for (uint64_t seed = 0; seed < 50; ++seed) {
      const auto hazy = AddWeather(Grey(width, height, 0.5f), Weather::kHaze, seed);
      ASSERT_TRUE(hazy.ok()) << hazy.status();
      for (const float value : hazy->pixels) ASSERT_TRUE(value >= 0 && value <= 1) << value;
    }
  }
}

TEST(Haze, RefusesAPictureWithoutPixels) {
  EXPECT_EQ(AddHaze({}, {}, 1).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace deweather
