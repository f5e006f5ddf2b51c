// Raindrops on the lens or on a window before it.
// A pure function of (picture, parameters, seed).
//
// Math     (1 - m) I + m R, m the drops' mask, R what is seen through them  [Qian et al. 2018]
// Units    lengths in pixels of the picture, brightness of white is 1
// Threads  thread-safe
// Errors   INVALID_ARGUMENT a picture without pixels; never throws
// Cost     O(pixels + area of all drops); about 1 ms for 128x128

#ifndef DEWEATHER_TRAINING_WEATHER_DROPS_H_
#define DEWEATHER_TRAINING_WEATHER_DROPS_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "training/weather/rgb_image.h"

namespace deweather {

// Drops of one kind. Each is a small lens of water, near a spherical cap but heavier at its bottom
// [Roser & Geiger 2009; Roser, Kurz & Geiger 2010]: it shows the scene upside down, far smaller and
// wider than the picture [Halimeh & Roser 2009], and out of focus [von Bernuth et al. 2018].
struct DropLayer {
  double coverage = 0.1;       // of the picture, were no drop to lie on another; [0.005, 0.4]
  double radius_px = 10;       // of a drop in the middle of the layer; [1.5, 60]
  double radius_spread = 0.4;  // of log(radius); [0.05, 0.7]
  double elongation = 1.1;     // height / width; [0.9, 1.8]
  double roughness = 0.1;      // of the outline; 0: ellipses; [0, 0.15]
  double merged = 0.2;         // share of drops that flowed together from two or three; [0, 0.6]
  double trails = 0;           // share of large drops that left beads and a film above; [0, 0.5]
  double defocus_px = 1;       // standard deviation of the blur of the mask; [0.4, 6]
  double content_blur_px = 1;  // the same of what is seen through the drop; [0.7, 8]
  double opacity = 0.9;        // [0.5, 1]
  // By how many distances from its centre a drop displaces what lies behind: below 0 it shrinks,
  // up to 1 it magnifies, at 2 it flips, above it flips and shrinks by bend - 1. [-3, 20]
  double bend = 6;
  double bulge = 0.8;  // how much the displacement grows towards the rim; 0: not at all; [0, 0.95]
  double gain = 1;     // brightness of what is seen through the drop; [0.7, 1.3]
  double rim = 0.3;    // darkening at the rim, mostly the upper one; [0, 0.7]
  double sky = 0.2;    // share of sky light, most of it in the lower half; [0, 0.75]
  double glint = 0;    // brightness of a highlight; [0, 0.7]
};

// All that is random about the drops of one picture, but for its single drops.
struct DropsParams {
  std::vector<DropLayer> layers;                        // 1 to 3
  std::array<double, 3> sky_light = {0.85, 0.9, 0.95};  // [0.5, 1]
  // Between the drops: the share of a blurred picture, itself a little brightened by sky light.
  double mist = 0;          // [0, 0.6]; 0 for most pictures
  double mist_blur_px = 2;  // [1, 4]
};

// Draws the drops of one picture: on a pane (sharp, or soft and pale), on the lens (large, soft), or
// the ellipses of simple generators.
DropsParams SampleDrops(uint64_t seed);

// Puts drops with those parameters on `clean`; `seed` places them.
absl::StatusOr<RgbImage> AddDrops(const RgbImage& clean, const DropsParams& drops, uint64_t seed);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_WEATHER_DROPS_H_
