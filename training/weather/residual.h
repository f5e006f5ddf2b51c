// What weather does to pictures, in a few numbers: to hold synthetic weather against real.
//
// Math     residual r = (picture with weather) - (clean picture), per pixel the mean of R, G and B
//          unless said otherwise; autocorrelation ρ(l) = E[(r(x) - m)(r(x + l) - m)] / Var r,
//          m the mean over the picture
// Units    brightness: white is 1; lengths in px
// Threads  pure functions

#ifndef DEWEATHER_TRAINING_WEATHER_RESIDUAL_H_
#define DEWEATHER_TRAINING_WEATHER_RESIDUAL_H_

#include <array>
#include <vector>

#include "absl/status/statusor.h"
#include "training/weather/rgb_image.h"

namespace deweather {

inline constexpr float kVisibleResidual = 0.04f;  // ten grey levels

// Of one picture, or means over several.
struct ResidualStatistics {
  std::array<double, 3> mean = {};  // of R, G and B
  double deviation = 0;             // standard deviation
  double p99 = 0;                   // 99th percentile of |r|
  double skewness = 0;              // E[(r - m)³] / deviation³; 0 where the residual is flat
  double visible_share = 0;         // of the pixels: |r| over kVisibleResidual
  // The lag at which ρ has fallen to 1/e, along a row and down a column, interpolated between px; at
  // most half the side. 0 where the residual is flat.
  double correlation_x_px = 0;
  double correlation_y_px = 0;
  double psnr_db = 0;  // over the values of all channels, at most 100
};

// INVALID_ARGUMENT pictures of different sizes, or without pixels.
absl::StatusOr<ResidualStatistics> Measure(const RgbImage& with_weather, const RgbImage& clean);

struct ResidualSummary {
  int pictures = 0;
  ResidualStatistics mean = {};
  std::array<double, 3> psnr_percentiles_db = {};  // 10th, 50th and 90th over the pictures
};

// REQUIRES: at least one.
ResidualSummary Summarize(const std::vector<ResidualStatistics>& pictures);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_WEATHER_RESIDUAL_H_
