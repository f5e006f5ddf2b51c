// Weather put on a clean picture, so that a network can be shown both.
// A pure function of (picture, weather, seed): no clock, no thread, no shared state.
//
// Units    lengths in pixels of the picture, never relative to its size, so that a crop of a rainy
//          picture and rain on a crop look alike; angles in degrees; brightness of white is 1
// Threads  thread-safe; one call computes on the calling thread only
// Errors   INVALID_ARGUMENT a picture without pixels or an unknown name; never throws
#ifndef DEWEATHER_TRAINING_WEATHER_WEATHER_H_
#define DEWEATHER_TRAINING_WEATHER_WEATHER_H_

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "training/weather/rgb_image.h"

namespace deweather {

enum class Weather {
  kRain,   // rain.h
  kDrops,  // drops.h
  kSnow,   // snow.h
  kHaze,   // haze.h
  kMixed,  // two of them, in the order in which light meets them: air, what falls, the lens
};

// All of them, in the order above.
inline constexpr Weather kWeathers[] = {Weather::kRain, Weather::kDrops, Weather::kSnow,
                                        Weather::kHaze, Weather::kMixed};

// The weather of that name, as configurations and command lines spell it: "rain", "drops", "snow",
// "haze", "mixed".
absl::StatusOr<Weather> ParseWeather(std::string_view name);
std::string_view Name(Weather weather);

// `clean` in that weather. Equal arguments give equal pixels.
absl::StatusOr<RgbImage> AddWeather(const RgbImage& clean, Weather weather, uint64_t seed);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_WEATHER_WEATHER_H_
