// Statistics of what weather did to pictures: of pairs, and of clean pictures with weather put on,
// taken alike so that they can be held against each other.

#ifndef DEWEATHER_TRAINING_RESIDUAL_SURVEY_H_
#define DEWEATHER_TRAINING_RESIDUAL_SURVEY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "training/weather/residual.h"
#include "training/weather/weather.h"

namespace deweather {

// Sample i is a crop of a picture, both drawn with (seed, i). A picture smaller than the crop counts
// as a whole.
struct SurveyOptions {
  int count = 200;
  int crop_px = 256;  // side of the square; 0: whole pictures
  uint64_t seed = 0;
};

// What a row of the table is about.
struct ResidualSurvey {
  std::string name;
  ResidualSummary summary;
};

// `pairs_dir` holds input/ and gt/. INVALID_ARGUMENT a pair of different sizes, or bad options.
absl::StatusOr<ResidualSummary> SurveyPairs(const std::string& pairs_dir,
                                            const SurveyOptions& options);

// Weather on clean pictures, stored in 8 bits as a camera would. The weather of sample i is drawn with
// (seed, i) as well.
absl::StatusOr<ResidualSummary> SurveyWeather(const std::string& clean_dir, Weather weather,
                                              const SurveyOptions& options);

std::string SurveyTable(const std::vector<ResidualSurvey>& surveys);

// One line: {"residuals": [{"name", "pictures", ...}]}, figures named as in ResidualStatistics.
std::string SurveyJson(const std::vector<ResidualSurvey>& surveys);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_RESIDUAL_SURVEY_H_
