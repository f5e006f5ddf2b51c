// Raindrops on the lens or on a window before it.
// A pure function of (picture, parameters, seed).
//
// Units    lengths in pixels of the picture, brightness of white is 1
// Threads  thread-safe
// Errors   INVALID_ARGUMENT a picture without pixels; never throws

#ifndef DEWEATHER_TRAINING_WEATHER_DROPS_H_
#define DEWEATHER_TRAINING_WEATHER_DROPS_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "training/weather/rgb_image.h"

namespace deweather {

struct DropsParams {
};

// Draws what is random about one picture.
DropsParams SampleDrops(uint64_t seed);

// `seed` places it.
absl::StatusOr<RgbImage> AddDrops(const RgbImage& clean, const DropsParams& drops, uint64_t seed);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_WEATHER_DROPS_H_
