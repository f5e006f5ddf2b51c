#include "training/weather/residual.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numbers>
#include <vector>

#include "training/weather/random.h"

namespace deweather {
namespace {

// Each pixel's R, G and B by its place.
RgbImage Drawn(int width, int height, const std::function<double(int x, int y)>& value) {
  RgbImage image{width, height, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      image.pixels.insert(image.pixels.end(), 3, static_cast<float>(value(x, y)));
    }
  }
  return image;
}

RgbImage Grey(int width, int height) {
  return Drawn(width, height, [](int, int) { return 0.4; });
}

// Of a residual that is drawn onto grey.
ResidualStatistics Of(int width, int height, const std::function<double(int x, int y)>& residual) {
  const auto statistics =
      Measure(Drawn(width, height, [&](int x, int y) { return 0.4 + residual(x, y); }),
              Grey(width, height));
  EXPECT_TRUE(statistics.ok()) << statistics.status();
  return statistics.value_or(ResidualStatistics{});
}

TEST(ResidualTest, EqualPicturesHaveNone) {
  const ResidualStatistics statistics = Of(20, 10, [](int, int) { return 0; });
  EXPECT_EQ(statistics.mean, (std::array<double, 3>{0, 0, 0}));
  EXPECT_EQ(statistics.deviation, 0);
  EXPECT_EQ(statistics.p99, 0);
  EXPECT_EQ(statistics.skewness, 0);
  EXPECT_EQ(statistics.visible_share, 0);
  EXPECT_EQ(statistics.correlation_x_px, 0);
  EXPECT_EQ(statistics.psnr_db, 100);
}

TEST(ResidualTest, ATintHasMeansAndNoDeviation) {
  RgbImage clean = Grey(16, 16), tinted = clean;
  for (size_t i = 0; i < tinted.pixels.size(); ++i) {
    tinted.pixels[i] += static_cast<float>(i % 3) * 0.1f - 0.05f;
  }
  const ResidualStatistics statistics = Measure(tinted, clean).value();
  EXPECT_NEAR(statistics.mean[0], -0.05, 1e-6);
  EXPECT_NEAR(statistics.mean[1], 0.05, 1e-6);
  EXPECT_NEAR(statistics.mean[2], 0.15, 1e-6);
  EXPECT_NEAR(statistics.deviation, 0, 1e-6);
  EXPECT_NEAR(statistics.p99, 0.05, 1e-6);  // of the pixels' mean over the channels
  EXPECT_EQ(statistics.visible_share, 1);
  EXPECT_NEAR(statistics.psnr_db, -10 * std::log10((0.0025 + 0.0025 + 0.0225) / 3), 1e-3);
}

// One pixel in ten is brighter by 0.2: a Bernoulli residual.
TEST(ResidualTest, SparseBrightPixels) {
  const double p = 0.1;
  const ResidualStatistics statistics =
      Of(100, 40, [](int x, int y) { return (x + 3 * y) % 10 == 0 ? 0.2 : 0; });
  EXPECT_NEAR(statistics.mean[1], 0.2 * p, 1e-6);
  EXPECT_NEAR(statistics.deviation, 0.2 * std::sqrt(p * (1 - p)), 1e-6);
  EXPECT_NEAR(statistics.skewness, (1 - 2 * p) / std::sqrt(p * (1 - p)), 1e-4);
  EXPECT_NEAR(statistics.p99, 0.2, 1e-6);
  EXPECT_NEAR(statistics.visible_share, p, 1e-9);
  EXPECT_NEAR(statistics.psnr_db, -10 * std::log10(0.04 * p), 1e-3);
}

// A wave's autocorrelation is a cosine of the same period, at every lag.
TEST(ResidualTest, WavesHaveTheLengthOfTheirPeriod) {
  const double tau = 2 * std::numbers::pi;
  const auto wave = [&](double at) { return 0.1 * std::sin(tau * at / 40); };
  const double length = 40 * std::acos(std::exp(-1.0)) / tau;
  const ResidualStatistics along = Of(400, 30, [&](int x, int) { return wave(x); });
  EXPECT_NEAR(along.correlation_x_px, length, 0.15);
  EXPECT_EQ(along.correlation_y_px, 15);  // never falls: half the side
  EXPECT_NEAR(along.deviation, 0.1 / std::sqrt(2), 1e-5);
  EXPECT_NEAR(along.skewness, 0, 1e-5);
  const ResidualStatistics down = Of(30, 400, [&](int, int y) { return wave(y); });
  EXPECT_NEAR(down.correlation_y_px, length, 0.15);
  EXPECT_EQ(down.correlation_x_px, 15);
}

// Noise: nothing is left at a lag of one, so the line from 1 to 0 crosses 1/e at 1 - 1/e.
TEST(ResidualTest, NoiseIsUncorrelated) {
  Random random(7);
  const ResidualStatistics statistics =
      Of(200, 200, [&](int, int) { return random.Uniform(-0.1, 0.1); });
  EXPECT_NEAR(statistics.correlation_x_px, 1 - std::exp(-1.0), 0.01);
  EXPECT_NEAR(statistics.correlation_y_px, 1 - std::exp(-1.0), 0.01);
  EXPECT_NEAR(statistics.deviation, 0.1 / std::sqrt(3), 1e-3);
  EXPECT_NEAR(statistics.p99, 0.099, 1e-3);
  EXPECT_NEAR(statistics.visible_share, 0.6, 0.01);
}

TEST(ResidualTest, SummaryHasMeansAndPercentiles) {
  std::vector<ResidualStatistics> pictures(11);
  for (size_t i = 0; i < pictures.size(); ++i) {
    pictures[i].psnr_db = 40 - static_cast<double>(i);
    pictures[i].mean = {0.1 * static_cast<double>(i), 0, 1};
    pictures[i].correlation_y_px = static_cast<double>(i % 2);
  }
  const ResidualSummary summary = Summarize(pictures);
  EXPECT_EQ(summary.pictures, 11);
  EXPECT_NEAR(summary.mean.mean[0], 0.5, 1e-9);
  EXPECT_NEAR(summary.mean.mean[2], 1, 1e-9);
  EXPECT_NEAR(summary.mean.correlation_y_px, 5.0 / 11, 1e-9);
  EXPECT_NEAR(summary.mean.psnr_db, 35, 1e-9);
  EXPECT_NEAR(summary.psnr_percentiles_db[0], 31, 1e-9);
  EXPECT_NEAR(summary.psnr_percentiles_db[1], 35, 1e-9);
  EXPECT_NEAR(summary.psnr_percentiles_db[2], 39, 1e-9);
}

TEST(ResidualTest, PicturesThatDoNotMatch) {
  EXPECT_EQ(Measure(Grey(4, 5), Grey(5, 4)).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Measure(RgbImage{}, RgbImage{}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace deweather
