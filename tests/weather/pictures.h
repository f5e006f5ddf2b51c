// Flat pictures, and what is measured of them.

#ifndef DEWEATHER_TESTS_WEATHER_PICTURES_H_
#define DEWEATHER_TESTS_WEATHER_PICTURES_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "training/weather/rgb_image.h"

namespace deweather {

inline RgbImage Grey(int width, int height, float value = 0.3f) {
  const size_t values = static_cast<size_t>(width) * static_cast<size_t>(height) * 3;
  return {.width = width, .height = height, .pixels = std::vector<float>(values, value)};
}

inline double Psnr(const RgbImage& a, const RgbImage& b) {
  double sum = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i) sum += std::pow(a.pixels[i] - b.pixels[i], 2);
  return -10 * std::log10(std::max(1e-10, sum / static_cast<double>(a.pixels.size())));
}

// The angle from the vertical along which the first channel changes least: the structure tensor's
// minor axis.
inline double StreakAngle(const RgbImage& image) {
  const auto at = [&](int x, int y) {
    return static_cast<double>(
        image.pixels[3 * (static_cast<size_t>(y) * static_cast<size_t>(image.width) +
                          static_cast<size_t>(x))]);
  };
  double xx = 0, xy = 0, yy = 0;
  for (int y = 1; y + 1 < image.height; ++y) {
    for (int x = 1; x + 1 < image.width; ++x) {
      const double dx = at(x + 1, y) - at(x - 1, y);
      const double dy = at(x, y + 1) - at(x, y - 1);
      xx += dx * dx;
      xy += dx * dy;
      yy += dy * dy;
    }
  }
  return 0.5 * std::atan2(-2 * xy, xx - yy) * 180 / 3.14159265358979;
}

}  // namespace deweather

#endif  // DEWEATHER_TESTS_WEATHER_PICTURES_H_
