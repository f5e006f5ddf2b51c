// The picture that weather is put on.

#ifndef DEWEATHER_TRAINING_WEATHER_RGB_IMAGE_H_
#define DEWEATHER_TRAINING_WEATHER_RGB_IMAGE_H_

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace deweather {

// Float RGB picture: interleaved [height][width][3], values in [0,1].
struct RgbImage {
  int width = 0;
  int height = 0;
  std::vector<float> pixels;
};

// INVALID_ARGUMENT a picture without pixels, or with another number of values than its size says.
inline absl::Status Validate(const RgbImage& image) {
  const bool positive = image.width > 0 && image.height > 0;
  const size_t wanted =
      positive ? static_cast<size_t>(image.width) * static_cast<size_t>(image.height) * 3 : 0;
  if (positive && image.pixels.size() == wanted) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a picture of ", image.width, "x", image.height,
                                                 " with ", image.pixels.size(),
                                                 " values, wanted 3 per pixel"));
}

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_WEATHER_RGB_IMAGE_H_
