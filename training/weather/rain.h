// Rain: layers of streaks and of grain, and a veil.
// A pure function of (picture, parameters, seed).
//
// Units    lengths in pixels of the picture, angles in degrees, brightness of white is 1
// Threads  thread-safe
// Errors   INVALID_ARGUMENT a picture without pixels; never throws
// Cost     O(pixels + area of all streaks); about 1 ms for 128x128

#ifndef DEWEATHER_TRAINING_WEATHER_RAIN_H_
#define DEWEATHER_TRAINING_WEATHER_RAIN_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "training/weather/rgb_image.h"

namespace deweather {

// Streaks that fall at one distance from the camera. A drop that falls during the exposure paints
// a thin, semi-transparent line whose length, width and brightness shrink with its distance and
// whose brightness varies along it [Garg & Nayar 2006].
struct StreakLayer {
  double angle_deg = 0;              // from the vertical, positive falls to the right; [-60, 60]
  double angle_spread_deg = 1;       // standard deviation between streaks of a layer; [0, 12]
  double streaks_per_kilopixel = 5;  // mean of the Poisson process of their centres; [0.1, 50]
  double length_px = 30;             // of a streak in the middle of the layer; [8, 110]
  double width_px = 1.5;             // full width at half brightness; [1.1, 6]
  double depth_spread = 0.3;         // of log(length), half of it of log(width); [0.1, 0.6]
  double brightness = 0.3;           // at the brightest point of a streak; [0.03, 0.6]
  double brightness_spread = 0.4;    // of log(brightness); [0.1, 0.8]
  double taper = 0.8;                // 0: equally bright along its length; 1: fades to both ends
  double peak = 0;                   // where along it a streak is brightest; -1 top, 1 bottom
};

// Rain too dense to tell its streaks apart: noise, blurred along one direction, then stretched in
// contrast, the recipe by which most published synthetic rain was drawn [Luo et al. 2015; Yang et
// al. 2017].
struct GrainLayer {
  double angle_deg = 0;     // as above
  double length_px = 30;    // of the motion blur; [8, 60]
  double grain_px = 1;      // standard deviation across the streaks; [0.5, 1.6]
  double threshold = 1;     // in standard deviations: the larger, the fewer streaks; [0.2, 2]
  double brightness = 0.3;  // of a grain three standard deviations above the mean; [0.05, 0.6]
};

// How the light R of the streaks meets the picture I.
enum class RainBlend {
  kAdd,     // I + R, clipped              [Yang et al. 2017]
  kScreen,  // I + R (1 - I)               [Luo et al. 2015]
  kMix,     // I + R (L - I), L the drops' own light  [Garg & Nayar 2006]
};

// All that is random about the rain of one picture, but for its single streaks.
struct RainParams {
  std::vector<StreakLayer> streaks;  // nearest first, 0 to 3
  std::vector<GrainLayer> grains;    // 0 or 1; at least one layer of either kind
  RainBlend blend = RainBlend::kAdd;
  std::array<double, 3> tint = {1, 1, 1};  // colour of the streaks; near grey
  // Far rain is seen as mist: T (I + R) + (1 - T) A with 1 - T = veil, A = air_light
  // [Li, Cheong & Tan 2019].
  double veil = 0;         // [0, 0.35]; 0 for most pictures
  double air_light = 0.8;  // [0.6, 0.95]
};

// Draws the rain of one picture, from a few faint streaks to a downpour. About three in four are
// light: one or two layers, no veil.
RainParams SampleRain(uint64_t seed);

// Puts rain with those parameters on `clean`; `seed` places the streaks.
absl::StatusOr<RgbImage> AddRain(const RgbImage& clean, const RainParams& rain, uint64_t seed);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_WEATHER_RAIN_H_
