// Falling snow: layers of flakes at several depths, and a veil.
// A pure function of (picture, parameters, seed).
//
// Units    lengths in pixels of the picture, angles in degrees, brightness of white is 1
// Threads  thread-safe
// Errors   INVALID_ARGUMENT a picture without pixels; never throws
// Cost     O(pixels + area of all flakes); about 0.3 ms for 128x128

#ifndef DEWEATHER_TRAINING_WEATHER_SNOW_H_
#define DEWEATHER_TRAINING_WEATHER_SNOW_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "training/weather/rgb_image.h"

namespace deweather {

// Flakes at one distance from the camera: small, medium or large [Liu et al. 2018]. A flake is a
// disc with a soft edge, or a clump of such discs, drawn out along its way by the exposure; unlike
// a raindrop it tumbles, so that neighbours need not fall alike [Garg & Nayar 2006].
struct FlakeLayer {
  double angle_deg = 0;             // from the vertical, positive falls to the right; [-70, 70]
  double angle_spread_deg = 3;      // standard deviation between flakes of a layer; [0, 25]
  double flakes_per_kilopixel = 5;  // mean of the Poisson process of their centres; [0.005, 400]
  double diameter_px = 3;           // across, at half opacity, in the layer's middle; [0.6, 40]
  double length_px = 0;             // of the way during the exposure; [0, 25]
  double depth_spread = 0.3;        // of log(diameter) and of log(length); [0, 0.6]
  double softness = 0.5;            // of the edge; 0: a flat disc, 1: a bell
  double clumps = 0;                // the share of flakes that are clumps; [0, 1]
  double opacity = 0.7;             // of the middle of a flake; [0.1, 1]
  double opacity_spread = 0.3;      // of log(opacity); [0, 0.6]
};

// Snow as thresholded noise, magnified and blurred along one direction, by which many public sets
// are drawn [Hendrycks & Dietterich 2019].
struct NoiseLayer {
  double angle_deg = 0;  // as above
  double length_px = 8;  // of the motion blur; [1, 25]
  double zoom = 2;       // px from one random number to the next; [1, 5]
  double threshold = 1;  // in standard deviations: the larger, the fewer flakes; [0.8, 2.3]
  double contrast = 2;   // opacity gained for each standard deviation above it; [0.8, 4]
  double opacity = 0.7;  // at most, before the motion blur thins it; [0.3, 1]
};

// How the opacity Z of the flakes, of colour C, meets the picture J.
enum class SnowBlend {
  kOver,    // J (1 - Z) + C Z      [Liu et al. 2018]
  kScreen,  // J + C Z (1 - J)
  kAdd,     // J + C Z, clipped     [Hendrycks & Dietterich 2019]
};

// All that is random about the snow of one picture, but for its single flakes.
struct SnowParams {
  // Nearest, so largest, first; 0 to 7. At least one layer of either kind.
  std::vector<FlakeLayer> flakes;
  std::vector<NoiseLayer> noises;  // 0 or 1
  SnowBlend blend = SnowBlend::kOver;
  std::array<double, 3> tint = {1, 1, 1};  // colour of the flakes; [0.75, 1]
  // Snow too far to be seen as flakes: T I + (1 - T) A with 1 - T = veil, A = air_light
  // [Chen et al. 2020, 2021]. The veil is thicker here than there by up to veil_variation of itself.
  double veil = 0;            // [0, 0.3]; 0 for more than half of the pictures
  double veil_variation = 0;  // [0, 0.8]
  double air_light = 0.8;     // [0.7, 0.95]
};

// Draws the snow of one picture, from a few specks to a blizzard.
SnowParams SampleSnow(uint64_t seed);

// Puts snow with those parameters on `clean`; `seed` places the flakes.
absl::StatusOr<RgbImage> AddSnow(const RgbImage& clean, const SnowParams& snow, uint64_t seed);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_WEATHER_SNOW_H_
