#include "training/evaluation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

namespace deweather {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

Quality Of(double db) { return {.psnr_rgb = db, .psnr_y = db + 1, .ssim_rgb = 0.5, .ssim_y = 0.6}; }

// Pictures a, b, c, ... from what they were and what became of them, in dB.
Evaluation Found(const std::string& set, const std::string& model,
                 const std::vector<std::pair<double, double>>& pictures) {
  Evaluation evaluation{.set = {set, "pairs/" + set}, .model = model, .version = "v1"};
  std::vector<Quality> inputs, restored;
  for (const auto& [before, after] : pictures) {
    const char letter = static_cast<char>('a' + evaluation.pictures.size());
    evaluation.pictures.push_back({std::string(1, letter), Of(before), Of(after)});
    inputs.push_back(Of(before));
    restored.push_back(Of(after));
  }
  evaluation.input = Mean(inputs);
  evaluation.restored = Mean(restored);
  return evaluation;
}

TEST(EvaluationTest, SetsAreNamedByTheirFolderOrExplicitly) {
  const auto name = [](const std::string& text) { return ParsePairSet(text)->name; };
  const auto dir = [](const std::string& text) { return ParsePairSet(text)->dir; };
  EXPECT_EQ(name("data/snow"), "snow");
  EXPECT_EQ(dir("data/snow"), "data/snow");
  EXPECT_EQ(name("data/snow/"), "snow");
  EXPECT_EQ(name("data/snow/../haze"), "haze");
  EXPECT_EQ(name("."), std::filesystem::current_path().filename());
  EXPECT_EQ(name("mine=data/snow=deep"), "mine");
  EXPECT_EQ(dir("mine=data/snow=deep"), "data/snow=deep");
  EXPECT_EQ(name("data/a=b"), "a=b");
  EXPECT_EQ(dir("./a=b"), "./a=b");
  for (const char* text : {"=data", "a b=data", ".x=data", "", "x=", "="}) {
    EXPECT_EQ(ParsePairSet(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(EvaluationTest, NoTwoSetsOfOneName) {
  EXPECT_TRUE(CheckNames({{"a", "x"}, {"b", "x"}}).ok());
  const absl::Status twice = CheckNames({{"a", "x"}, {"b", "x"}, {"a", "y"}});
  EXPECT_EQ(twice.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(twice.message(), "two sets are named 'a'; name them with NAME=DIR");
}

TEST(EvaluationTest, OverallWeighsSetsAlike) {
  const std::vector<Evaluation> overall =
      Overall({Found("rain", "small", {{20, 30}, {20, 32}, {20, 34}}),
               Found("rain", "large", {{20, 33}, {20, 33}, {20, 33}}),
               Found("haze", "small", {{10, 20}}), Found("haze", "large", {{10, 25}})});
  ASSERT_EQ(overall.size(), 2);
  EXPECT_EQ(overall[0].model, "small");
  EXPECT_EQ(overall[0].set.name, "overall");
  EXPECT_EQ(overall[0].pictures.size(), 4);
  EXPECT_DOUBLE_EQ(overall[0].input.psnr_rgb, 15);
  EXPECT_DOUBLE_EQ(overall[0].restored.psnr_rgb, 26);  // of pictures it would be 29
  EXPECT_DOUBLE_EQ(overall[0].restored.psnr_y, 27);
  EXPECT_DOUBLE_EQ(overall[0].restored.ssim_rgb, 0.5);
  EXPECT_DOUBLE_EQ(overall[0].restored.ssim_y, 0.6);
  EXPECT_DOUBLE_EQ(overall[1].restored.psnr_rgb, 29);
}

TEST(EvaluationTest, WorstIsWhereLeastWasGained) {
  // a gains 1, b loses 1, c gains 5, d gains 1 and ends lower than a.
  const Evaluation evaluation = Found("s", "m", {{30, 31}, {35, 34}, {10, 15}, {20, 21}});
  EXPECT_THAT(WorstFirst(evaluation.pictures), ElementsAre(1, 3, 0, 2));
}

std::vector<std::string> Picks(const std::vector<Evaluation>& of_one_set, int worst) {
  std::vector<std::string> picks;
  for (const PickedPicture& picked : PickPictures(of_one_set, worst)) {
    picks.push_back(of_one_set[0].pictures[picked.index].name + " " + picked.rank);
  }
  return picks;
}

TEST(EvaluationTest, PicksTheWorstTheMedianAndTheBest) {
  const Evaluation seven =
      Found("s", "m", {{0, 7}, {0, 1}, {0, 3}, {0, 2}, {0, 4}, {0, 6}, {0, 5}});
  EXPECT_THAT(Picks({seven}, 2), ElementsAre("b worst 1", "d worst 2", "e median", "a best"));
  EXPECT_THAT(Picks({seven}, 6), ElementsAre("b worst 1", "d worst 2", "c worst 3", "e worst 4",
                                             "g worst 5", "f worst 6", "a best"));
  EXPECT_EQ(Picks({seven}, 99).size(), 7);
  EXPECT_THAT(Picks({Found("s", "m", {{0, 1}})}, 1), ElementsAre("a worst 1"));
  EXPECT_THAT(Picks({Found("s", "m", {{0, 1}, {0, 2}})}, 1), ElementsAre("a worst 1", "b best"));
  // Of two models the mean counts.
  EXPECT_THAT(Picks({Found("s", "m", {{0, 1}, {0, 2}}), Found("s", "n", {{0, 9}, {0, 2}})}, 1),
              ElementsAre("b worst 1", "a best"));
}

TEST(EvaluationTest, TableHasARowForEachSetsInputsAndModels) {
  const Evaluation rain = Found("rain", "small", {{20, 30}, {22, 21}});
  const std::string one = EvaluationTable({rain}, {.worst = 1});
  EXPECT_THAT(one,
              HasSubstr("rain             input                                   2    22.00"));
  EXPECT_THAT(one,
              HasSubstr("\n                 small v1                                2    26.50"));
  EXPECT_THAT(one, HasSubstr("worst of rain, small v1: b 21.00 dB (-1.00)\n"));
  EXPECT_THAT(one, Not(HasSubstr("overall")));
  EXPECT_THAT(EvaluationTable({rain}, {.worst = 0}), Not(HasSubstr("worst")));

  const std::string two =
      EvaluationTable({rain, Found("haze", "small", {{10, 20}})}, ReportOptions{});
  EXPECT_THAT(two,
              HasSubstr("haze             input                                   1    11.00"));
  EXPECT_THAT(two,
              HasSubstr("overall          input                                   3    16.50"));
  EXPECT_THAT(two, HasSubstr("worst of rain, small v1: b 21.00 dB (-1.00), a 30.00 dB (+10.00)\n"));
  // Two models on one set: nothing to take the mean of.
  EXPECT_THAT(EvaluationTable({rain, Found("rain", "large", {{20, 30}, {22, 21}})}, {}),
              Not(HasSubstr("overall")));
}

// Two layers, the second of two experts one of which did nothing.
Evaluation Routed(Evaluation evaluation, double first_load) {
  evaluation.routing = {{{first_load, 1 - first_load}, 0.5}, {{1, 0}, 0.25}};
  return evaluation;
}

TEST(EvaluationTest, DeadIsWhatDidLessThanAHundredthOfAnEvenShare) {
  EXPECT_EQ((ExpertUse{{0.25, 0.25, 0.25, 0.25}, 1}).dead(), 0);
  EXPECT_EQ((ExpertUse{{0.9926, 0.0026, 0.0024, 0.0024}, 1}).dead(), 2);
  EXPECT_EQ((ExpertUse{{1, 0}, 1}).dead(), 1);
}

TEST(EvaluationTest, ExpertsHaveALineForEachModelOverItsSets) {
  const Evaluation rain = Routed(Found("rain", "small", {{20, 30}, {20, 30}}), 0.8);
  const Evaluation haze = Routed(Found("haze", "small", {{10, 20}}), 0.4);
  const std::string table = EvaluationTable({rain, haze}, {.worst = 0});
  EXPECT_THAT(table, HasSubstr("\nexperts of small v1: load 40.0 to 60.0 %, entropy 0.50, 0 of 2 "
                               "dead; load 0.0 to 100.0 %, entropy 0.25, 1 of 2 dead\n"));
  EXPECT_THAT(EvaluationTable({Found("haze", "dense", {{10, 20}})}, {}), Not(HasSubstr("experts")));

  const json all = json::parse(EvaluationJson({rain, haze}, {}));
  EXPECT_EQ(all["sets"][0]["routing"][0]["load"][0], 0.8);
  EXPECT_EQ(all["sets"][1]["routing"][1]["entropy_ratio"], 0.25);
  EXPECT_EQ(all["overall"][0]["routing"].size(), 2);
  EXPECT_NEAR(all["overall"][0]["routing"][0]["load"][0], 0.6, 1e-12);
  EXPECT_EQ(all["overall"][0]["routing"][1]["dead_experts"], 1);
}

TEST(EvaluationTest, CalibratedAndTaskAreTold) {
  Evaluation rain = Found("rain", "small", {{20, 30}});
  EXPECT_FALSE(json::parse(EvaluationJson({rain}, {})).contains("task"));
  EXPECT_FALSE(json::parse(EvaluationJson({rain}, {})).contains("routing"));
  EXPECT_EQ(json::parse(EvaluationJson({rain}, {}))["calibrated"], false);
  rain.calibrated = true;
  rain.task = "drizzle";
  EXPECT_EQ(json::parse(EvaluationJson({rain}, {}))["calibrated"], true);
  EXPECT_EQ(json::parse(EvaluationJson({rain}, {}))["task"], "drizzle");
  EXPECT_THAT(EvaluationTable({rain}, {}), HasSubstr("small v1 calibrated  "));
}

TEST(EvaluationTest, JsonOfOneIsFlat) {
  Evaluation rain = Found("rain", "small", {{20, 30}, {22, 21}});
  rain.tile = {8, 64, 16, false};
  rain.pictures[0].name = "\xff.png";  // not UTF-8
  const json one = json::parse(EvaluationJson({rain}, {.worst = 1}));
  EXPECT_EQ(one["images"], 2);
  EXPECT_EQ(one["psnr_rgb"], 25.5);
  EXPECT_EQ(one["psnr_y"], 26.5);
  EXPECT_EQ(one["ssim_rgb"], 0.5);
  EXPECT_EQ(one["ssim_y"], 0.6);
  EXPECT_EQ(one["input_psnr_rgb"], 21);
  EXPECT_EQ(one["input_psnr_y"], 22);
  EXPECT_EQ(one["input_ssim_rgb"], 0.5);
  EXPECT_EQ(one["input_ssim_y"], 0.6);
  EXPECT_EQ(one["set"], "rain");
  EXPECT_EQ(one["pairs"], "pairs/rain");
  EXPECT_EQ(one["tiling"]["tile_px"], 64);
  ASSERT_EQ(one["worst"].size(), 1);
  EXPECT_EQ(one["worst"][0]["name"], "b");
  EXPECT_EQ(one["worst"][0]["psnr_rgb"], 21);
  EXPECT_FALSE(one.contains("pictures"));
  const json all = json::parse(EvaluationJson({rain}, {.per_picture = true}));
  ASSERT_EQ(all["pictures"].size(), 2);
  EXPECT_EQ(all["pictures"][0]["input_psnr_y"], 21);
}

TEST(EvaluationTest, JsonOfSeveralHasSetsAndOverall) {
  const json all = json::parse(EvaluationJson(
      {Found("rain", "small", {{20, 30}, {20, 30}}), Found("haze", "small", {{10, 20}})}, {}));
  ASSERT_EQ(all["sets"].size(), 2);
  EXPECT_EQ(all["sets"][1]["set"], "haze");
  EXPECT_EQ(all["sets"][1]["images"], 1);
  ASSERT_EQ(all["overall"].size(), 1);
  EXPECT_EQ(all["overall"][0]["images"], 3);
  EXPECT_EQ(all["overall"][0]["psnr_rgb"], 25);
  EXPECT_EQ(all["overall"][0]["model"], "small");
}

}  // namespace
}  // namespace deweather
