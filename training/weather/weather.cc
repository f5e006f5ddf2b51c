#include "training/weather/weather.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "opencv2/core/utility.hpp"
#include "training/weather/drops.h"
#include "training/weather/haze.h"
#include "training/weather/rain.h"
#include "training/weather/random.h"
#include "training/weather/snow.h"

namespace deweather {
namespace {

// Two streams of one seed: what weather it is, and where its streaks, flakes and drops are.
uint64_t PlacesSeed(uint64_t seed) { return seed ^ 0x5851f42d4c957f2dULL; }

absl::StatusOr<RgbImage> AddMixed(const RgbImage& clean, uint64_t seed) {
  constexpr Weather kBoth[][2] = {{Weather::kHaze, Weather::kRain},
                                  {Weather::kHaze, Weather::kSnow},
                                  {Weather::kRain, Weather::kDrops},
                                  {Weather::kHaze, Weather::kDrops}};
  Random random(seed);
  const auto& both = kBoth[random.Below(std::size(kBoth))];
  absl::StatusOr<RgbImage> picture = AddWeather(clean, both[0], random.Bits());
  if (!picture.ok()) return picture;
  return AddWeather(*picture, both[1], random.Bits());
}

}  // namespace

std::string_view Name(Weather weather) {
  switch (weather) {
    case Weather::kRain:
      return "rain";
    case Weather::kDrops:
      return "drops";
    case Weather::kSnow:
      return "snow";
    case Weather::kHaze:
      return "haze";
    case Weather::kMixed:
      return "mixed";
  }
  return "";
}

absl::StatusOr<Weather> ParseWeather(std::string_view name) {
  std::string known;
  for (const Weather weather : kWeathers) {
    if (name == Name(weather)) return weather;
    absl::StrAppend(&known, known.empty() ? "" : ", ", std::string(Name(weather)));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown weather \"", std::string(name), "\", known: ", known));
}

absl::StatusOr<RgbImage> AddWeather(const RgbImage& clean, Weather weather, uint64_t seed) {
  // OpenCV's own threads would only get in the way of the loader's and Torch's.
  [[maybe_unused]] static const bool single = (cv::setNumThreads(1), true);
  switch (weather) {
    case Weather::kRain:
      return AddRain(clean, SampleRain(seed), PlacesSeed(seed));
    case Weather::kDrops:
      return AddDrops(clean, SampleDrops(seed), PlacesSeed(seed));
    case Weather::kSnow:
      return AddSnow(clean, SampleSnow(seed), PlacesSeed(seed));
    case Weather::kHaze:
      return AddHaze(clean, SampleHaze(seed), PlacesSeed(seed));
    case Weather::kMixed:
      return AddMixed(clean, seed);
  }
  return absl::InvalidArgumentError("unknown weather");
}

}  // namespace deweather
