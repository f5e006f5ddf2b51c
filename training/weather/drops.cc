#include "training/weather/drops.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "opencv2/core.hpp"
#include "opencv2/imgproc.hpp"
#include "training/weather/random.h"

namespace deweather {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr double kLargestRadius = 60;

// --- What a drop shows --------------------------------------------------------------------------

// What is before the glass.
struct Scene {
  std::vector<cv::Mat3f> levels;  // the picture at 1, 1/2, 1/4, ...: i is blurred by about 2^i px
  cv::Vec3f sky_light;
};

Scene MakeScene(const RgbImage& picture, const DropsParams& drops) {
  std::vector<cv::Mat3f> levels(1, cv::Mat3f(picture.height, picture.width));
  std::copy(picture.pixels.begin(), picture.pixels.end(), levels[0].ptr<float>());
  while (levels.size() < 5 && std::min(levels.back().rows, levels.back().cols) >= 8) {
    cv::Mat3f half;
    cv::pyrDown(levels.back(), half);
    levels.push_back(half);
  }
  return {std::move(levels), cv::Vec3d(drops.sky_light.data())};
}

size_t LevelOfBlur(const Scene& scene, double blur_px) {
  const long level = std::lround(std::log2(std::max(1.0, blur_px)));
  return std::min(static_cast<size_t>(level), scene.levels.size() - 1);
}

// Mirrors a coordinate into [0, last].
double Reflect(double at, double last) {
  if (last <= 0) return 0;
  at = std::fmod(std::abs(at), 2 * last);
  return at > last ? 2 * last - at : at;
}

// Bilinear, at a position in pixels of the picture; beyond its borders it is mirrored.
cv::Vec3f Look(const Scene& scene, size_t blur_level, double x, double y) {
  const cv::Mat3f& level = scene.levels[blur_level];
  const double scale = 1.0 / (1 << blur_level);
  x = Reflect(x * scale, level.cols - 1);
  y = Reflect(y * scale, level.rows - 1);
  const int left = static_cast<int>(x), top = static_cast<int>(y);
  const int right = std::min(left + 1, level.cols - 1);
  const double fx = x - left, fy = y - top;
  const cv::Vec3f* upper = level[top];
  const cv::Vec3f* lower = level[std::min(top + 1, level.rows - 1)];
  return (upper[left] * (1 - fx) + upper[right] * fx) * (1 - fy) +
         (lower[left] * (1 - fx) + lower[right] * fx) * fy;
}

// --- Painting -----------------------------------------------------------------------------------

// A round part of a drop, in pixels from the drop's centre.
struct Lobe {
  double x = 0, y = 0, radius_x = 1, radius_y = 1;
};

// One drop, ready to paint.
struct Drop {
  double x = 0, y = 0, radius = 1;
  std::array<Lobe, 3> lobes;
  int lobe_count = 1;
  std::array<double, 4> outline = {};  // of cos 2φ, sin 2φ, cos 3φ, sin 3φ
  double soft = 1;                     // half the width of the edge of the mask
  double opacity = 1, bend = 1, bulge = 0, gain = 1, rim = 0, sky = 0, glint = 0;
  double glint_x = 0, glint_y = 0;
  size_t level = 0;
};

// Water above the glass, and its slope: the sum over the lobes of (1 - q/4)², q the squared
// distance in radii, less its value at the rim of a single lobe. Lobes that meet flow together.
struct Surface {
  double height = -0.5625, slope_x = 0, slope_y = 0;
};

Surface SurfaceAt(const Drop& drop, double x, double y) {
  Surface surface;
  for (int i = 0; i < drop.lobe_count; ++i) {
    const Lobe& lobe = drop.lobes[static_cast<size_t>(i)];
    const double u = (x - lobe.x) / lobe.radius_x, v = (y - lobe.y) / lobe.radius_y;
    const double uu = u * u, vv = v * v;
    if (uu + vv > 4) continue;
    const double q = uu + vv + drop.outline[0] * (uu - vv) + drop.outline[1] * 2 * u * v +
                     drop.outline[2] * u * (uu - 3 * vv) + drop.outline[3] * v * (3 * uu - vv);
    const double bell = std::max(0.0, 1 - 0.25 * q);
    surface.height += bell * bell;
    surface.slope_x -= bell * u / lobe.radius_x;
    surface.slope_y -= bell * v / lobe.radius_y;
  }
  return surface;
}

// A smooth step across the outline, the distance to which is about height / slope.
double MaskAt(const Drop& drop, const Surface& surface) {
  const double steep = std::hypot(surface.slope_x, surface.slope_y);
  const double across = 0.5 + 0.5 * surface.height / (steep * drop.soft + 1e-4);
  const double t = std::clamp(across, 0.0, 1.0);
  return drop.opacity * (t * t * (3 - 2 * t));
}

// What is seen through the drop at (x, y) from its centre: the scene, displaced along the slope;
// sky in the lower half, since the picture stands on its head; a dark upper rim, where the light
// comes from below; the reflection of a light.
cv::Vec3f SeenAt(const Drop& drop, const Surface& surface, const Scene& scene, double x, double y) {
  const double edge = std::clamp(1 - surface.height / 0.4375, 0.0, 1.0);
  const double reach = drop.bend * drop.radius * drop.radius / std::sqrt(1 - drop.bulge * edge);
  cv::Vec3f seen = Look(scene, drop.level, drop.x + x + reach * surface.slope_x,
                        drop.y + y + reach * surface.slope_y);
  const double down = -surface.slope_y * drop.radius;
  const double sky = drop.sky * std::clamp(0.6 + 0.8 * down, 0.0, 1.0);
  const double shade = drop.gain * (1 - drop.rim * edge * edge * std::clamp(0.7 - down, 0.0, 1.0));
  const double dx = (x - drop.glint_x) / drop.radius, dy = (y - drop.glint_y) / drop.radius;
  const double glint = drop.glint * std::max(0.0, 1 - 12 * (dx * dx + dy * dy));
  seen = (seen * (1 - sky) + scene.sky_light * sky) * shade;
  return seen * (1 - glint) + cv::Vec3f::all(static_cast<float>(glint));
}

cv::Rect2d Bounds(const Drop& drop) {
  cv::Rect2d bounds;
  for (int i = 0; i < drop.lobe_count; ++i) {
    const Lobe& lobe = drop.lobes[static_cast<size_t>(i)];
    const double rx = 1.45 * lobe.radius_x + drop.soft, ry = 1.45 * lobe.radius_y + drop.soft;
    bounds |= cv::Rect2d(drop.x + lobe.x - rx, drop.y + lobe.y - ry, 2 * rx, 2 * ry);
  }
  return bounds;
}

void PaintDrop(const Drop& drop, const Scene& scene, cv::Mat3f& wet) {
  const cv::Rect2d bounds = Bounds(drop);
  const int left = std::max(0, cvFloor(bounds.x));
  const int right = std::min(wet.cols, cvCeil(bounds.x + bounds.width));
  const int bottom = std::min(wet.rows, cvCeil(bounds.y + bounds.height));
  for (int row = std::max(0, cvFloor(bounds.y)); row < bottom; ++row) {
    cv::Vec3f* pixels = wet[row];
    const double y = row - drop.y;
    for (int column = left; column < right; ++column) {
      const double x = column - drop.x;
      const Surface surface = SurfaceAt(drop, x, y);
      const double mask = MaskAt(drop, surface);
      if (mask < 0.004) continue;
      pixels[column] = pixels[column] * (1 - mask) + SeenAt(drop, surface, scene, x, y) * mask;
    }
  }
}

// --- Placing ------------------------------------------------------------------------------------

// Displaces no farther than the picture reaches, so that it is not mirrored again and again.
double BendWithin(const cv::Mat3f& picture, const DropLayer& layer, double radius) {
  const double reach = std::min(picture.rows, picture.cols) * std::sqrt(1 - layer.bulge);
  return std::min(layer.bend, std::max(1.5, 1.3 * reach / radius));
}

// Sets the blur of a drop whose radius is known: a spot smaller than its blur spreads and fades.
void Defocus(const DropLayer& layer, const Scene& scene, double radius, Drop& drop) {
  const double blur = layer.defocus_px;
  const double spread = std::hypot(radius, 1.2 * blur);
  drop.radius = spread;
  drop.soft = std::min(std::max(0.7, 1.8 * blur), 0.95 * spread);
  const double kept = 1 - std::exp(-0.5 * radius * radius / (blur * blur));
  drop.opacity *= kept;
  drop.rim *= kept;
  drop.glint *= radius / (radius + 2 * blur);
  const double shrunk = std::abs(drop.bend - 1) * 0.7;
  drop.level = LevelOfBlur(scene, std::max(shrunk, layer.content_blur_px));
}

void ShapeDrop(const DropLayer& layer, Drop& drop, Random& random) {
  const double tall = std::sqrt(std::max(0.8, layer.elongation + 0.1 * random.Normal()));
  const double radius = drop.radius;
  drop.lobe_count = random.Chance(layer.merged) ? (random.Chance(0.6) ? 2 : 3) : 1;
  for (int i = 0; i < drop.lobe_count; ++i) {
    const double size = i == 0 ? 1 : random.Uniform(0.4, 0.8);
    const double angle = random.Uniform(0, 2 * kPi);
    const double away = i == 0 ? 0 : radius * random.Uniform(0.8, 1.1);
    drop.lobes[static_cast<size_t>(i)] = {away * std::cos(angle), away * std::sin(angle) * tall,
                                          radius * size / tall, radius * size * tall};
  }
  // Chance, and a pear: less sin 3φ is a narrow top.
  for (double& term : drop.outline) term = layer.roughness * random.Uniform(-1, 1);
  if (layer.roughness > 0) drop.outline[3] -= 0.08 * random.Uniform();
}

Drop MakeDrop(const DropLayer& layer, const Scene& scene, double radius, Random& random) {
  Drop drop;
  drop.opacity = std::min(1.0, layer.opacity * random.Uniform(0.85, 1.1));
  drop.bend = BendWithin(scene.levels[0], layer, radius) * random.Uniform(0.8, 1.2);
  drop.bulge = layer.bulge;
  drop.gain = layer.gain * random.Uniform(0.9, 1.1);
  drop.rim = layer.rim;
  drop.sky = layer.sky * random.Uniform(0.4, 1);
  drop.glint = layer.glint * random.Uniform();
  Defocus(layer, scene, radius, drop);
  ShapeDrop(layer, drop, random);
  drop.glint_x = drop.radius * random.Uniform(-0.4, 0.4);
  drop.glint_y = drop.radius * random.Uniform(-0.5, 0.5);
  return drop;
}

double SampleRadius(const DropLayer& layer, Random& random) {
  const double radius = layer.radius_px * std::exp(layer.radius_spread * random.Normal());
  return std::clamp(radius, 1.0, kLargestRadius);
}

// The drops of a trail: beads, the higher the smaller, on a thin film.
std::vector<Drop> MakeTrail(const DropLayer& layer, const Scene& scene, const Drop& head,
                            Random& random) {
  std::vector<Drop> trail;
  const double length = head.radius * random.Uniform(3, 10);
  Drop film = MakeDrop(layer, scene, std::max(1.0, 0.4 * head.radius), random);
  film.lobe_count = 1;
  film.lobes[0] = {0, 0, 0.4 * head.radius, 0.5 * length};
  film.outline = {};
  film.x = head.x;
  film.y = head.y - 0.5 * length;
  film.bend = 0.5;
  film.opacity *= random.Uniform(0.3, 0.8);
  trail.push_back(film);
  double above = head.radius;
  while (above < length) {
    const double radius = head.radius * random.Uniform(0.1, 0.35) * (1 - 0.5 * above / length);
    Drop bead = MakeDrop(layer, scene, std::max(1.0, radius), random);
    bead.x = head.x + 0.15 * head.radius * random.Normal();
    bead.y = head.y - above;
    trail.push_back(bead);
    above += bead.radius * random.Uniform(2, 5);
  }
  return trail;
}

// Centres are a Poisson process over the picture and a margin from which a drop reaches into it.
void PaintLayer(const DropLayer& layer, const Scene& scene, cv::Mat3f& wet, Random& random) {
  const double largest =
      std::min(kLargestRadius, layer.radius_px * std::exp(3.5 * layer.radius_spread));
  const double margin = 2 * largest + 2 * layer.defocus_px;
  const double width = wet.cols + 2 * margin, height = wet.rows + 2 * margin;
  const double area = kPi * layer.radius_px * layer.radius_px *
                      std::exp(2 * layer.radius_spread * layer.radius_spread);
  const double expected = layer.coverage * width * height / area;
  for (double gaps = random.Exponential(); gaps < expected; gaps += random.Exponential()) {
    Drop drop = MakeDrop(layer, scene, SampleRadius(layer, random), random);
    drop.x = random.Uniform(-margin, width - margin);
    drop.y = random.Uniform(-margin, height - margin);
    if (drop.radius > 5 && random.Chance(layer.trails)) {
      for (const Drop& part : MakeTrail(layer, scene, drop, random)) PaintDrop(part, scene, wet);
    }
    PaintDrop(drop, scene, wet);
  }
}

void AddMist(const DropsParams& drops, const Scene& scene, cv::Mat3f& wet) {
  const size_t level = LevelOfBlur(scene, drops.mist_blur_px);
  const double share = drops.mist;
  for (int y = 0; y < wet.rows; ++y) {
    for (int x = 0; x < wet.cols; ++x) {
      const cv::Vec3f seen = Look(scene, level, x, y);
      wet(y, x) = wet(y, x) * (1 - share) + (seen * 0.8 + scene.sky_light * 0.2) * share;
    }
  }
}

}  // namespace

absl::StatusOr<RgbImage> AddDrops(const RgbImage& clean, const DropsParams& drops, uint64_t seed) {
  if (absl::Status status = Validate(clean); !status.ok()) return status;
  try {
    Random random(seed);
    const Scene scene = MakeScene(clean, drops);
    cv::Mat3f wet = scene.levels[0].clone();
    if (drops.mist > 0) AddMist(drops, scene, wet);
    for (const DropLayer& layer : drops.layers) PaintLayer(layer, scene, wet, random);
    RgbImage result = clean;
    std::transform(wet.ptr<float>(), wet.ptr<float>() + result.pixels.size(), result.pixels.begin(),
                   [](float v) { return std::clamp(v, 0.0f, 1.0f); });
    return result;
  } catch (const cv::Exception& error) {
    return absl::InternalError(absl::StrCat("cannot paint drops: ", error.what()));
  }
}

}  // namespace deweather
