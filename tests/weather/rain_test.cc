#include "training/weather/rain.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "tests/weather/pictures.h"
#include "training/weather/weather.h"

namespace deweather {
namespace {

// A picture that is not flat: a slope in each channel.
RgbImage Slope(int width, int height) {
  RgbImage image = Grey(width, height);
  for (size_t i = 0; i < image.pixels.size(); ++i) {
    image.pixels[i] = static_cast<float>(i) / static_cast<float>(image.pixels.size());
  }
  return image;
}

RainParams OneLayer(double angle_deg, double width_px = 1.5) {
  RainParams rain;
  rain.streaks.push_back(
      {.angle_deg = angle_deg, .angle_spread_deg = 1, .length_px = 40, .width_px = width_px});
  return rain;
}

RainParams OneGrain(double angle_deg) {
  RainParams rain;
  rain.grains.push_back({.angle_deg = angle_deg, .length_px = 40, .grain_px = 1.6});
  return rain;
}

RgbImage Rain(const RgbImage& clean, uint64_t seed) {
  absl::StatusOr<RgbImage> rainy = AddWeather(clean, Weather::kRain, seed);
  EXPECT_TRUE(rainy.ok()) << rainy.status();
  return rainy.ok() ? *rainy : RgbImage{};
}

RgbImage Rain(const RgbImage& clean, const RainParams& rain, uint64_t seed) {
  absl::StatusOr<RgbImage> rainy = AddRain(clean, rain, seed);
  EXPECT_TRUE(rainy.ok()) << rainy.status();
  return rainy.ok() ? *rainy : RgbImage{};
}

// Mean over all values of (rainy - clean).
double MeanAdded(const RgbImage& rainy, const RgbImage& clean) {
  double sum = 0;
  for (size_t i = 0; i < clean.pixels.size(); ++i) sum += rainy.pixels[i] - clean.pixels[i];
  return sum / static_cast<double>(clean.pixels.size());
}

TEST(ParseWeatherTest, KnowsRain) {
  ASSERT_TRUE(ParseWeather("rain").ok());
  EXPECT_EQ(*ParseWeather("rain"), Weather::kRain);
}

TEST(ParseWeatherTest, NamesTheUnknownAndTheKnown) {
  for (const char* name : {"", "Rain", "hail"}) {
    const absl::Status status = ParseWeather(name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("\"" + std::string(name) + "\""), std::string::npos);
    EXPECT_NE(status.message().find("known: rain"), std::string::npos);
  }
}

TEST(AddWeatherTest, IsAFunctionOfItsArguments) {
  const RgbImage clean = Slope(97, 61);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_EQ(Rain(clean, seed).pixels, Rain(clean, seed).pixels) << seed;
  }
}

TEST(AddWeatherTest, ThreadsDoNotChangeIt) {
  const RgbImage clean = Slope(128, 128);
  std::vector<RgbImage> rainy(8);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < rainy.size(); ++i) {
    threads.emplace_back([&, i] { rainy[i] = Rain(clean, i); });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < rainy.size(); ++i) EXPECT_EQ(rainy[i].pixels, Rain(clean, i).pixels);
}

TEST(AddWeatherTest, SeedsDiffer) {
  const RgbImage clean = Grey(64, 64);
  std::vector<std::vector<float>> seen;
  for (uint64_t seed = 0; seed < 20; ++seed) seen.push_back(Rain(clean, seed).pixels);
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(std::adjacent_find(seen.begin(), seen.end()), seen.end());
}

TEST(AddWeatherTest, StaysInRangeAndBrightensOnAverage) {
  for (const float value : {0.0f, 0.3f, 1.0f}) {
    const RgbImage clean = Grey(128, 128, value);
    double added = 0;
    for (uint64_t seed = 0; seed < 200; ++seed) {
      const RgbImage rainy = Rain(clean, seed);
      const auto [low, high] = std::minmax_element(rainy.pixels.begin(), rainy.pixels.end());
      EXPECT_GE(*low, 0.0f) << seed;
      EXPECT_LE(*high, 1.0f) << seed;
      added += MeanAdded(rainy, clean) / 200;
    }
    EXPECT_GT(added, value < 0.5f ? 0.02 : -0.02);  // mist and mixing may dim pure white
  }
}

// From faint to a downpour, most of it light; what published test sets measure lies inside.
TEST(AddWeatherTest, StrengthSpansLightToHeavy) {
  const RgbImage clean = Grey(128, 128);
  std::vector<double> psnr;
  for (uint64_t seed = 0; seed < 400; ++seed) psnr.push_back(Psnr(Rain(clean, seed), clean));
  std::sort(psnr.begin(), psnr.end());
  EXPECT_GT(psnr[20], 5);
  EXPECT_LT(psnr[20], 16);
  EXPECT_GT(psnr[200], 19);
  EXPECT_LT(psnr[200], 28);
  EXPECT_GT(psnr[380], 33);
}

// Streaks are measured in pixels: a crop of rain looks like rain on a crop.
TEST(AddRainTest, DensityDoesNotDependOnThePictureSize) {
  for (const RainParams& rain : {OneLayer(20), OneGrain(20)}) {
    double small = 0, large = 0;
    for (uint64_t seed = 0; seed < 512; ++seed) {
      small += MeanAdded(Rain(Grey(64, 64), rain, seed), Grey(64, 64)) / 512;
    }
    for (uint64_t seed = 0; seed < 8; ++seed) {
      large += MeanAdded(Rain(Grey(512, 512), rain, seed), Grey(512, 512)) / 8;
    }
    EXPECT_NEAR(small / large, 1, 0.1);
  }
}

TEST(AddRainTest, EdgesAreAsRainyAsTheMiddle) {
  const RgbImage clean = Grey(90, 90, 0);
  std::vector<double> column(90, 0.0);
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const RgbImage rainy = Rain(clean, OneLayer(30), seed);
    for (size_t i = 0; i < rainy.pixels.size(); ++i) column[i / 3 % 90] += rainy.pixels[i];
  }
  double edge = 0, middle = 0;
  for (size_t i = 0; i < 30; ++i) {
    edge += column[i < 15 ? i : 60 + i];
    middle += column[30 + i];
  }
  EXPECT_NEAR(edge / middle, 1, 0.1);
}

TEST(AddRainTest, StreaksFollowTheirAngle) {
  for (const double angle : {-50.0, -20.0, 0.0, 15.0, 45.0}) {
    EXPECT_NEAR(StreakAngle(Rain(Grey(256, 256), OneLayer(angle, 5), 7)), angle, 4) << "streaks";
    EXPECT_NEAR(StreakAngle(Rain(Grey(256, 256), OneGrain(angle), 7)), angle, 4) << "grain";
  }
}

TEST(AddRainTest, BlendsAsDocumented) {
  RainParams rain = OneLayer(10);
  const RgbImage black = Rain(Grey(64, 64, 0), rain, 3);
  const RgbImage added = Rain(Grey(64, 64, 0.2f), rain, 3);
  rain.blend = RainBlend::kScreen;
  const RgbImage screened = Rain(Grey(64, 64, 0.2f), rain, 3);
  rain.blend = RainBlend::kMix;
  const RgbImage mixed = Rain(Grey(64, 64, 0.2f), rain, 3);
  for (size_t i = 0; i < black.pixels.size(); ++i) {
    const float light = black.pixels[i];
    EXPECT_NEAR(added.pixels[i], std::min(1.0f, 0.2f + light), 1e-5);
    EXPECT_NEAR(screened.pixels[i], 0.2f + 0.8f * light, 1e-5);
    EXPECT_NEAR(mixed.pixels[i], 0.2f + light * (0.9f - 0.2f), 1e-5);
  }
}

TEST(AddRainTest, VeilPullsTowardsTheAirLight) {
  RainParams rain;
  rain.veil = 0.25;
  rain.air_light = 0.8;
  for (const float value : Rain(Grey(8, 8, 0.4f), rain, 1).pixels) {
    EXPECT_NEAR(value, 0.75f * 0.4f + 0.25f * 0.8f, 1e-5);
  }
}

TEST(AddRainTest, AnySize) {
  struct Size {
    int width, height;
  };
  for (const Size size : {Size{1, 1}, Size{1, 50}, Size{50, 1}, Size{3, 2}, Size{481, 321}}) {
    for (uint64_t seed = 0; seed < 50; ++seed) {
      const RgbImage rainy = Rain(Grey(size.width, size.height), seed);
      EXPECT_EQ(rainy.width, size.width);
      EXPECT_EQ(rainy.height, size.height);
      EXPECT_EQ(rainy.pixels.size(), Grey(size.width, size.height).pixels.size());
    }
  }
}

TEST(AddRainTest, RejectsWhatIsNoPicture) {
  RgbImage short_of_pixels = Grey(4, 4);
  short_of_pixels.pixels.pop_back();
  for (const RgbImage& image : {RgbImage{}, RgbImage{-1, 4, {}}, short_of_pixels}) {
    EXPECT_EQ(AddWeather(image, Weather::kRain, 1).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(SampleRainTest, StaysInTheDocumentedRanges) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    const RainParams rain = SampleRain(seed);
    EXPECT_LE(rain.streaks.size(), 3u);
    EXPECT_LE(rain.grains.size(), 1u);
    EXPECT_GE(rain.streaks.size() + rain.grains.size(), 1u);
    EXPECT_TRUE(rain.veil >= 0 && rain.veil <= 0.35) << seed;
    for (const StreakLayer& layer : rain.streaks) {
      EXPECT_LE(std::abs(layer.angle_deg), 60) << seed;
      EXPECT_TRUE(layer.streaks_per_kilopixel >= 0.1 && layer.streaks_per_kilopixel <= 50) << seed;
      EXPECT_TRUE(layer.length_px >= 8 && layer.length_px <= 110) << seed;
      EXPECT_TRUE(layer.width_px >= 1.1 && layer.width_px <= 6) << seed;
      EXPECT_TRUE(layer.brightness >= 0.03 && layer.brightness <= 0.6) << seed;
    }
  }
}

TEST(SampleRainTest, MostRainIsLightAndClear) {
  int clear = 0, simple = 0;
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    const RainParams rain = SampleRain(seed);
    clear += rain.veil == 0 ? 1 : 0;
    simple += rain.streaks.size() + rain.grains.size() == 1 ? 1 : 0;
  }
  EXPECT_GT(clear, 900);
  EXPECT_GT(simple, 500);
}

}  // namespace
}  // namespace deweather
