#include "training/residual_survey.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "model/base/random_key.h"
#include "model/base/status_macros.h"
#include "model/image/image.h"
#include "training/dataset.h"
#include "training/report/json_text.h"
#include "training/tools.h"
#include "training/weather/random.h"

namespace deweather {
namespace {

using json = nlohmann::ordered_json;

struct Rect {
  int x = 0, y = 0, width = 0, height = 0;
};

Rect DrawRect(const Image& image, int side, Random& random) {
  Rect rect;
  rect.width = side > 0 ? std::min(side, image.width) : image.width;
  rect.height = side > 0 ? std::min(side, image.height) : image.height;
  rect.x = static_cast<int>(random.Below(image.width - rect.width + 1));
  rect.y = static_cast<int>(random.Below(image.height - rect.height + 1));
  return rect;
}

RgbImage Cut(const Image& image, const Rect& rect) {
  return Cut(ToRgb(image), rect.x, rect.y, rect.width, rect.height);
}

RgbImage Stored(RgbImage image) {
  for (float& value : image.pixels) {
    value = std::round(std::clamp(value, 0.0f, 1.0f) * 255.0f) / 255.0f;
  }
  return image;
}

using TakeSample = std::function<absl::StatusOr<ResidualStatistics>(Random& random)>;

absl::StatusOr<ResidualSummary> Survey(const SurveyOptions& options, const TakeSample& take) {
  if (options.count < 1 || options.crop_px < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d samples of %d px; wanted at least one, of 0 (whole pictures) or more",
                        options.count, options.crop_px));
  }
  std::vector<ResidualStatistics> samples;
  for (int i = 0; i < options.count; ++i) {
    Random random(RandomKey({options.seed, static_cast<uint64_t>(i), 0}));
    DW_ASSIGN_OR_RETURN(const ResidualStatistics sample, take(random));
    samples.push_back(sample);
  }
  return Summarize(samples);
}

template <typename T>
const T& Draw(const std::vector<T>& from, Random& random) {
  return from[static_cast<size_t>(random.Below(static_cast<int64_t>(from.size())))];
}

absl::StatusOr<ResidualStatistics> SamplePair(const PicturePair& pair, int crop_px,
                                              Random& random) {
  DW_ASSIGN_OR_RETURN(const Image input, DecodeFile(pair.input));
  DW_ASSIGN_OR_RETURN(const Image truth, DecodeFile(pair.truth));
  if (input.width != truth.width || input.height != truth.height) {
    return absl::InvalidArgumentError(absl::StrFormat("'%s' is %dx%d but '%s' is %dx%d", pair.input,
                                                      input.width, input.height, pair.truth,
                                                      truth.width, truth.height));
  }
  const Rect rect = DrawRect(truth, crop_px, random);
  return Measure(Cut(input, rect), Cut(truth, rect));
}

absl::StatusOr<ResidualStatistics> SampleWeather(const std::string& path, Weather weather,
                                                 int crop_px, Random& random) {
  DW_ASSIGN_OR_RETURN(const Image picture, DecodeFile(path));
  const RgbImage clean = Cut(picture, DrawRect(picture, crop_px, random));
  DW_ASSIGN_OR_RETURN(RgbImage with_weather, AddWeather(clean, weather, random.Bits()));
  return Measure(Stored(std::move(with_weather)), Stored(clean));
}

}  // namespace

absl::StatusOr<ResidualSummary> SurveyPairs(const std::string& pairs_dir,
                                            const SurveyOptions& options) {
  DW_ASSIGN_OR_RETURN(const std::vector<PicturePair> pairs,
                      ListPairs(pairs_dir + "/input", pairs_dir + "/gt"));
  return Survey(options, [&](Random& random) {
    return SamplePair(Draw(pairs, random), options.crop_px, random);
  });
}

absl::StatusOr<ResidualSummary> SurveyWeather(const std::string& clean_dir, Weather weather,
                                              const SurveyOptions& options) {
  DW_ASSIGN_OR_RETURN(const std::vector<std::string> paths, ListPictures(clean_dir));
  return Survey(options, [&](Random& random) {
    return SampleWeather(Draw(paths, random), weather, options.crop_px, random);
  });
}

std::string SurveyTable(const std::vector<ResidualSurvey>& surveys) {
  std::string table =
      absl::StrFormat("%-20s %6s %21s %6s %6s %6s %7s %6s %6s %18s\n", "", "crops", "mean R, G, B",
                      "dev", "p99", "skew", "visible", "corr x", "corr y", "PSNR 10/50/90 %");
  for (const auto& [name, summary] : surveys) {
    const ResidualStatistics& mean = summary.mean;
    const auto& psnr = summary.psnr_percentiles_db;
    table += absl::StrFormat(
        "%-20s %6d %+7.3f%+7.3f%+7.3f %6.3f %6.3f %6.2f %7.3f %6.1f %6.1f %6.1f%6.1f%6.1f\n", name,
        summary.pictures, mean.mean[0], mean.mean[1], mean.mean[2], mean.deviation, mean.p99,
        mean.skewness, mean.visible_share, mean.correlation_x_px, mean.correlation_y_px, psnr[0],
        psnr[1], psnr[2]);
  }
  return table;
}

std::string SurveyJson(const std::vector<ResidualSurvey>& surveys) {
  json all = json::array();
  for (const auto& [name, summary] : surveys) {
    const ResidualStatistics& mean = summary.mean;
    all.push_back({{"name", name},
                   {"pictures", summary.pictures},
                   {"mean", mean.mean},
                   {"deviation", mean.deviation},
                   {"p99", mean.p99},
                   {"skewness", mean.skewness},
                   {"visible_share", mean.visible_share},
                   {"correlation_x_px", mean.correlation_x_px},
                   {"correlation_y_px", mean.correlation_y_px},
                   {"psnr_db", mean.psnr_db},
                   {"psnr_percentiles_db", summary.psnr_percentiles_db}});
  }
  return JsonText({{"residuals", all}});
}

}  // namespace deweather
