#include "training/weather/residual.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

constexpr double kFlat = 1e-6;  // a deviation below it is rounding
constexpr double kIdenticalDb = 100;

// A residual of one value per pixel, less its mean.
struct Centred {
  int width = 0;
  int height = 0;
  std::vector<double> values;
  double mean = 0;
  double variance = 0;

  double at(int x, int y) const {
    return values[static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x)];
  }
};

// Between the values next to it in order, as numpy's default does. `values` is put in order.
double Percentile(std::vector<double>& values, double percent) {
  std::sort(values.begin(), values.end());
  const double at = percent / 100 * static_cast<double>(values.size() - 1);
  const size_t below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (at - static_cast<double>(below)) * (values[above] - values[below]);
}

// E[(r - m)^power]
double Moment(const Centred& residual, int power) {
  double sum = 0;
  for (const double value : residual.values) sum += std::pow(value, power);
  return sum / static_cast<double>(residual.values.size());
}

Centred Centre(const RgbImage& with_weather, const RgbImage& clean) {
  Centred residual{clean.width, clean.height, std::vector<double>(clean.pixels.size() / 3), 0, 0};
  for (size_t i = 0; i < clean.pixels.size(); ++i) {
    residual.values[i / 3] += (with_weather.pixels[i] - clean.pixels[i]) / 3.0;
  }
  for (const double value : residual.values) residual.mean += value;
  residual.mean /= static_cast<double>(residual.values.size());
  for (double& value : residual.values) value -= residual.mean;
  residual.variance = Moment(residual, 2);
  return residual;
}

// ρ at a lag of (dx, dy), over the pairs of pixels inside the picture.
double Correlation(const Centred& residual, int dx, int dy) {
  double sum = 0;
  for (int y = 0; y + dy < residual.height; ++y) {
    for (int x = 0; x + dx < residual.width; ++x) {
      sum += residual.at(x, y) * residual.at(x + dx, y + dy);
    }
  }
  const double pairs = static_cast<double>(residual.width - dx) * (residual.height - dy);
  return sum / pairs / residual.variance;
}

double CorrelationLength(const Centred& residual, int step_x, int step_y) {
  const double level = std::exp(-1.0);
  const int side = step_x * residual.width + step_y * residual.height;
  double before = 1;
  for (int lag = 1; lag <= side / 2; ++lag) {
    const double now = Correlation(residual, lag * step_x, lag * step_y);
    if (now <= level) return lag - 1 + (before - level) / (before - now);
    before = now;
  }
  return side / 2;
}

double PsnrDb(const RgbImage& a, const RgbImage& b) {
  double squares = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i) squares += std::pow(a.pixels[i] - b.pixels[i], 2);
  if (squares <= 0) return kIdenticalDb;
  return std::min(kIdenticalDb, -10 * std::log10(squares / static_cast<double>(a.pixels.size())));
}

std::array<double, 3> ChannelMeans(const RgbImage& with_weather, const RgbImage& clean) {
  std::array<double, 3> means = {};
  for (size_t i = 0; i < clean.pixels.size(); ++i) {
    means[i % 3] += with_weather.pixels[i] - clean.pixels[i];
  }
  for (double& mean : means) mean /= static_cast<double>(clean.pixels.size() / 3);
  return means;
}

std::vector<double> Absolute(const Centred& residual) {
  std::vector<double> sizes;
  sizes.reserve(residual.values.size());
  for (const double value : residual.values) sizes.push_back(std::abs(value + residual.mean));
  return sizes;
}

double ShareOver(const std::vector<double>& values, double limit) {
  const auto over =
      std::count_if(values.begin(), values.end(), [&](double v) { return v > limit; });
  return static_cast<double>(over) / static_cast<double>(values.size());
}

}  // namespace

absl::StatusOr<ResidualStatistics> Measure(const RgbImage& with_weather, const RgbImage& clean) {
  DW_RETURN_IF_ERROR(Validate(with_weather));
  DW_RETURN_IF_ERROR(Validate(clean));
  if (with_weather.width != clean.width || with_weather.height != clean.height) {
    return absl::InvalidArgumentError(absl::StrCat("pictures of ", with_weather.width, "x",
                                                   with_weather.height, " and ", clean.width, "x",
                                                   clean.height, " pixels have no residual"));
  }
  const Centred residual = Centre(with_weather, clean);
  std::vector<double> sizes = Absolute(residual);
  ResidualStatistics statistics;
  statistics.mean = ChannelMeans(with_weather, clean);
  statistics.deviation = std::sqrt(residual.variance);
  statistics.p99 = Percentile(sizes, 99);
  statistics.visible_share = ShareOver(sizes, kVisibleResidual);
  statistics.psnr_db = PsnrDb(with_weather, clean);
  if (statistics.deviation < kFlat) return statistics;
  statistics.skewness = Moment(residual, 3) / std::pow(statistics.deviation, 3);
  statistics.correlation_x_px = CorrelationLength(residual, 1, 0);
  statistics.correlation_y_px = CorrelationLength(residual, 0, 1);
  return statistics;
}

ResidualSummary Summarize(const std::vector<ResidualStatistics>& pictures) {
  ResidualSummary summary{.pictures = static_cast<int>(pictures.size())};
  const double share = 1.0 / static_cast<double>(pictures.size());
  std::vector<double> psnr;
  for (const ResidualStatistics& one : pictures) {
    for (size_t c = 0; c < 3; ++c) summary.mean.mean[c] += share * one.mean[c];
    for (double ResidualStatistics::*figure :
         {&ResidualStatistics::deviation, &ResidualStatistics::p99, &ResidualStatistics::skewness,
          &ResidualStatistics::visible_share, &ResidualStatistics::correlation_x_px,
          &ResidualStatistics::correlation_y_px, &ResidualStatistics::psnr_db}) {
      summary.mean.*figure += share * one.*figure;
    }
    psnr.push_back(one.psnr_db);
  }
  summary.psnr_percentiles_db = {Percentile(psnr, 10), Percentile(psnr, 50), Percentile(psnr, 90)};
  return summary;
}

}  // namespace deweather
