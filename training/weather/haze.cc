#include "training/weather/haze.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "opencv2/core.hpp"
#include "opencv2/imgproc.hpp"
#include "training/weather/random.h"

namespace deweather {
namespace {

// Grey for the most part; distant air is bluish, dust and smoke are brown.
std::array<double, 3> SampleAirLight(Random& random) {
  const double grey = random.Chance(0.75) ? random.Uniform(0.75, 1) : random.Uniform(0.5, 0.8);
  const double kind = random.Uniform();
  const double warmth = kind < 0.5    ? random.Uniform(-0.02, 0.02)
                        : kind < 0.85 ? random.Uniform(-0.08, 0)
                                      : random.Uniform(0, 0.15);
  return {std::clamp(grey * (1 + 0.5 * warmth), 0.4, 1.0),
          std::clamp(grey * (1 + random.Uniform(-0.01, 0.01)), 0.4, 1.0),
          std::clamp(grey * (1 - warmth), 0.4, 1.0)};
}

// Slow noise in [0,1]: a coarse grid of random values, stretched smoothly over the picture.
cv::Mat1f SlowNoise(cv::Size size, double period_px, Random& random) {
  const int columns = 2 + static_cast<int>(std::ceil(size.width / period_px));
  const int rows = 2 + static_cast<int>(std::ceil(size.height / period_px));
  cv::Mat1f grid(rows, columns);
  for (float& value : grid) value = static_cast<float>(random.Uniform());
  const double x = random.Uniform(), y = random.Uniform();  // where in the first cell it begins
  const cv::Matx23d from_picture(1 / period_px, 0, x, 0, 1 / period_px, y);
  cv::Mat1f noise;
  cv::warpAffine(grid, noise, from_picture, size, cv::INTER_CUBIC | cv::WARP_INVERSE_MAP,
                 cv::BORDER_REFLECT_101);
  return noise;
}

// Value minus saturation, in [0,1], without the detail: depth does not change within a leaf.
cv::Mat1f AttenuationPrior(const RgbImage& image) {
  cv::Mat1f prior(image.height, image.width);
  const float* pixel = image.pixels.data();
  for (float& value : prior) {
    const auto [low, high] = std::minmax({pixel[0], pixel[1], pixel[2]});
    const float saturation = high > 0 ? (high - low) / high : 0;
    value = 0.5f * (1 + high - saturation);
    pixel += 3;
  }
  cv::blur(prior, prior, cv::Size(9, 9), cv::Point(-1, -1), cv::BORDER_REFLECT_101);
  return prior;
}

// How far along the plane, in [0,1] from one corner of the picture to the opposite one.
double Plane(double x, double y, const cv::Size& size, double angle) {
  const double side = std::max(size.width, size.height);
  const double u = (x - 0.5 * size.width) / side, v = (0.5 * size.height - y) / side;
  return std::clamp(0.5 + (u * std::sin(angle) + v * std::cos(angle)) / std::numbers::sqrt2, 0.0,
                    1.0);
}

cv::Mat1f DepthOf(const RgbImage& clean, const HazeParams& haze, Random& random) {
  const cv::Size size(clean.width, clean.height);
  const cv::Mat1f noise = SlowNoise(size, haze.noise_px, random);
  const cv::Mat1f prior = AttenuationPrior(clean);
  const double angle = haze.plane_deg * std::numbers::pi / 180;
  const double prior_share = 1 - haze.plane - haze.noise;
  cv::Mat1f depth(size);
  for (int y = 0; y < size.height; ++y) {
    for (int x = 0; x < size.width; ++x) {
      const double field = haze.plane * Plane(x, y, size, angle) +
                           haze.noise * std::clamp(noise(y, x), 0.0f, 1.0f) +
                           prior_share * prior(y, x);
      depth(y, x) = static_cast<float>(std::max(0.0, haze.depth + haze.relief * (field - 0.5)));
    }
  }
  return depth;
}

}  // namespace

HazeParams SampleHaze(uint64_t seed) {
  Random random(seed);
  HazeParams haze;
  haze.density = random.LogUniform(0.25, 3);
  haze.air_light = SampleAirLight(random);
  haze.depth = random.Uniform(0.3, 1);
  haze.relief = random.LogUniform(0.05, 1);
  haze.plane_deg = random.Chance(0.7) ? random.Uniform(-40, 40) : random.Uniform(-180, 180);
  haze.plane = random.Uniform(0.2, 0.7);
  haze.noise = random.Uniform(0, 1 - haze.plane);
  haze.noise_px = random.LogUniform(40, 300);
  return haze;
}

absl::StatusOr<RgbImage> AddHaze(const RgbImage& clean, const HazeParams& haze, uint64_t seed) {
  if (absl::Status status = Validate(clean); !status.ok()) return status;
  try {
    Random random(seed);
    RgbImage hazy = clean;
    float* pixel = hazy.pixels.data();
    for (const float depth : DepthOf(clean, haze, random)) {
      const float through = std::exp(static_cast<float>(-haze.density) * depth);
      for (const double light : haze.air_light) {
        *pixel =
            std::clamp(*pixel * through + static_cast<float>(light) * (1 - through), 0.0f, 1.0f);
        ++pixel;
      }
    }
    return hazy;
  } catch (const cv::Exception& error) {
    return absl::InternalError(absl::StrCat("cannot draw haze: ", error.what()));
  }
}

}  // namespace deweather
