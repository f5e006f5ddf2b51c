#include "training/residual_survey.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/training/pictures.h"

namespace deweather {
namespace {

using testing::HasSubstr;

// Inputs that are `step` grey levels brighter than their truths.
std::string BrighterPairs(int step) {
  const std::string folder = NewFolder();
  WritePictures(folder + "/gt", 3, 70, 50);
  for (int i = 0; i < 3; ++i) {
    Image bright = Picture(70, 50, i);
    for (uint8_t& sample : bright.samples) sample = static_cast<uint8_t>(sample + step);
    WritePicture(folder + "/input/" + std::to_string(i) + ".png", bright);
  }
  return folder;
}

TEST(ResidualSurveyTest, PairsOfAKnownDifference) {
  const auto summary = SurveyPairs(BrighterPairs(15), {.count = 5, .crop_px = 32});
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->pictures, 5);
  EXPECT_NEAR(summary->mean.mean[0], 15 / 255.0, 1e-6);
  EXPECT_NEAR(summary->mean.deviation, 0, 1e-6);
  EXPECT_NEAR(summary->mean.visible_share, 1, 1e-9);
  EXPECT_NEAR(summary->psnr_percentiles_db[1], 20 * std::log10(17), 1e-3);
}

TEST(ResidualSurveyTest, WeatherIsAFunctionOfTheSeed) {
  const std::string folder = NewFolder();
  WritePictures(folder, 2, 96, 80);
  const auto survey = [&](uint64_t seed) {
    const auto summary =
        SurveyWeather(folder, Weather::kRain, {.count = 4, .crop_px = 64, .seed = seed});
    EXPECT_TRUE(summary.ok()) << summary.status();
    return summary.value_or(ResidualSummary{});
  };
  const ResidualSummary first = survey(1);
  EXPECT_GT(first.mean.deviation, 0.001);
  EXPECT_LT(first.mean.psnr_db, 60);
  EXPECT_EQ(first.mean.psnr_db, survey(1).mean.psnr_db);
  EXPECT_NE(first.mean.psnr_db, survey(2).mean.psnr_db);
}

// A crop larger than the picture, and whole pictures, are the same.
TEST(ResidualSurveyTest, SmallPicturesCountAsAWhole) {
  const std::string pairs = BrighterPairs(5);
  const auto large = SurveyPairs(pairs, {.count = 3, .crop_px = 500});
  const auto whole = SurveyPairs(pairs, {.count = 3, .crop_px = 0});
  ASSERT_TRUE(large.ok() && whole.ok());
  EXPECT_EQ(large->mean.psnr_db, whole->mean.psnr_db);
}

TEST(ResidualSurveyTest, BadPairsAndOptions) {
  const std::string pairs = BrighterPairs(5);
  EXPECT_EQ(SurveyPairs(pairs, {.count = 0}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SurveyPairs(pairs, {.crop_px = -1}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SurveyWeather(pairs + "/no", Weather::kRain, {}).status().code(),
            absl::StatusCode::kNotFound);
  for (int i = 0; i < 3; ++i) {
    WritePicture(pairs + "/gt/" + std::to_string(i) + ".png", Picture(70, 51, i));
  }
  const absl::Status status = SurveyPairs(pairs, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("is 70x50 but"));
}

TEST(ResidualSurveyTest, TableAndJson) {
  ResidualSummary summary{.pictures = 7};
  summary.mean.mean = {0.1, -0.2, 0.3};
  summary.mean.correlation_y_px = 12.5;
  summary.psnr_percentiles_db = {15, 20, 25};
  const std::string table = SurveyTable({{"pairs snow", summary}});
  EXPECT_THAT(table, HasSubstr("pairs snow                7  +0.100 -0.200 +0.300"));
  EXPECT_THAT(table, HasSubstr("12.5   15.0  20.0  25.0\n"));
  const auto parsed = nlohmann::json::parse(SurveyJson({{"pairs snow", summary}}));
  EXPECT_EQ(parsed["residuals"][0]["name"], "pairs snow");
  EXPECT_EQ(parsed["residuals"][0]["pictures"], 7);
  EXPECT_EQ(parsed["residuals"][0]["mean"][1], -0.2);
  EXPECT_EQ(parsed["residuals"][0]["psnr_percentiles_db"][2], 25);
}

}  // namespace
}  // namespace deweather
