#include "training/uncertainty_survey.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "model/checkpoint.h"
#include "model/network.h"
#include "tests/model/tiny.h"
#include "tests/training/pictures.h"

namespace deweather {
namespace {

using nlohmann::json;
using testing::HasSubstr;

PatchFigures Planted(int patches, double offset) {
  PatchFigures figures;
  for (int i = 0; i < patches; ++i) {
    figures.error.push_back(offset + i);
    figures.uncertainty.push_back(offset + i);
    figures.gradient.push_back(i % 7);
    figures.change.push_back(i % 5);
  }
  return figures;
}

TEST(UncertaintySurveyTest, UncertaintyThatIsTheErrorIsPerfect) {
  const UncertaintySurvey survey = Summarize("set", {Planted(40, 1), Planted(60, 3)});
  EXPECT_EQ(survey.pictures, 2);
  EXPECT_EQ(survey.patches, 100);
  EXPECT_NEAR(survey.mean_uncertainty, (40 * 20.5 + 60 * 32.5) / 100, 1e-9);
  for (const Foresights& scope : {survey.pooled, survey.within}) {
    EXPECT_NEAR(scope.uncertainty.correlation.pearson, 1, 1e-9);
    EXPECT_NEAR(scope.uncertainty.correlation.spearman, 1, 1e-9);
    EXPECT_NEAR(scope.uncertainty.ause, 0, 1e-9);
    EXPECT_NEAR(scope.given_others.pearson, 1, 1e-9);
    EXPECT_GT(scope.gradient.ause, 0.5);
    EXPECT_GT(scope.change.ause, 0.5);
  }
  EXPECT_EQ(survey.uncertainty_curve, survey.oracle_curve);
}

// Each picture's own order is right, and the pictures' is not.
TEST(UncertaintySurveyTest, WithinAndPooledAreToldApart) {
  PatchFigures low = Planted(20, 0), high = Planted(20, 100);
  for (double& error : low.error) error += 1000;
  const UncertaintySurvey survey = Summarize("set", {low, high});
  EXPECT_NEAR(survey.within.uncertainty.correlation.pearson, 1, 1e-9);
  EXPECT_LT(survey.pooled.uncertainty.correlation.pearson, -0.9);
}

TEST(UncertaintySurveyTest, FlatMapHasNoAnswer) {
  PatchFigures flat = Planted(30, 1);
  flat.uncertainty.assign(30, 0.5);
  const UncertaintySurvey survey = Summarize("set", {flat});
  EXPECT_TRUE(std::isnan(survey.pooled.uncertainty.correlation.pearson));
  EXPECT_TRUE(std::isnan(survey.within.given_others.spearman));
  EXPECT_THAT(
      UncertaintyTable({survey}),
      HasSubstr("uncertainty                     -        -    1.000        -        -    1.000"
                "  - to -"));
  const json parsed = json::parse(UncertaintyJson({survey}));
  EXPECT_TRUE(parsed["uncertainty"][0]["pooled"]["uncertainty"]["pearson"].is_null());
  EXPECT_FALSE(parsed["uncertainty"][0]["pooled"]["gradient"]["pearson"].is_null());
  // A picture without an answer leaves the mean to the others.
  const UncertaintySurvey both = Summarize("set", {flat, Planted(30, 1)});
  EXPECT_NEAR(both.within.uncertainty.correlation.pearson, 1, 1e-9);
}

// One picture's uncertainty is its error, the other's the opposite.
TEST(UncertaintySurveyTest, FewPicturesMakeAWideInterval) {
  PatchFigures right = Planted(30, 1), wrong = right;
  for (double& uncertainty : wrong.uncertainty) uncertainty = -uncertainty;
  const UncertaintySurvey survey = Summarize("set", {right, wrong});
  EXPECT_NEAR(survey.within.uncertainty.correlation.spearman, 0, 1e-9);
  EXPECT_NEAR(survey.within_low.uncertainty.correlation.spearman, -1, 1e-9);
  EXPECT_NEAR(survey.within_high.uncertainty.correlation.spearman, 1, 1e-9);
  EXPECT_NEAR(survey.within_low.given_others.spearman, -1, 1e-9);
  const double gradient = survey.within.gradient.correlation.spearman;  // the same in both
  EXPECT_NEAR(survey.within_low.gradient.correlation.spearman, gradient, 1e-9);
  EXPECT_THAT(UncertaintyTable({survey}), HasSubstr("  -1.000 to 1.000\n"));
  const json within = json::parse(UncertaintyJson({survey}))["uncertainty"][0]["within_high"];
  EXPECT_NEAR(within["uncertainty"]["spearman"].get<double>(), 1, 1e-9);
  EXPECT_TRUE(within["change"].contains("ause"));
}

UncertaintySurveyOptions OnCpu() {
  UncertaintySurveyOptions options;
  options.load = {.device = "cpu", .precision = Precision::kF32};
  return options;
}

std::string Saved(const std::string& folder, const ModelConfig& config) {
  const std::string path = folder + "/model.safetensors";
  EXPECT_TRUE(SaveCheckpoint(path, config, InitialParameters(config, 1), {}).ok());
  return path;
}

// Truths that are the inputs; the network changes what it will.
std::string Pairs(int width = 70, int height = 50) {
  const std::string folder = NewFolder();
  WritePictures(folder + "/gt", 3, width, height);
  WritePictures(folder + "/input", 3, width, height);
  return folder;
}

TEST(UncertaintySurveyTest, EachPatchOfAPictureCountsOnce) {
  const std::string folder = Pairs(64, 40);
  ModelConfig config = TinyConfig();
  config.overlap_px = 0;  // tiles at x 0 and 32, y 0 and 8
  const auto surveys = SurveyUncertainty(Saved(folder, config), {{"set", folder}}, OnCpu());
  ASSERT_TRUE(surveys.ok()) << surveys.status();
  ASSERT_EQ(surveys->size(), 1);
  EXPECT_EQ(surveys->front().patches, 3 * 8 * 5);
  EXPECT_FALSE(std::isnan(surveys->front().pooled.uncertainty.correlation.pearson));
}

// What the network leaves as it is is wrong by what the input is: nothing but the planted corner.
TEST(UncertaintySurveyTest, ErrorIsAgainstTheTruth) {
  const std::string folder = Pairs(64, 40);
  Image marked = Picture(64, 40, 0);
  for (size_t i = 0; i < 24; ++i) marked.samples[i] = 255 - marked.samples[i];
  WritePicture(folder + "/input/0.png", marked);
  ModelConfig config = TinyConfig();
  config.residual = true;  // starts as the identity
  UncertaintySurveyOptions options = OnCpu();
  options.pictures = 1;
  const auto surveys = SurveyUncertainty(Saved(folder, config), {{"set", folder}}, options);
  ASSERT_TRUE(surveys.ok()) << surveys.status();
  double sum = 0;
  for (size_t i = 0; i < 24; ++i) {
    sum += std::pow((marked.samples[i] - Picture(64, 40, 0).samples[i]) / 255.0, 2);
  }
  const UncertaintySurvey& survey = surveys->front();
  EXPECT_EQ(survey.pictures, 1);
  EXPECT_NEAR(survey.oracle_curve[0],
              std::sqrt(sum / (64 * 3) / static_cast<double>(survey.patches)), 1e-6);
  EXPECT_NEAR(survey.oracle_curve[2], 0, 1e-6);
  EXPECT_GT(survey.pooled.gradient.correlation.pearson, 0.3);  // the corner's edge
}

// White truths: what a network adds to black inputs is its error, less in the same measure.
TEST(UncertaintySurveyTest, ChangeIsAgainstTheInput) {
  const std::string folder = Pairs(64, 40);
  for (const auto& [name, level] : {std::pair("/input/", 0), std::pair("/gt/", 255)}) {
    Image flat = Picture(64, 40, 0);
    std::fill(flat.samples.begin(), flat.samples.end(), static_cast<uint8_t>(level));
    WritePicture(folder + name + "0.png", flat);
  }
  UncertaintySurveyOptions options = OnCpu();
  options.pictures = 1;
  const auto surveys = SurveyUncertainty(Saved(folder, TinyConfig()), {{"set", folder}}, options);
  ASSERT_TRUE(surveys.ok()) << surveys.status();
  EXPECT_LT(surveys->front().pooled.change.correlation.pearson, -0.9);
  EXPECT_TRUE(std::isnan(surveys->front().pooled.gradient.correlation.pearson));
}

TEST(UncertaintySurveyTest, SetsAndAllOfThemTheSameEveryTime) {
  const std::string folder = Pairs(), model = Saved(folder, TinyConfig());
  const std::vector<PairSet> sets = {{"one", folder}, {"two", folder}};
  int calls = 0;
  UncertaintySurveyOptions options = OnCpu();
  options.progress = [&](int, int total) { calls += total; };
  const auto surveys = SurveyUncertainty(model, sets, options);
  ASSERT_TRUE(surveys.ok()) << surveys.status();
  EXPECT_EQ(calls, 36);
  ASSERT_EQ(surveys->size(), 3);
  EXPECT_EQ((*surveys)[2].set, "overall");
  EXPECT_EQ((*surveys)[2].pictures, 6);
  EXPECT_EQ((*surveys)[2].patches, 2 * (*surveys)[0].patches);
  EXPECT_EQ((*surveys)[0].uncertainty_curve, (*surveys)[1].uncertainty_curve);
  EXPECT_EQ(UncertaintyJson(*surveys), UncertaintyJson(*SurveyUncertainty(model, sets, OnCpu())));
  const std::vector<LinePlot> plots = SparsificationPlots(*surveys);
  ASSERT_EQ(plots.size(), 3);
  EXPECT_EQ(plots[0].lines.size(), 5);
  EXPECT_NEAR(plots[0].lines[0].values[0], 255 * (*surveys)[0].oracle_curve[0], 1e-9);
}

absl::Status Refusal(const std::string& model, const std::vector<PairSet>& sets,
                     const std::string& task = "") {
  UncertaintySurveyOptions options = OnCpu();
  options.task = task;
  options.progress = [](int, int) { ADD_FAILURE() << "a picture was restored first"; };
  return SurveyUncertainty(model, sets, options).status();
}

TEST(UncertaintySurveyTest, ModelsThatCannotBeSurveyed) {
  const std::string folder = Pairs();
  const std::string dense = Saved(folder, TinyConfig(ExpertKind::kDense));
  EXPECT_EQ(Refusal(dense, {{"set", folder}}).code(), absl::StatusCode::kFailedPrecondition);
  const std::string one_gate = Saved(folder, TinyConfig());
  EXPECT_THAT(Refusal(one_gate, {{"set", folder}}, "rain").ToString(),
              HasSubstr("INVALID_ARGUMENT: task 'rain' of models that have one gate"));
  ModelConfig config = TinyConfig();
  config.tasks = {"rain", "snow"};
  const std::string model = Saved(folder, config);
  EXPECT_THAT(Refusal(model, {{"snow", folder}, {"set", folder}}).ToString(),
              HasSubstr("set 'set', model 'tiny': unknown task 'set'; known: rain, snow"));
  EXPECT_TRUE(SurveyUncertainty(model, {{"snow", folder}}, OnCpu()).ok());
}

TEST(UncertaintySurveyTest, PairsThatCannotBeSurveyed) {
  const std::string folder = Pairs(), model = Saved(folder, TinyConfig());
  EXPECT_THAT(Refusal(model, {{"set", folder}, {"set", folder}}).ToString(),
              HasSubstr("INVALID_ARGUMENT: two sets are named 'set'"));
  WritePicture(folder + "/gt/2.png", Picture(50, 70, 2));
  EXPECT_THAT(Refusal(model, {{"set", folder}}).ToString(), HasSubstr("is 70x50 but"));
  for (const char* part : {"/gt/", "/input/"}) {
    WritePicture(folder + part + "2.png", Picture(70, 3, 2));
  }
  EXPECT_THAT(Refusal(model, {{"set", folder}}).ToString(),
              HasSubstr("2.png' is 70x3, smaller than a patch of"));
}

}  // namespace
}  // namespace deweather
