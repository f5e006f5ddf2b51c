#include "training/weather/rain.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "opencv2/core.hpp"
#include "opencv2/imgproc.hpp"
#include "training/weather/random.h"
#include "training/weather/turn.h"

namespace deweather {
namespace {

constexpr double kPi = 3.14159265358979323846;

// --- Drawing the parameters ---------------------------------------------------------------------

enum class Strength { kLight, kMedium, kHeavy };

Strength SampleStrength(Random& random) {
  const double u = random.Uniform();
  if (u < 0.75) return Strength::kLight;
  return u < 0.93 ? Strength::kMedium : Strength::kHeavy;
}

double SampleAngle(Random& random) {
  return random.Chance(0.85) ? random.Uniform(-35, 35) : random.Uniform(-60, 60);
}

double SampleAngleSpread(Random& random) {
  return random.Chance(0.85) ? random.Uniform(0, 3) : random.Uniform(3, 12);
}

// The share of the picture that streaks cover, were none to lie on another.
double SampleCoverage(Strength strength, Random& random) {
  switch (strength) {
    case Strength::kLight:
      return random.LogUniform(0.04, 0.25);
    case Strength::kMedium:
      return random.LogUniform(0.12, 0.5);
    case Strength::kHeavy:
      return random.LogUniform(0.4, 1);
  }
  return 0;
}

double SampleBrightness(Strength strength, Random& random) {
  return strength == Strength::kLight ? random.LogUniform(0.1, 0.5) : random.LogUniform(0.12, 0.6);
}

StreakLayer SampleNearLayer(Strength strength, double angle_deg, Random& random) {
  StreakLayer layer;
  layer.angle_deg = angle_deg;
  layer.angle_spread_deg = SampleAngleSpread(random);
  layer.length_px = random.LogUniform(12, strength == Strength::kLight ? 80 : 110);
  layer.width_px = random.Chance(0.85) ? random.LogUniform(1.1, 2.6) : random.LogUniform(2.6, 6);
  layer.depth_spread = random.Uniform(0.1, 0.6);
  layer.brightness = SampleBrightness(strength, random);
  layer.brightness_spread = random.Uniform(0.1, 0.8);
  layer.taper = random.Uniform(0.2, 1);
  layer.peak = random.Uniform(-0.3, 0.8);
  layer.streaks_per_kilopixel =
      std::min(50.0, 1000 * SampleCoverage(strength, random) / (layer.length_px * layer.width_px));
  return layer;
}

// The same rain further away: shorter, thinner, fainter and denser [Garg & Nayar 2006].
StreakLayer MoveAway(const StreakLayer& near, Random& random) {
  StreakLayer layer = near;
  const double scale = random.Uniform(0.4, 0.8);
  layer.angle_deg = std::clamp(near.angle_deg + 3 * random.Normal(), -60.0, 60.0);
  layer.length_px = std::max(8.0, near.length_px * scale);
  layer.width_px = std::max(1.1, near.width_px * scale);
  layer.brightness = std::max(0.03, near.brightness * random.Uniform(0.3, 0.9));
  layer.streaks_per_kilopixel = std::min(50.0, near.streaks_per_kilopixel * random.Uniform(1, 2.5));
  return layer;
}

GrainLayer SampleGrain(Strength strength, double angle_deg, Random& random) {
  GrainLayer layer;
  layer.angle_deg = angle_deg;
  layer.length_px = random.LogUniform(8, 60);
  layer.grain_px = random.LogUniform(0.5, 1.6);
  layer.threshold =
      strength == Strength::kLight ? random.Uniform(0.9, 2) : random.Uniform(0.2, 1.4);
  layer.brightness =
      strength == Strength::kLight ? random.LogUniform(0.05, 0.5) : random.LogUniform(0.1, 0.6);
  return layer;
}

int SampleStreakLayers(Strength strength, Random& random) {
  const double u = random.Uniform();
  if (strength == Strength::kLight) return u < 0.8 ? 1 : 2;
  return u < 0.4 ? 1 : (u < 0.8 ? 2 : 3);
}

void SampleLayers(Strength strength, RainParams& rain, Random& random) {
  const double angle_deg = SampleAngle(random);
  const bool grain_only = random.Chance(0.15);
  const bool grain_too = random.Chance(strength == Strength::kLight ? 0.1 : 0.3);
  if (!grain_only) {
    rain.streaks.push_back(SampleNearLayer(strength, angle_deg, random));
    const int count = SampleStreakLayers(strength, random);
    for (int i = 1; i < count; ++i) rain.streaks.push_back(MoveAway(rain.streaks.back(), random));
  }
  if (grain_only || grain_too) rain.grains.push_back(SampleGrain(strength, angle_deg, random));
}

void SampleOptics(Strength strength, RainParams& rain, Random& random) {
  const double u = random.Uniform();
  rain.blend = u < 0.7 ? RainBlend::kAdd : (u < 0.85 ? RainBlend::kScreen : RainBlend::kMix);
  if (random.Chance(0.15)) {
    for (double& channel : rain.tint) channel = random.Uniform(0.92, 1);
  }
  const double veil_chance =
      strength == Strength::kLight ? 0 : (strength == Strength::kMedium ? 0.1 : 0.3);
  if (random.Chance(veil_chance)) rain.veil = random.Uniform(0.05, 0.35);
  rain.air_light = random.Uniform(0.6, 0.95);
}

// --- Painting -----------------------------------------------------------------------------------

// One streak, ready to paint: a point is `along` and `across` its axis.
struct Streak {
  double x, y;         // centre
  double sin, cos;     // of the angle from the vertical: the axis is (sin, cos)
  double half_length;  // px
  double radius;       // px; beyond it nothing is painted
  double brightness;
  double taper;
  double peak;
};

// Brightness along the axis, t in [-1, 1]: a parabola to either side of the peak.
double AlongProfile(const Streak& streak, double t) {
  const double reach = t > streak.peak ? 1 - streak.peak : 1 + streak.peak;
  const double q = (t - streak.peak) / reach;
  return 1 - streak.taper * q * q;
}

// Paints one row of the streak. Across the axis it is (1 - (v/radius)²)², whose width at half
// height is 1.08 radius.
void PaintRow(const Streak& streak, double dy, float* row, int width) {
  const double middle = streak.x + dy * streak.sin / streak.cos;
  const double reach = streak.radius / streak.cos;
  const int begin = std::max(0, static_cast<int>(std::ceil(middle - reach)));
  const int end = std::min(width - 1, static_cast<int>(std::floor(middle + reach)));
  for (int x = begin; x <= end; ++x) {
    const double dx = x - streak.x;
    const double along = dx * streak.sin + dy * streak.cos;
    const double across = (dx * streak.cos - dy * streak.sin) / streak.radius;
    const double inside = streak.half_length - std::abs(along);  // the ends are 1 px soft
    if (inside <= -0.5) continue;
    const double t = std::clamp(along / streak.half_length, -1.0, 1.0);
    const double bell = std::max(0.0, 1 - across * across);
    row[x] += static_cast<float>(streak.brightness * AlongProfile(streak, t) * bell * bell *
                                 std::min(1.0, inside + 0.5));
  }
}

void PaintStreak(const Streak& streak, cv::Mat1f& light) {
  const double reach =
      (streak.half_length + 0.5) * streak.cos + streak.radius * std::abs(streak.sin);
  const int begin = std::max(0, static_cast<int>(std::ceil(streak.y - reach)));
  const int end = std::min(light.rows - 1, static_cast<int>(std::floor(streak.y + reach)));
  for (int y = begin; y <= end; ++y) {
    PaintRow(streak, y - streak.y, light.ptr<float>(y), light.cols);
  }
}

Streak SampleStreak(const StreakLayer& layer, Random& random) {
  const double depth = layer.depth_spread * random.Normal();  // of log(length)
  const double angle_deg = layer.angle_deg + layer.angle_spread_deg * random.Normal();
  const double angle = std::clamp(angle_deg, -75.0, 75.0) * kPi / 180;
  Streak streak;
  streak.x = streak.y = 0;
  streak.sin = std::sin(angle);
  streak.cos = std::cos(angle);
  streak.half_length = 0.5 * layer.length_px * std::exp(depth);
  streak.radius = std::max(1.0, layer.width_px * std::exp(0.5 * depth) / 1.08);
  streak.brightness =
      std::min(1.0, layer.brightness * std::exp(layer.brightness_spread * random.Normal()));
  streak.taper = layer.taper;
  streak.peak = layer.peak;
  return streak;
}

// Centres are a Poisson process over the picture and a margin from which a streak reaches into it:
// as many streaks as unit exponential gaps fit into the expected number.
void PaintStreakLayer(const StreakLayer& layer, cv::Mat1f& light, Random& random) {
  const double longest = layer.length_px * std::exp(3.5 * layer.depth_spread);
  const double margin = 0.5 * longest + 2 * layer.width_px;
  const double width = light.cols + 2 * margin;
  const double height = light.rows + 2 * margin;
  const double expected = layer.streaks_per_kilopixel * 1e-3 * width * height;
  for (double gaps = random.Exponential(); gaps < expected; gaps += random.Exponential()) {
    Streak streak = SampleStreak(layer, random);
    streak.x = random.Uniform(-margin, width - margin);
    streak.y = random.Uniform(-margin, height - margin);
    PaintStreak(streak, light);
  }
}

// Uniform noise, mean 0 and variance 1, averaged over `length` rows; variance 1 again.
cv::Mat1f FallingNoise(int side, int length, Random& random) {
  cv::Mat1f noise(side + length, side);
  for (float& value : noise) value = static_cast<float>(random.Uniform(-1.7320508, 1.7320508));
  cv::Mat1f fallen(side, side);
  std::vector<double> sum(static_cast<size_t>(side), 0.0);
  const double scale = 1 / std::sqrt(static_cast<double>(length));
  for (int y = 0; y < noise.rows; ++y) {
    for (int x = 0; x < side; ++x) {
      double& column = sum[static_cast<size_t>(x)];
      column += noise(y, x);
      if (y < length) continue;
      column -= noise(y - length, x);
      fallen(y - length, x) = static_cast<float>(column * scale);
    }
  }
  return fallen;
}

// Paints the noise upright, in a square that covers the picture at any angle, then turns it.
void PaintGrainLayer(const GrainLayer& layer, cv::Mat1f& light, Random& random) {
  const int side = CoveringSide(light.size());
  const int length = std::max(1, static_cast<int>(std::lround(layer.length_px)));
  cv::Mat1f fallen = FallingNoise(side, length, random);
  cv::GaussianBlur(fallen, fallen, cv::Size(0, 1), layer.grain_px, 0, cv::BORDER_REFLECT_101);
  // The blur leaves 1 / (2 √π σ) of the variance.
  const double sigmas = std::sqrt(2 * std::sqrt(kPi) * layer.grain_px);
  const double gain = 1 / (3 - layer.threshold);
  for (float& value : fallen) {
    const double bright = (value * sigmas - layer.threshold) * gain;
    value = static_cast<float>(layer.brightness * std::clamp(bright, 0.0, 1.3));
  }
  light += Turned(fallen, layer.angle_deg, light.size());
}

float Blend(RainBlend blend, float clean, float light, float tint) {
  switch (blend) {
    case RainBlend::kAdd:
      return clean + light * tint;
    case RainBlend::kScreen:
      return clean + light * tint * (1 - clean);
    case RainBlend::kMix:
      return clean + light * (0.9f * tint - clean);
  }
  return clean;
}

void Composite(const RainParams& rain, const cv::Mat1f& light, RgbImage& image) {
  const float clear = static_cast<float>(1 - rain.veil);
  const float mist = static_cast<float>(rain.veil * rain.air_light);
  const std::array<float, 3> tint = {static_cast<float>(rain.tint[0]),
                                     static_cast<float>(rain.tint[1]),
                                     static_cast<float>(rain.tint[2])};
  float* pixel = image.pixels.data();
  for (const float falling : light) {
    const float bright = std::min(1.0f, falling);
    for (size_t c = 0; c < 3; ++c, ++pixel) {
      *pixel = std::clamp(clear * Blend(rain.blend, *pixel, bright, tint[c]) + mist, 0.0f, 1.0f);
    }
  }
}

}  // namespace

RainParams SampleRain(uint64_t seed) {
  Random random(seed);
  RainParams rain;
  const Strength strength = SampleStrength(random);
  SampleLayers(strength, rain, random);
  SampleOptics(strength, rain, random);
  return rain;
}

absl::StatusOr<RgbImage> AddRain(const RgbImage& clean, const RainParams& rain, uint64_t seed) {
  if (absl::Status status = Validate(clean); !status.ok()) return status;
  try {
    Random random(seed);
    cv::Mat1f light(clean.height, clean.width, 0.0f);
    for (const StreakLayer& layer : rain.streaks) PaintStreakLayer(layer, light, random);
    for (const GrainLayer& layer : rain.grains) PaintGrainLayer(layer, light, random);
    RgbImage rainy = clean;
    Composite(rain, light, rainy);
    return rainy;
  } catch (const cv::Exception& error) {
    return absl::InternalError(absl::StrCat("cannot paint rain: ", error.what()));
  }
}

}  // namespace deweather
