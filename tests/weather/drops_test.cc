#include "training/weather/drops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace deweather {
namespace {

RgbImage Grey(int width, int height, float value = 0.4f) {
  const size_t values = static_cast<size_t>(width) * static_cast<size_t>(height) * 3;
  return {.width = width, .height = height, .pixels = std::vector<float>(values, value)};
}

float At(const RgbImage& image, int x, int y) {
  return image.pixels[3 * (static_cast<size_t>(y) * static_cast<size_t>(image.width) +
                           static_cast<size_t>(x))];
}

// value(x, y) in each channel.
template <typename Value>
RgbImage Draw(int width, int height, Value value) {
  RgbImage image = Grey(width, height);
  for (size_t i = 0; i < image.pixels.size(); ++i) {
    const int pixel = static_cast<int>(i / 3);
    image.pixels[i] = static_cast<float>(value(pixel % width, pixel / width));
  }
  return image;
}

// Brighter to the right and to the bottom.
RgbImage Slope(int width, int height) {
  return Draw(width, height, [&](int x, int y) { return 0.2 + 0.6 * (x + y) / (width + height); });
}

// Large and small, bright and dark, as in a photo.
RgbImage Scene(int side) {
  return Draw(side, side, [&](int x, int y) {
    const double far = std::sin(0.02 * x + 1) + std::cos(0.03 * y + 0.01 * x);
    const double near = std::sin(0.3 * x) * std::cos(0.25 * y);
    return std::clamp(0.5 + 0.2 * far + 0.1 * near, 0.0, 1.0);
  });
}

// Sharp, clear discs of one size.
DropLayer Discs(double radius_px, double coverage) {
  DropLayer layer;
  layer.coverage = coverage;
  layer.radius_px = radius_px;
  layer.elongation = 1;
  layer.radius_spread = layer.roughness = layer.merged = layer.rim = layer.sky = layer.bulge = 0;
  layer.defocus_px = 0.4;
  layer.opacity = 1.2;  // fully opaque, whatever the chance of a drop
  layer.gain = 0.7;     // seen on a flat picture
  return layer;
}

DropsParams Of(const DropLayer& layer) {
  DropsParams drops;
  drops.layers.push_back(layer);
  return drops;
}

RgbImage Wet(const RgbImage& clean, const DropsParams& drops, uint64_t seed) {
  absl::StatusOr<RgbImage> wet = AddDrops(clean, drops, seed);
  EXPECT_TRUE(wet.ok()) << wet.status();
  return wet.ok() ? *wet : RgbImage{};
}

RgbImage Wet(const RgbImage& clean, uint64_t seed) { return Wet(clean, SampleDrops(seed), seed); }

// The share of values that differ.
double Changed(const RgbImage& wet, const RgbImage& clean) {
  int changed = 0;
  for (size_t i = 0; i < clean.pixels.size(); ++i) changed += wet.pixels[i] != clean.pixels[i];
  return static_cast<double>(changed) / static_cast<double>(clean.pixels.size());
}

double Psnr(const RgbImage& a, const RgbImage& b) {
  double sum = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i) sum += std::pow(a.pixels[i] - b.pixels[i], 2);
  return -10 * std::log10(std::max(1e-10, sum / static_cast<double>(a.pixels.size())));
}

struct Box {
  int left = 1 << 20, top = 1 << 20, right = -1, bottom = -1;

  int Width() const { return right - left + 1; }
  int Height() const { return bottom - top + 1; }
  int X() const { return (left + right) / 2; }
  int Y() const { return (top + bottom) / 2; }
};

// Around the pixels that differ from a flat picture of that size.
Box ChangedBox(const RgbImage& wet) {
  Box box;
  for (int y = 0; y < wet.height; ++y) {
    for (int x = 0; x < wet.width; ++x) {
      if (At(wet, x, y) == 0.4f) continue;
      box = {std::min(box.left, x), std::min(box.top, y), std::max(box.right, x),
             std::max(box.bottom, y)};
    }
  }
  return box;
}

constexpr int kSide = 160;
constexpr int kRadius = 24;

// A seed that puts one whole drop of kRadius, and no other, on a picture of kSide, and its place.
struct LoneDrop {
  uint64_t seed = 0;
  Box box;
};

LoneDrop FindLoneDrop(const DropLayer& layer) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    const Box box = ChangedBox(Wet(Grey(kSide, kSide), Of(layer), seed));
    const bool whole =
        box.left > 0 && box.top > 0 && box.right < kSide - 1 && box.bottom < kSide - 1;
    if (whole && std::abs(box.Width() - 2 * kRadius) < 8 && box.Height() < 3 * kRadius) {
      return {seed, box};
    }
  }
  ADD_FAILURE() << "no seed with a lone drop";
  return {};
}

TEST(AddDropsTest, IsAFunctionOfItsArguments) {
  const RgbImage clean = Slope(97, 61);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_EQ(Wet(clean, seed).pixels, Wet(clean, seed).pixels) << seed;
  }
}

TEST(AddDropsTest, ThreadsDoNotChangeIt) {
  const RgbImage clean = Slope(128, 128);
  std::vector<RgbImage> wet(8);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < wet.size(); ++i) {
    threads.emplace_back([&, i] { wet[i] = Wet(clean, i); });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < wet.size(); ++i) EXPECT_EQ(wet[i].pixels, Wet(clean, i).pixels);
}

TEST(AddDropsTest, SeedsDiffer) {
  const RgbImage clean = Scene(96);
  const DropsParams drops = Of(Discs(8, 0.2));
  for (uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_NE(Wet(clean, drops, seed).pixels, Wet(clean, drops, seed + 1).pixels) << seed;
  }
}

TEST(AddDropsTest, StaysInRange) {
  for (const RgbImage& clean : {Grey(96, 96, 0), Scene(96), Grey(96, 96, 1)}) {
    for (uint64_t seed = 0; seed < 100; ++seed) {
      const RgbImage wet = Wet(clean, seed);
      const auto [low, high] = std::minmax_element(wet.pixels.begin(), wet.pixels.end());
      EXPECT_GE(*low, 0.0f) << seed;
      EXPECT_LE(*high, 1.0f) << seed;
    }
  }
}

// From a few droplets to a wet pane; the real pairs lie at the stronger end.
TEST(AddDropsTest, StrengthSpansLightToHeavy) {
  const RgbImage clean = Scene(256);
  std::vector<double> psnr;
  for (uint64_t seed = 0; seed < 120; ++seed) psnr.push_back(Psnr(Wet(clean, seed), clean));
  std::sort(psnr.begin(), psnr.end());
  EXPECT_GT(psnr[6], 14);
  EXPECT_LT(psnr[6], 20);
  EXPECT_GT(psnr[60], 21);
  EXPECT_LT(psnr[60], 28);
  EXPECT_GT(psnr[114], 30);
}

TEST(AddDropsTest, LeavesTheRestUntouched) {
  const RgbImage clean = Scene(256);
  for (uint64_t seed = 0; seed < 10; ++seed) {
    EXPECT_EQ(Changed(Wet(clean, Of(Discs(10, 0)), seed), clean), 0);
    EXPECT_LT(Changed(Wet(clean, Of(Discs(10, 0.05)), seed), clean), 0.2);
  }
}

// The mean share that drops of 12 px change of flat pictures.
double MeanChanged(int side, double coverage, int pictures) {
  const RgbImage clean = Grey(side, side);
  double sum = 0;
  for (int seed = 0; seed < pictures; ++seed) {
    sum += Changed(Wet(clean, Of(Discs(12, coverage)), static_cast<uint64_t>(seed)), clean);
  }
  return sum / pictures;
}

// Discs of a Poisson process leave exp(-coverage) dry, on a picture of any size.
TEST(AddDropsTest, CoverageIsThatOfThePoissonProcess) {
  for (const double coverage : {0.05, 0.15, 0.4}) {
    const double softened = coverage * std::pow(12.5 / 12, 2);  // the mask's edge lies outside
    EXPECT_NEAR(MeanChanged(64, coverage, 1000) / (1 - std::exp(-softened)), 1, 0.1) << coverage;
    EXPECT_NEAR(MeanChanged(240, coverage, 100) / (1 - std::exp(-softened)), 1, 0.1) << coverage;
  }
}

TEST(AddDropsTest, EdgesAreAsWetAsTheMiddle) {
  const RgbImage clean = Grey(90, 90);
  double edge = 0, middle = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    const RgbImage wet = Wet(clean, Of(Discs(10, 0.1)), seed);
    for (int i = 0; i < 90; ++i) {
      edge += (At(wet, i, 0) != 0.4f) + (At(wet, 0, i) != 0.4f);
      middle += (At(wet, i, 45) != 0.4f) + (At(wet, 45, i) != 0.4f);
    }
  }
  EXPECT_NEAR(edge / middle, 1, 0.1);
}

// At its centre a drop shows (1 - bend) times the picture's gradient: upside down from 1 on.
TEST(AddDropsTest, InvertsTheScene) {
  DropLayer layer = Discs(kRadius, 0.02);
  const LoneDrop drop = FindLoneDrop(layer);
  const RgbImage clean = Slope(kSide, kSide);
  for (const double bend : {-1.0, 0.3, 2.5, 4.0}) {
    layer.bend = bend;
    const RgbImage wet = Wet(clean, Of(layer), drop.seed);
    const int x = drop.box.X(), y = drop.box.Y(), d = kRadius / 3;
    const double across = At(wet, x + d, y) - At(wet, x - d, y);
    const double down = At(wet, x, y + d) - At(wet, x, y - d);
    const double as_clean = At(clean, x + d, y) - At(clean, x - d, y);
    EXPECT_NEAR(across / as_clean, 0.7 * (1 - bend), 0.4 + 0.2 * std::abs(bend)) << bend;
    EXPECT_NEAR(down / as_clean, 0.7 * (1 - bend), 0.4 + 0.2 * std::abs(bend)) << bend;
    EXPECT_EQ(across<0, bend> 1) << bend;
    EXPECT_EQ(down<0, bend> 1) << bend;
  }
}

TEST(AddDropsTest, SkyLightsTheLowerHalfAndTheUpperRimIsDark) {
  DropLayer layer = Discs(kRadius, 0.02);
  const LoneDrop drop = FindLoneDrop(layer);
  const int x = drop.box.X(), top = drop.box.top + 4, bottom = drop.box.bottom - 4;
  const RgbImage plain = Wet(Grey(kSide, kSide), Of(layer), drop.seed);
  layer.sky = 0.6;
  const RgbImage sky = Wet(Grey(kSide, kSide), Of(layer), drop.seed);
  EXPECT_GT(At(sky, x, bottom), At(plain, x, bottom) + 0.05f);
  EXPECT_GT(At(sky, x, bottom), At(sky, x, top) + 0.05f);
  layer.sky = 0;
  layer.rim = 0.7;
  const RgbImage rim = Wet(Grey(kSide, kSide), Of(layer), drop.seed);
  EXPECT_LT(At(rim, x, top), At(plain, x, top) - 0.03f);
  EXPECT_GT(At(rim, x, bottom), At(rim, x, top) + 0.03f);
}

TEST(AddDropsTest, DefocusSoftensTheEdge) {
  DropLayer layer = Discs(kRadius, 0.02);
  const LoneDrop drop = FindLoneDrop(layer);
  double steepest[2] = {0, 0};
  for (const int blurred : {0, 1}) {
    layer.defocus_px = blurred == 0 ? 0.4 : 6;
    const RgbImage wet = Wet(Grey(kSide, kSide), Of(layer), drop.seed);
    for (int x = 1; x < kSide; ++x) {
      const double step = std::abs(At(wet, x, drop.box.Y()) - At(wet, x - 1, drop.box.Y()));
      steepest[blurred] = std::max(steepest[blurred], step);
    }
  }
  EXPECT_GT(steepest[1], 0);
  EXPECT_LT(steepest[1], 0.2 * steepest[0]);
}

TEST(AddDropsTest, TrailsLieAbove) {
  DropLayer layer = Discs(kRadius, 0.02);
  const LoneDrop drop = FindLoneDrop(layer);
  layer.trails = 1;
  layer.gain = 0.5;
  const Box box = ChangedBox(Wet(Grey(kSide, kSide), Of(layer), drop.seed));
  EXPECT_NEAR(box.bottom, drop.box.bottom, 2);
  EXPECT_LT(box.top, drop.box.top - kRadius / 2);
}

TEST(AddDropsTest, MistBlursAndBrightensWhatLiesBetween) {
  const RgbImage clean = Draw(64, 64, [](int x, int) { return x % 2 == 0 ? 0.2 : 0.4; });
  DropsParams drops = Of(Discs(10, 0));
  drops.mist = 0.5;
  drops.sky_light = {0.9, 0.9, 0.9};
  const RgbImage wet = Wet(clean, drops, 1);
  EXPECT_NEAR(At(wet, 33, 32) - At(wet, 32, 32), 0.1, 0.01);
  EXPECT_NEAR(At(wet, 33, 32) + At(wet, 32, 32), 0.6 + 0.12, 0.01);
}

TEST(AddDropsTest, AnySize) {
  struct Size {
    int width, height;
  };
  for (const Size size : {Size{1, 1}, Size{1, 50}, Size{50, 1}, Size{3, 2}, Size{240, 161}}) {
    for (uint64_t seed = 0; seed < 50; ++seed) {
      const RgbImage wet = Wet(Grey(size.width, size.height), seed);
      EXPECT_EQ(wet.width, size.width);
      EXPECT_EQ(wet.height, size.height);
      EXPECT_EQ(wet.pixels.size(), Grey(size.width, size.height).pixels.size());
    }
  }
}

TEST(AddDropsTest, RejectsWhatIsNoPicture) {
  RgbImage short_of_pixels = Grey(4, 4);
  short_of_pixels.pixels.pop_back();
  for (const RgbImage& image : {RgbImage{}, RgbImage{-1, 4, {}}, short_of_pixels}) {
    EXPECT_EQ(AddDrops(image, SampleDrops(1), 1).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(SampleDropsTest, StaysInTheDocumentedRanges) {
  const auto within = [](double value, double low, double high) {
    EXPECT_GE(value, low);
    EXPECT_LE(value, high);
  };
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    SCOPED_TRACE(seed);
    const DropsParams drops = SampleDrops(seed);
    EXPECT_TRUE(drops.layers.size() >= 1 && drops.layers.size() <= 3);
    for (const double channel : drops.sky_light) within(channel, 0.5, 1);
    within(drops.mist, 0, 0.6);
    within(drops.mist_blur_px, 1, 4);
    for (const DropLayer& layer : drops.layers) {
      within(layer.coverage, 0.005, 0.4);
      within(layer.radius_px, 1.5, 60);
      within(layer.radius_spread, 0.05, 0.7);
      within(layer.elongation, 0.9, 1.8);
      within(layer.roughness, 0, 0.15);
      within(layer.merged, 0, 0.6);
      within(layer.trails, 0, 0.5);
      within(layer.defocus_px, 0.4, 6);
      within(layer.content_blur_px, 0.7, 8);
      within(layer.opacity, 0.5, 1);
      within(layer.bend, -3, 20);
      within(layer.bulge, 0, 0.95);
      within(layer.gain, 0.7, 1.3);
      within(layer.rim, 0, 0.7);
      within(layer.sky, 0, 0.75);
      within(layer.glint, 0, 0.7);
    }
  }
}

TEST(SampleDropsTest, MostPicturesHaveNoMist) {
  int misty = 0;
  for (uint64_t seed = 0; seed < 1000; ++seed) misty += SampleDrops(seed).mist > 0 ? 1 : 0;
  EXPECT_NEAR(misty, 100, 40);
}

}  // namespace
}  // namespace deweather
