#include "training/weather/snow.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "tests/weather/pictures.h"

namespace deweather {
namespace {

// A picture that is not flat: a slope from black to `top`.
RgbImage Slope(int width, int height, float top = 1) {
  RgbImage image = Grey(width, height, 0);
  for (size_t i = 0; i < image.pixels.size(); ++i) {
    image.pixels[i] = top * static_cast<float>(i) / static_cast<float>(image.pixels.size());
  }
  return image;
}

// Flat, opaque discs of one size that stand still.
FlakeLayer Discs(double diameter_px = 6, double flakes_per_kilopixel = 5) {
  FlakeLayer layer;
  layer.flakes_per_kilopixel = flakes_per_kilopixel;
  layer.diameter_px = diameter_px;
  layer.depth_spread = layer.softness = layer.opacity_spread = 0;
  layer.opacity = 1;
  return layer;
}

SnowParams Of(const FlakeLayer& layer) {
  SnowParams snow;
  snow.flakes.push_back(layer);
  return snow;
}

SnowParams Streaks(double angle_deg) {
  FlakeLayer layer = Discs(5, 2);
  layer.angle_deg = angle_deg;
  layer.length_px = 25;
  layer.softness = 1;
  return Of(layer);
}

SnowParams Noise(double angle_deg) {
  SnowParams snow;
  snow.noises.push_back({.angle_deg = angle_deg, .length_px = 25, .zoom = 4, .threshold = 1});
  return snow;
}

RgbImage Snow(const RgbImage& clean, const SnowParams& snow, uint64_t seed) {
  absl::StatusOr<RgbImage> snowy = AddSnow(clean, snow, seed);
  EXPECT_TRUE(snowy.ok()) << snowy.status();
  return snowy.ok() ? *snowy : RgbImage{};
}

RgbImage Snow(const RgbImage& clean, uint64_t seed) { return Snow(clean, SampleSnow(seed), seed); }

double Mean(const RgbImage& image) {
  double sum = 0;
  for (const float value : image.pixels) sum += value;
  return sum / static_cast<double>(image.pixels.size());
}

// Mean of snow on black over many pictures of one size.
double MeanOpacity(const SnowParams& snow, int side, int pictures) {
  double sum = 0;
  for (int seed = 0; seed < pictures; ++seed) {
    sum += Mean(Snow(Grey(side, side, 0), snow, static_cast<uint64_t>(seed)));
  }
  return sum / pictures;
}

TEST(AddSnowTest, IsAFunctionOfItsArgumentsOnAnyThread) {
  const RgbImage clean = Slope(97, 61);
  std::vector<RgbImage> snowy(24);
  std::vector<std::thread> threads;
  for (size_t first = 0; first < 4; ++first) {
    threads.emplace_back([&, first] {
      for (size_t i = first; i < snowy.size(); i += 4) snowy[i] = Snow(clean, i);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < snowy.size(); ++i) EXPECT_EQ(snowy[i].pixels, Snow(clean, i).pixels) << i;
}

TEST(AddSnowTest, SeedsDiffer) {
  EXPECT_NE(Snow(Grey(64, 64, 0), Of(Discs()), 1).pixels,
            Snow(Grey(64, 64, 0), Of(Discs()), 2).pixels);
  EXPECT_NE(Snow(Grey(64, 64, 0), Noise(0), 1).pixels, Snow(Grey(64, 64, 0), Noise(0), 2).pixels);
}

TEST(AddSnowTest, StaysInRange) {
  for (const float value : {0.0f, 0.3f, 1.0f}) {
    for (uint64_t seed = 0; seed < 200; ++seed) {
      const RgbImage snowy = Snow(Grey(96, 96, value), seed);
      const auto [low, high] = std::minmax_element(snowy.pixels.begin(), snowy.pixels.end());
      EXPECT_GE(*low, 0.0f) << seed;
      EXPECT_LE(*high, 1.0f) << seed;
    }
  }
}

// No tint is darker than 0.75.
TEST(AddSnowTest, BrightensWhatIsDarkerThanSnow) {
  const RgbImage clean = Slope(96, 96, 0.75f);
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SnowParams snow = SampleSnow(seed);
    snow.veil = 0;
    const RgbImage snowy = Snow(clean, snow, seed);
    for (size_t i = 0; i < clean.pixels.size(); ++i) {
      ASSERT_GE(snowy.pixels[i], clean.pixels[i] - 1e-5f) << seed;
    }
  }
}

// From a few specks to a blizzard; what published test sets measure lies inside.
TEST(AddSnowTest, StrengthSpansSpecksToBlizzard) {
  const RgbImage clean = Slope(256, 256, 0.8f);
  std::vector<double> psnr;
  for (uint64_t seed = 0; seed < 300; ++seed) psnr.push_back(Psnr(Snow(clean, seed), clean));
  std::sort(psnr.begin(), psnr.end());
  EXPECT_GT(psnr[6], 11);
  EXPECT_LT(psnr[30], 18);
  EXPECT_GT(psnr[150], 21);
  EXPECT_LT(psnr[150], 25);
  EXPECT_GT(psnr[270], 29);
  EXPECT_LT(psnr[294], 42);
}

// Boolean model: discs of area a at density d leave exp(-d a) of a picture free.
TEST(AddSnowTest, CoverageFollowsTheDensity) {
  for (const double flakes_per_kilopixel : {1.0, 4.0, 16.0}) {
    for (const double diameter_px : {4.0, 9.0}) {
      const double area = 3.14159265 * diameter_px * diameter_px / 4;
      const double covered = 1 - std::exp(-1e-3 * flakes_per_kilopixel * area);
      const SnowParams snow = Of(Discs(diameter_px, flakes_per_kilopixel));
      EXPECT_NEAR(MeanOpacity(snow, 128, 60) / covered, 1, 0.06) << diameter_px;
    }
  }
}

// Flakes are measured in pixels and may be cut by an edge: a crop of snow is snow on a crop.
TEST(AddSnowTest, SmallPicturesAreAsSnowyAsLarge) {
  for (const SnowParams& snow : {Of(Discs(12, 1)), Streaks(50), Noise(20)}) {
    EXPECT_NEAR(MeanOpacity(snow, 24, 2000) / MeanOpacity(snow, 384, 8), 1, 0.1);
  }
}

TEST(AddSnowTest, FlakesFallAlongTheirAngle) {
  for (const double angle : {-65.0, -20.0, 0.0, 15.0, 45.0}) {
    EXPECT_NEAR(StreakAngle(Snow(Grey(256, 256, 0), Streaks(angle), 7)), angle, 4) << "flakes";
    EXPECT_NEAR(StreakAngle(Snow(Grey(256, 256, 0), Noise(angle), 7)), angle, 4) << "noise";
  }
}

TEST(AddSnowTest, SoftEdgesKeepTheWidthAtHalfOpacity) {
  FlakeLayer layer = Discs(24, 0.02);
  const auto share_above_half = [&] {
    size_t above = 0;
    for (uint64_t seed = 0; seed < 60; ++seed) {
      for (const float value : Snow(Grey(128, 128, 0), Of(layer), seed).pixels)
        above += value > 0.5;
    }
    return static_cast<double>(above);
  };
  const double flat = share_above_half();
  layer.softness = 1;
  EXPECT_NEAR(share_above_half() / flat, 1, 0.1);
}

TEST(AddSnowTest, ClumpsAreAboutAsLargeAsDiscsButNotRound) {
  FlakeLayer layer = Discs(12, 1);
  const double discs = MeanOpacity(Of(layer), 128, 40);
  layer.clumps = 1;
  const double clumps = MeanOpacity(Of(layer), 128, 40);
  EXPECT_GT(clumps, 0.5 * discs);
  EXPECT_LT(clumps, 1.3 * discs);
  EXPECT_GT(std::abs(clumps - discs), 0.01 * discs);
}

TEST(AddSnowTest, BlendsAsDocumented) {
  SnowParams snow = Of({.flakes_per_kilopixel = 20, .opacity = 0.6});
  const RgbImage opacity = Snow(Grey(64, 64, 0), snow, 3);
  snow.tint = {0.9, 0.9, 0.9};
  const RgbImage over = Snow(Grey(64, 64, 0.2f), snow, 3);
  snow.blend = SnowBlend::kScreen;
  const RgbImage screened = Snow(Grey(64, 64, 0.2f), snow, 3);
  snow.blend = SnowBlend::kAdd;
  const RgbImage added = Snow(Grey(64, 64, 0.2f), snow, 3);
  for (size_t i = 0; i < opacity.pixels.size(); ++i) {
    const float z = opacity.pixels[i];
    EXPECT_NEAR(over.pixels[i], 0.2f * (1 - z) + 0.9f * z, 1e-5);
    EXPECT_NEAR(screened.pixels[i], 0.2f + 0.9f * z * 0.8f, 1e-5);
    EXPECT_NEAR(added.pixels[i], std::min(1.0f, 0.2f + 0.9f * z), 1e-5);
  }
}

TEST(AddSnowTest, VeilPullsTowardsTheAirLight) {
  SnowParams snow;
  snow.veil = 0.25;
  snow.air_light = 0.8;
  for (const float value : Snow(Grey(8, 8, 0.4f), snow, 1).pixels) {
    EXPECT_NEAR(value, 0.75f * 0.4f + 0.25f * 0.8f, 1e-5);
  }
}

TEST(AddSnowTest, VeilVariesSlowlyAboutItsMean) {
  SnowParams snow;
  snow.veil = 0.2;
  snow.veil_variation = 0.8;
  snow.air_light = 0.9;
  EXPECT_NEAR(MeanOpacity(snow, 256, 60), 0.2 * 0.9, 0.01);
  const RgbImage veil = Snow(Grey(256, 256, 0), snow, 5);
  const auto [low, high] = std::minmax_element(veil.pixels.begin(), veil.pixels.end());
  EXPECT_GT(*high - *low, 0.05f);
  EXPECT_GE(*low, 0.2f * 0.2f * 0.9f - 1e-5f);
  EXPECT_LE(*high, 1.8f * 0.2f * 0.9f + 1e-5f);
  for (size_t i = 3; i < 256 * 3; ++i) EXPECT_NEAR(veil.pixels[i], veil.pixels[i - 3], 0.01);
}

TEST(AddSnowTest, AnySize) {
  struct Size {
    int width, height;
  };
  for (const Size size : {Size{1, 1}, Size{1, 50}, Size{50, 1}, Size{3, 2}, Size{481, 321}}) {
    for (uint64_t seed = 0; seed < 50; ++seed) {
      const RgbImage snowy = Snow(Grey(size.width, size.height, 0.3f), seed);
      EXPECT_EQ(snowy.width, size.width);
      EXPECT_EQ(snowy.height, size.height);
      EXPECT_TRUE(Validate(snowy).ok());
    }
  }
}

TEST(AddSnowTest, RejectsWhatIsNoPicture) {
  RgbImage short_of_pixels = Grey(4, 4, 0);
  short_of_pixels.pixels.pop_back();
  for (const RgbImage& image : {RgbImage{}, RgbImage{-1, 4, {}}, short_of_pixels}) {
    EXPECT_EQ(AddSnow(image, SampleSnow(1), 1).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

bool Within(double value, double low, double high) { return value >= low && value <= high; }

TEST(SampleSnowTest, FlakesStayInTheDocumentedRanges) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    for (const FlakeLayer& layer : SampleSnow(seed).flakes) {
      EXPECT_LE(std::abs(layer.angle_deg), 70) << seed;
      EXPECT_TRUE(Within(layer.angle_spread_deg, 0, 25)) << seed;
      EXPECT_TRUE(Within(layer.flakes_per_kilopixel, 0.005, 400)) << seed;
      EXPECT_TRUE(Within(layer.diameter_px, 0.6, 40)) << seed;
      EXPECT_TRUE(Within(layer.length_px, 0, 25)) << seed;
      EXPECT_TRUE(Within(layer.depth_spread, 0, 0.6)) << seed;
      EXPECT_TRUE(Within(layer.softness, 0, 1)) << seed;
      EXPECT_TRUE(Within(layer.clumps, 0, 1)) << seed;
      EXPECT_TRUE(Within(layer.opacity, 0.1, 1)) << seed;
      EXPECT_TRUE(Within(layer.opacity_spread, 0, 0.6)) << seed;
    }
  }
}

TEST(SampleSnowTest, NoiseAndOpticsStayInTheDocumentedRanges) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    const SnowParams snow = SampleSnow(seed);
    for (const NoiseLayer& layer : snow.noises) {
      EXPECT_LE(std::abs(layer.angle_deg), 70) << seed;
      EXPECT_TRUE(Within(layer.length_px, 1, 25)) << seed;
      EXPECT_TRUE(Within(layer.zoom, 1, 5)) << seed;
      EXPECT_TRUE(Within(layer.threshold, 0.8, 2.3)) << seed;
      EXPECT_TRUE(Within(layer.contrast, 0.8, 4)) << seed;
      EXPECT_TRUE(Within(layer.opacity, 0.3, 1)) << seed;
    }
    for (const double channel : snow.tint) EXPECT_TRUE(Within(channel, 0.75, 1)) << seed;
    EXPECT_TRUE(Within(snow.veil, 0, 0.3)) << seed;
    EXPECT_TRUE(Within(snow.veil_variation, 0, 0.8)) << seed;
    EXPECT_TRUE(Within(snow.air_light, 0.7, 0.95)) << seed;
  }
}

TEST(SampleSnowTest, FartherLayersAreSmaller) {
  size_t deep = 0;
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    const std::vector<FlakeLayer> flakes = SampleSnow(seed).flakes;
    for (size_t i = 1; i < flakes.size(); ++i) {
      EXPECT_LE(flakes[i].diameter_px, flakes[i - 1].diameter_px) << seed;
    }
    deep += flakes.size() >= 3;
  }
  EXPECT_GT(deep, 300u);
}

TEST(SampleSnowTest, EveryKindOccurs) {
  size_t noise = 0, still = 0, drawn_out = 0, bokeh = 0, specks = 0, veil = 0, bare = 0;
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    const SnowParams snow = SampleSnow(seed);
    EXPECT_GE(snow.flakes.size() + snow.noises.size(), 1u) << seed;
    EXPECT_LE(snow.flakes.size(), 7u) << seed;
    EXPECT_LE(snow.noises.size(), 1u) << seed;
    noise += snow.noises.size();
    veil += snow.veil > 0;
    if (snow.flakes.empty()) continue;
    still += snow.flakes.back().length_px == 0;
    drawn_out += snow.flakes.back().length_px > 3 * snow.flakes.back().diameter_px;
    bokeh += snow.flakes.front().diameter_px > 14;
    specks += snow.flakes.back().diameter_px < 1.5;
    bare += snow.veil == 0;
  }
  for (const size_t count : {noise, still, drawn_out, bokeh, specks, veil}) EXPECT_GT(count, 100u);
  EXPECT_GT(bare, 500u);
}

}  // namespace
}  // namespace deweather
