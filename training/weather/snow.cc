#include "training/weather/snow.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

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

// What all layers of a picture have in common.
struct Fall {
  double angle_deg;
  double coverage;   // the share of the picture that flakes cover, were none to lie on another
  double drawn_out;  // length of a flake's way in its diameters
};

double SampleDrawnOut(Random& random) {
  const double u = random.Uniform();
  if (u < 0.4) return 0;
  return u < 0.8 ? random.Uniform(0, 1.5) : random.Uniform(1.5, 8);
}

Fall SampleFall(Random& random) {
  Fall fall;
  fall.angle_deg = random.Chance(0.7) ? random.Uniform(-35, 35) : random.Uniform(-70, 70);
  fall.coverage = random.LogUniform(0.005, 0.2);
  fall.drawn_out = SampleDrawnOut(random);
  return fall;
}

// As many flakes as cover that share of the picture.
void SetDensity(double coverage, FlakeLayer& layer) {
  const double diameter = layer.diameter_px;
  const double area = (0.25 * kPi * diameter + layer.length_px) * diameter *
                      std::exp(2 * layer.depth_spread * layer.depth_spread);
  layer.flakes_per_kilopixel = std::clamp(1000 * coverage / area, 0.005, 400.0);
}

FlakeLayer SampleLayer(const Fall& fall, double diameter_px, Random& random) {
  FlakeLayer layer;
  layer.angle_deg = std::clamp(fall.angle_deg + 4 * random.Normal(), -70.0, 70.0);
  layer.angle_spread_deg = random.Chance(0.7) ? random.Uniform(0, 6) : random.Uniform(6, 25);
  layer.diameter_px = diameter_px;
  layer.length_px = std::min(25.0, fall.drawn_out * diameter_px * random.Uniform(0.7, 1.3));
  layer.depth_spread = random.Uniform(0, 0.6);
  layer.softness = random.Chance(0.2) ? random.Uniform(0, 0.2) : random.Uniform(0.2, 1);
  layer.clumps = diameter_px > 2.5 && random.Chance(0.5) ? random.Uniform() : 0;
  layer.opacity = random.Uniform(0.3, 1) * (1 - 0.3 * layer.softness);
  layer.opacity_spread = random.Uniform(0, 0.6);
  return layer;
}

// From the nearest layer to the farthest: smaller, as a rule fainter [Liu et al. 2018].
void SampleDepths(const Fall& fall, int count, double nearest_px, SnowParams& snow,
                  Random& random) {
  double diameter_px = nearest_px;
  for (int i = 0; i < count; ++i) {
    FlakeLayer layer = SampleLayer(fall, diameter_px, random);
    layer.opacity = std::clamp(layer.opacity * std::pow(0.9, i), 0.1, 1.0);
    SetDensity(fall.coverage * random.Uniform(0.4, 1.6) / count, layer);
    snow.flakes.push_back(layer);
    diameter_px = std::max(0.6, diameter_px * random.Uniform(0.35, 0.75));
  }
}

// A few flakes close to the lens, out of focus: large and thin.
FlakeLayer SampleBokeh(const Fall& fall, Random& random) {
  FlakeLayer layer = SampleLayer(fall, random.LogUniform(14, 40), random);
  layer.depth_spread = random.Uniform(0, 0.35);
  layer.softness = random.Chance(0.5) ? random.Uniform(0, 0.3) : random.Uniform(0.3, 1);
  layer.opacity = random.Uniform(0.1, 0.6);
  SetDensity(random.LogUniform(0.005, 0.06), layer);
  return layer;
}

// Fine snow so dense that its flakes overlap: each faint, together a grainy mist.
FlakeLayer SamplePowder(const Fall& fall, Random& random) {
  FlakeLayer layer = SampleLayer(fall, random.LogUniform(1, 3.5), random);
  layer.opacity = random.LogUniform(0.1, 0.35);
  SetDensity(random.LogUniform(0.25, 1), layer);
  return layer;
}

NoiseLayer SampleNoise(const Fall& fall, Random& random) {
  NoiseLayer layer;
  layer.angle_deg = fall.angle_deg;
  const bool still = random.Chance(0.4);
  layer.length_px = still ? 1 : random.LogUniform(2, 25);
  layer.zoom = random.Uniform(1, 5);
  layer.threshold = still ? random.Uniform(1.3, 2.3) : random.Uniform(0.8, 1.8);
  layer.contrast = random.LogUniform(0.8, 4);
  layer.opacity = random.Uniform(0.3, 1);
  return layer;
}

void SampleLayers(SnowParams& snow, Random& random) {
  const Fall fall = SampleFall(random);
  const double u = random.Uniform();
  if (u < 0.6) {  // snow at all distances
    const int count = 2 + static_cast<int>(random.Below(4));
    SampleDepths(fall, count, random.LogUniform(3, 14), snow, random);
  } else if (u < 0.85) {  // one size
    SampleDepths(fall, 1, random.LogUniform(1, 8), snow, random);
  }
  if (random.Chance(0.2)) snow.flakes.push_back(SampleBokeh(fall, random));
  if (random.Chance(0.12)) snow.flakes.push_back(SamplePowder(fall, random));
  if (u >= 0.85 || random.Chance(0.1)) snow.noises.push_back(SampleNoise(fall, random));
  std::stable_sort(
      snow.flakes.begin(), snow.flakes.end(),
      [](const FlakeLayer& a, const FlakeLayer& b) { return a.diameter_px > b.diameter_px; });
}

void SampleOptics(SnowParams& snow, Random& random) {
  const double u = random.Uniform();
  snow.blend = u < 0.75 ? SnowBlend::kOver : (u < 0.9 ? SnowBlend::kScreen : SnowBlend::kAdd);
  const double white = random.Chance(0.6) ? random.Uniform(0.95, 1) : random.Uniform(0.8, 1);
  const double colour = random.Chance(0.3) ? 0.06 : 0.01;
  for (double& channel : snow.tint) channel = white * random.Uniform(1 - colour, 1);
  if (random.Chance(0.3)) snow.veil = random.LogUniform(0.03, 0.3);
  if (random.Chance(0.5)) snow.veil_variation = random.Uniform(0, 0.8);
  snow.air_light = random.Uniform(0.7, 0.95);
}

// --- Painting -----------------------------------------------------------------------------------

// A disc drawn out along its way, ready to paint.
struct Flake {
  double x, y;         // centre
  double sin, cos;     // of the angle from the vertical: the way is along (sin, cos)
  double half_length;  // px, of the way
  double radius;       // px, at half opacity
  double edge;         // px, from full opacity to none
  double opacity;      // in the middle
  double taper;        // 0: equally opaque all its way, 1: fades to both ends
};

double Opacity(const Flake& flake, double dx, double dy) {
  const double along = std::abs(dx * flake.sin + dy * flake.cos);
  const double across = dx * flake.cos - dy * flake.sin;
  const double past = std::max(0.0, along - flake.half_length);
  const double distance = std::sqrt(past * past + across * across);
  const double t = std::clamp((flake.radius - distance) / flake.edge + 0.5, 0.0, 1.0);
  const double end = std::min(1.0, along / (flake.half_length + flake.radius));
  return flake.opacity * (1 - flake.taper * end * end) * t * t * (3 - 2 * t);
}

void PaintDisc(const Flake& flake, cv::Mat1f& opacity) {
  const double reach = flake.radius + 0.5 * flake.edge;
  const double reach_x = reach + flake.half_length * std::abs(flake.sin);
  const double reach_y = reach + flake.half_length * flake.cos;
  const int left = std::max(0, static_cast<int>(std::ceil(flake.x - reach_x)));
  const int right = std::min(opacity.cols - 1, static_cast<int>(std::floor(flake.x + reach_x)));
  const int top = std::max(0, static_cast<int>(std::ceil(flake.y - reach_y)));
  const int bottom = std::min(opacity.rows - 1, static_cast<int>(std::floor(flake.y + reach_y)));
  for (int y = top; y <= bottom; ++y) {
    float* row = opacity.ptr<float>(y);
    for (int x = left; x <= right; ++x) {
      row[x] += (1 - row[x]) * static_cast<float>(Opacity(flake, x - flake.x, y - flake.y));
    }
  }
}

// Discs of different sizes around a centre, the way flakes stick together.
void PaintClump(const Flake& flake, cv::Mat1f& opacity, Random& random) {
  const int count = 3 + static_cast<int>(random.Below(4));
  for (int i = 0; i < count; ++i) {
    Flake part = flake;
    const double scale = random.Uniform(0.3, 0.75);
    const double direction = random.Uniform(0, 2 * kPi);
    const double distance = flake.radius * (1.1 - scale) * random.Uniform(0.5, 1.2);
    part.x += distance * std::cos(direction);
    part.y += distance * std::sin(direction);
    part.radius *= scale;
    part.edge = std::max(1.0, part.edge * scale);
    PaintDisc(part, opacity);
  }
}

Flake SampleFlake(const FlakeLayer& layer, Random& random) {
  const double scale = std::exp(layer.depth_spread * random.Normal());
  const double angle_deg = layer.angle_deg + layer.angle_spread_deg * random.Normal();
  const double angle = std::clamp(angle_deg, -85.0, 85.0) * kPi / 180;
  Flake flake;
  flake.x = flake.y = 0;
  flake.sin = std::sin(angle);
  flake.cos = std::cos(angle);
  flake.half_length = 0.5 * layer.length_px * scale;
  flake.taper = layer.length_px / (layer.length_px + layer.diameter_px);  // less time at the ends
  flake.radius = 0.5 * layer.diameter_px * scale;
  flake.edge = std::max(1.0, 2 * layer.softness * flake.radius);
  flake.opacity = std::min(1.0, layer.opacity * std::exp(layer.opacity_spread * random.Normal()));
  return flake;
}

// Centres are a Poisson process over the picture and a margin from which a flake reaches into it:
// as many flakes as unit exponential gaps fit into the expected number.
void PaintFlakeLayer(const FlakeLayer& layer, cv::Mat1f& opacity, Random& random) {
  const double largest = std::exp(3.5 * layer.depth_spread);
  const double margin = 1 + (1.2 * layer.diameter_px + 0.5 * layer.length_px) * largest;
  const double width = opacity.cols + 2 * margin;
  const double height = opacity.rows + 2 * margin;
  const double expected = layer.flakes_per_kilopixel * 1e-3 * width * height;
  for (double gaps = random.Exponential(); gaps < expected; gaps += random.Exponential()) {
    Flake flake = SampleFlake(layer, random);
    flake.x = random.Uniform(-margin, width - margin);
    flake.y = random.Uniform(-margin, height - margin);
    if (random.Chance(layer.clumps)) {
      PaintClump(flake, opacity, random);
    } else {
      PaintDisc(flake, opacity);
    }
  }
}

// Normal noise, a number every `step_px` pixels and smooth between them.
cv::Mat1f MagnifiedNoise(int width, int height, double step_px, Random& random) {
  const int columns = 3 + static_cast<int>(width / step_px);
  const int rows = 3 + static_cast<int>(height / step_px);
  cv::Mat1f coarse(rows, columns);
  for (float& value : coarse) value = static_cast<float>(random.Normal());
  const double step = 1 / step_px, x = random.Uniform(0, 1), y = random.Uniform(0, 1);
  cv::Mat1f fine;
  cv::warpAffine(coarse, fine, cv::Matx23d(step, 0, x, 0, step, y), cv::Size(width, height),
                 cv::INTER_CUBIC | cv::WARP_INVERSE_MAP, cv::BORDER_REFLECT_101);
  return fine;
}

// Paints the noise upright, in a square that covers the picture at any angle, then turns it.
void PaintNoiseLayer(const NoiseLayer& layer, cv::Mat1f& opacity, Random& random) {
  const int side = CoveringSide(opacity.size());
  cv::Mat1f fallen = MagnifiedNoise(side, side, layer.zoom, random);
  for (float& value : fallen) {
    const double above = (value - layer.threshold) * layer.contrast;
    value = static_cast<float>(std::clamp(above, 0.0, layer.opacity));
  }
  const int length = std::max(1, static_cast<int>(std::lround(layer.length_px)));
  cv::blur(fallen, fallen, cv::Size(1, length));
  const cv::Mat1f turned = Turned(fallen, layer.angle_deg, opacity.size());
  opacity += turned.mul(1 - opacity);
}

// The veil's share of the light at each pixel.
cv::Mat1f Veil(const SnowParams& snow, cv::Size size, Random& random) {
  constexpr double kStepPx = 100;
  if (snow.veil == 0 || snow.veil_variation == 0)
    return cv::Mat1f(size, static_cast<float>(snow.veil));
  cv::Mat1f veil = MagnifiedNoise(size.width, size.height, kStepPx, random);
  for (float& value : veil) {
    const double thicker = snow.veil_variation * std::clamp(0.7 * value, -1.0, 1.0);
    value = static_cast<float>(snow.veil * (1 + thicker));
  }
  return veil;
}

float Blend(SnowBlend blend, float clean, float opacity, float tint) {
  switch (blend) {
    case SnowBlend::kOver:
      return clean + opacity * (tint - clean);
    case SnowBlend::kScreen:
      return clean + opacity * tint * (1 - clean);
    case SnowBlend::kAdd:
      return std::min(1.0f, clean + opacity * tint);
  }
  return clean;
}

void Composite(const SnowParams& snow, const cv::Mat1f& opacity, const cv::Mat1f& veil,
               RgbImage& image) {
  const float air_light = static_cast<float>(snow.air_light);
  const std::array<float, 3> tint = {static_cast<float>(snow.tint[0]),
                                     static_cast<float>(snow.tint[1]),
                                     static_cast<float>(snow.tint[2])};
  float* pixel = image.pixels.data();
  auto thickness = veil.begin();
  for (const float flakes : opacity) {
    for (size_t c = 0; c < 3; ++c, ++pixel) {
      const float snowy = Blend(snow.blend, *pixel, flakes, tint[c]);
      *pixel = std::clamp(snowy + *thickness * (air_light - snowy), 0.0f, 1.0f);
    }
    ++thickness;
  }
}

}  // namespace

SnowParams SampleSnow(uint64_t seed) {
  Random random(seed);
  SnowParams snow;
  SampleLayers(snow, random);
  SampleOptics(snow, random);
  return snow;
}

absl::StatusOr<RgbImage> AddSnow(const RgbImage& clean, const SnowParams& snow, uint64_t seed) {
  if (absl::Status status = Validate(clean); !status.ok()) return status;
  try {
    Random random(seed);
    cv::Mat1f opacity(clean.height, clean.width, 0.0f);
    for (const FlakeLayer& layer : snow.flakes) PaintFlakeLayer(layer, opacity, random);
    for (const NoiseLayer& layer : snow.noises) PaintNoiseLayer(layer, opacity, random);
    const cv::Mat1f veil = Veil(snow, opacity.size(), random);
    RgbImage snowy = clean;
    Composite(snow, opacity, veil, snowy);
    return snowy;
  } catch (const cv::Exception& error) {
    return absl::InternalError(absl::StrCat("cannot paint snow: ", error.what()));
  }
}

}  // namespace deweather
