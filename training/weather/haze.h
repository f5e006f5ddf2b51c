// Haze: light of the scene is lost on its way, light of the air is added.
// A pure function of (picture, parameters, seed).
//
// Math     I = J t + A (1 - t), t = exp(-density d)       [Koschmieder 1924; Narasimhan & Nayar 2002]
//          A photograph says nothing sure about its depth d. The proxy is a sum of what usually holds:
//          a plane that recedes in some direction, mostly upwards; slow noise; and the colour
//          attenuation prior, by which what is bright and pale is far [Zhu, Mai & Shao 2015].
// Threads  thread-safe
// Errors   INVALID_ARGUMENT a picture without pixels; never throws
// Cost     O(pixels); about 1 ms for 128x128

#ifndef DEWEATHER_TRAINING_WEATHER_HAZE_H_
#define DEWEATHER_TRAINING_WEATHER_HAZE_H_

#include <array>
#include <cstdint>

#include "absl/status/statusor.h"
#include "training/weather/rgb_image.h"

namespace deweather {

// d = depth + relief (p plane + n noise + a prior - 1/2), at least 0; p + n + a = 1, each term in
// [0,1].
struct HazeParams {
  double density = 1;                           // per unit of depth; [0.25, 3]
  std::array<double, 3> air_light = {1, 1, 1};  // A; grey to a little blue or brown; [0.4, 1]
  double depth = 0.6;                           // of the middle of the scene; [0.3, 1]
  double relief = 0.5;                          // from the nearest to the farthest; [0.05, 1]
  double plane_deg = 0;   // where the plane recedes to, from upwards; [-180, 180]
  double plane = 0.4;     // share p of the plane; [0, 1]
  double noise = 0.2;     // share n of the noise; [0, 1]
  double noise_px = 100;  // from one bump to the next; [40, 300]
};

// Draws the haze of one picture, from thin to dense.
HazeParams SampleHaze(uint64_t seed);

// Puts that haze on `clean`; `seed` draws the noise.
absl::StatusOr<RgbImage> AddHaze(const RgbImage& clean, const HazeParams& haze, uint64_t seed);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_WEATHER_HAZE_H_
