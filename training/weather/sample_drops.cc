#include <algorithm>
#include <cstdint>

#include "training/weather/drops.h"
#include "training/weather/random.h"

namespace deweather {
namespace {

// What is common to all kinds; about half of all drops have neither rim nor glint.
DropLayer SampleLayer(Random& random) {
  DropLayer layer;
  layer.coverage = random.LogUniform(0.03, 0.4);
  layer.radius_spread = random.Uniform(0.1, 0.6);
  layer.elongation = random.Uniform(0.95, 1.5);
  layer.roughness = random.Uniform(0, 0.15);
  layer.merged = random.Uniform(0, 0.6);
  layer.trails = random.Chance(0.3) ? random.Uniform(0, 0.5) : 0;
  layer.opacity = random.Uniform(0.7, 1);
  layer.bulge = random.Uniform(0, 0.95);
  layer.gain = random.Uniform(0.75, 1.25);
  layer.rim = random.Chance(0.6) ? random.Uniform(0, 0.7) : 0;
  layer.sky = random.Chance(0.7) ? random.Uniform(0, 0.6) : 0;
  layer.glint = random.Chance(0.35) ? random.Uniform(0.1, 0.7) : 0;
  return layer;
}

// On a pane some way before the lens: rather sharp.
DropLayer SamplePane(Random& random) {
  DropLayer layer = SampleLayer(random);
  layer.radius_px = random.LogUniform(3, 45);
  layer.defocus_px = random.LogUniform(0.5, 3);
  layer.content_blur_px = random.LogUniform(0.7, 4);
  layer.bend = random.LogUniform(2.5, 20);
  return layer;
}

// A pane sprayed with water, the camera focused far behind it: soft and pale, since each drop sees
// much of the sky.
DropLayer SampleSpray(Random& random) {
  DropLayer layer = SampleLayer(random);
  layer.radius_px = random.LogUniform(4, 25);
  layer.defocus_px = random.LogUniform(1, 4);
  layer.content_blur_px = random.LogUniform(2, 8);
  layer.bend = random.LogUniform(3, 15);
  layer.coverage = random.LogUniform(0.08, 0.4);
  layer.gain = random.Uniform(0.9, 1.3);
  layer.sky = random.Uniform(0.25, 0.75);
  layer.rim *= 0.6;
  layer.glint *= 0.6;
  return layer;
}

// On the lens itself or close to it: large, soft, and little of the scene to be told apart.
DropLayer SampleLens(Random& random) {
  DropLayer layer = SampleLayer(random);
  layer.radius_px = random.LogUniform(8, 60);
  layer.defocus_px = random.LogUniform(1.5, 6);
  layer.content_blur_px = random.LogUniform(2.5, 8);
  layer.bend = random.Chance(0.4) ? random.Uniform(0.2, 1.2) : random.LogUniform(1.5, 15);
  layer.opacity = random.Uniform(0.5, 1);
  layer.rim *= 0.5;
  return layer;
}

// As simple generators draw them: a soft ellipse that holds the blurred picture, mostly flipped.
DropLayer SampleEllipses(Random& random) {
  DropLayer layer = SampleLayer(random);
  layer.radius_px = random.LogUniform(4, 50);
  layer.elongation = random.Uniform(0.9, 1.8);
  layer.roughness = layer.merged = layer.trails = layer.bulge = 0;
  layer.defocus_px = random.LogUniform(0.4, 5);
  layer.content_blur_px = random.LogUniform(0.7, 6);
  layer.bend = random.Chance(0.25) ? random.Uniform(-3, 0.8) : random.Uniform(1.5, 4);
  layer.gain = random.Uniform(0.7, 1.3);
  if (random.Chance(0.6)) layer.rim = layer.sky = 0;
  return layer;
}

DropLayer SampleKind(Random& random) {
  const double u = random.Uniform();
  if (u < 0.3) return SamplePane(random);
  if (u < 0.6) return SampleSpray(random);
  return u < 0.8 ? SampleLens(random) : SampleEllipses(random);
}

// Droplets amid the drops of another layer.
DropLayer SampleDroplets(const DropLayer& drops, Random& random) {
  DropLayer layer = drops;
  layer.radius_px = std::max(1.5, drops.radius_px * random.Uniform(0.15, 0.5));
  layer.coverage = std::clamp(drops.coverage * random.LogUniform(0.15, 0.8), 0.005, 0.4);
  layer.trails = 0;
  return layer;
}

}  // namespace

DropsParams SampleDrops(uint64_t seed) {
  Random random(seed);
  DropsParams drops;
  const DropLayer layer = SampleKind(random);
  drops.layers.push_back(layer);
  if (random.Chance(0.5)) drops.layers.push_back(SampleDroplets(layer, random));
  if (random.Chance(0.15)) {
    drops.layers.push_back(SampleKind(random));
    drops.layers.back().coverage = random.LogUniform(0.01, 0.1);
  }
  const double bright = random.Uniform(0.65, 1);
  drops.sky_light = {bright * random.Uniform(0.85, 1), bright * random.Uniform(0.92, 1), bright};
  if (random.Chance(0.1)) drops.mist = random.Uniform(0.05, 0.6);
  drops.mist_blur_px = random.Uniform(1, 4);
  return drops;
}

}  // namespace deweather
