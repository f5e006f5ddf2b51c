#include "training/run_fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace deweather {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Change = std::function<void(TrainOptions&)>;

TrainOptions Options() {
  TrainOptions options;
  options.data.pairs = {{.input_dir = "a/input", .truth_dir = "a/gt"}};
  options.data.clean = {{.dir = "clean"}};
  return options;
}

absl::StatusOr<std::vector<std::string>> Compare(const Change& change) {
  TrainOptions changed = Options();
  change(changed);
  return CompareRuns(DescribeRun(Options()), DescribeRun(changed));
}

void ExpectRefusedByName(const std::map<std::string, Change>& changes) {
  for (const auto& [field, change] : changes) {
    const absl::Status status = Compare(change).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << field;
    EXPECT_THAT(std::string(status.message()), HasSubstr(field + " was ")) << field;
  }
}

TEST(RunFieldsTest, AnotherNetworkIsRefusedByName) {
  ExpectRefusedByName({
      {"model.kind", [](auto& o) { o.model.kind = ExpertKind::kFfn; }},
      {"model.embed_dim", [](auto& o) { o.model.embed_dim = 8; }},
      {"model.depth", [](auto& o) { o.model.depth = 8; }},
      {"model.heads", [](auto& o) { o.model.heads = 2; }},
      {"model.head_dim", [](auto& o) { o.model.head_dim = 8; }},
      {"model.patch", [](auto& o) { o.model.patch = 4; }},
      {"model.channels", [](auto& o) { o.model.channels = 8; }},
      {"model.tail_scale", [](auto& o) { o.model.tail_scale = 8; }},
      {"model.mlp_ratio", [](auto& o) { o.model.mlp_ratio = 8; }},
      {"model.experts", [](auto& o) { o.model.experts = 8; }},
      {"model.kept", [](auto& o) { o.model.kept = 8; }},
      {"model.stem", [](auto& o) { o.model.stem = Stem::kNone; }},
      {"model.first_expert", [](auto& o) { o.model.first_expert = FirstExpert::kGelu; }},
      {"model.gate", [](auto& o) { o.model.gate = Gate::kPaper; }},
      {"model.residual", [](auto& o) { o.model.residual = true; }},
      {"model.tile_px", [](auto& o) { o.model.tile_px = 8; }},
      {"model.overlap_px", [](auto& o) { o.model.overlap_px = 8; }},
      {"model.experts_by_block",
       [](auto& o) {
         o.model.experts_by_block = {4, 16};
       }},
      {"model.residual_ffn", [](auto& o) { o.model.residual_ffn = true; }},
      {"model.tasks", [](auto& o) { o.model.tasks = {"rain"}; }},
      {"model.calibration", [](auto& o) { o.model.calibration = Calibration::kPaper; }},
      {"model.router_passes", [](auto& o) { o.model.router_passes = 7; }},
      {"model.router_dropout", [](auto& o) { o.model.router_dropout = 0.2; }},
  });
}

TEST(RunFieldsTest, WhatShapesARunIsRefusedByName) {
  const std::map<std::string, Change> changes = {
      {"name", [](auto& o) { o.name = "other"; }},
      {"data.pairs[0].weight", [](auto& o) { o.data.pairs[0].weight = 2; }},
      {"data.pairs[0].loss_weight", [](auto& o) { o.data.pairs[0].loss_weight = 2; }},
      {"data.clean[0].weight", [](auto& o) { o.data.clean[0].weight = 2; }},
      {"data.clean[0].loss_weight", [](auto& o) { o.data.clean[0].loss_weight = 2; }},
      {"data.clean[0].weather", [](auto& o) { o.data.clean[0].weather = "snow"; }},
      {"data.clean[0].untouched_share", [](auto& o) { o.data.clean[0].untouched_share = 0.5; }},
      {"data.clean[1].weight", [](auto& o) { o.data.clean.push_back({.dir = "more"}); }},
      {"data.crop_px", [](auto& o) { o.data.crop_px = 8; }},
      {"data.augment", [](auto& o) { o.data.augment = false; }},
      {"optimizer.learning_rate", [](auto& o) { o.optimizer.learning_rate = 2.0000001e-4; }},
      {"optimizer.min_learning_rate", [](auto& o) { o.optimizer.min_learning_rate = 0; }},
      {"optimizer.warmup_steps", [](auto& o) { o.optimizer.warmup_steps = 8; }},
      {"optimizer.weight_decay", [](auto& o) { o.optimizer.weight_decay = 0; }},
      {"optimizer.beta1", [](auto& o) { o.optimizer.beta1 = 0.5; }},
      {"optimizer.beta2", [](auto& o) { o.optimizer.beta2 = 0.5; }},
      {"optimizer.clip_norm", [](auto& o) { o.optimizer.clip_norm = 0; }},
      {"batch", [](auto& o) { o.batch = 8; }},
      {"accumulate", [](auto& o) { o.accumulate = 8; }},
      {"loss", [](auto& o) { o.loss = LossKind::kCharbonnier; }},
      {"frequency_weight", [](auto& o) { o.frequency_weight = 0.1; }},
      {"balance_weight", [](auto& o) { o.balance_weight = 0.1; }},
      {"ema_decay", [](auto& o) { o.ema_decay = 0.9999999; }},
      {"precision", [](auto& o) { o.precision = TrainPrecision::kBf16; }},
      {"seed", [](auto& o) { o.seed = 8; }},
      {"balance", [](auto& o) { o.balance = BalanceKind::kPaper; }},
      {"uncertainty_weight", [](auto& o) { o.uncertainty_weight = 0.005; }},
      {"distill.weight", [](auto& o) { o.distill.weight = 2; }},
  };
  ExpectRefusedByName(changes);
  EXPECT_EQ(Compare([](auto& o) { o.batch = 8; }).status().message(),
            "batch was '16' and is now '8'");
}

// What is left at its default is not among the fields, as in checkpoints from before there was any of it.
TEST(RunFieldsTest, RunsFromBeforeGoOnWithTheDefaults) {
  const std::map<std::string, std::string> before = DescribeRun(Options());
  for (const char* later : {"model.tasks", "model.calibration", "balance", "uncertainty_weight",
                            "distill.teacher", "data.pairs[0].task"}) {
    EXPECT_FALSE(before.contains(later)) << later;
  }
  EXPECT_EQ(before.size(), 48);
  EXPECT_EQ(
      Compare([](auto& o) { o.model.calibration = Calibration::kConfidence; }).status().message(),
      "model.calibration was 'none' and is now 'confidence'");
  TrainOptions calibrated = Options();
  calibrated.model.calibration = Calibration::kConfidence;
  EXPECT_EQ(CompareRuns(DescribeRun(calibrated), before).status().message(),
            "model.calibration was 'confidence' and is now 'none'");
}

TEST(RunFieldsTest, WithGatesTheTasksOfPairsShapeTheRun) {
  TrainOptions run = Options();
  run.model.tasks = {"rain", "snow"};
  run.data.pairs[0].task = "rain";
  const std::map<std::string, std::string> before = DescribeRun(run);
  run.data.pairs[0].task = "snow";
  EXPECT_EQ(CompareRuns(before, DescribeRun(run)).status().message(),
            "data.pairs[0].task was 'rain' and is now 'snow'");
}

TEST(RunFieldsTest, WhatTheTeacherIsShapesTheRun) {
  TrainOptions run = Options();
  run.distill.teacher = "teacher";
  const std::map<std::string, std::string> before = DescribeRun(run, {.version = "abc"});
  EXPECT_EQ(CompareRuns(before, DescribeRun(run, {.version = "def"})).status().message(),
            "distill.teacher_version was 'abc' and is now 'def'");
  EXPECT_EQ(CompareRuns(before, DescribeRun(Options())).status().message(),
            "distill.teacher_version was 'abc' and is now 'none'");
  run.data.pairs[0].task = "snow";
  EXPECT_TRUE(CompareRuns(before, DescribeRun(run, {.version = "abc"})).ok());
  run.distill.teacher = "moved";
  EXPECT_THAT(CompareRuns(before, DescribeRun(run, {.version = "abc"})).value(),
              ElementsAre("distill.teacher was 'teacher' and is now 'moved'"));
}

TEST(RunFieldsTest, WithGatesOfTheTeacherTheTasksOfPairsShapeTheRun) {
  TrainOptions run = Options();
  run.data.pairs[0].task = "rain";
  const auto before = DescribeRun(run, {.version = "abc", .has_tasks = true});
  run.data.pairs[0].task = "snow";
  EXPECT_EQ(CompareRuns(before, DescribeRun(run, {.version = "abc", .has_tasks = true}))
                .status()
                .message(),
            "data.pairs[0].task was 'rain' and is now 'snow'");
}

TEST(RunFieldsTest, RanksHaveTheirPlacesAndOneKindOfDevice) {
  TrainOptions here = Options(), there = Options();
  there.data.clean[0].dir = there.init_from = there.distill.teacher = "elsewhere";
  there.threads = 8;
  const auto fields = AlikeOnRanks(here, "cpu", DescribeRun(here, {.version = "abc"}));
  EXPECT_EQ(AlikeOnRanks(there, "cpu", DescribeRun(there, {.version = "abc"})), fields);
  EXPECT_NE(AlikeOnRanks(there, "cpu", DescribeRun(there, {.version = "def"})), fields);
  EXPECT_NE(AlikeOnRanks(there, "cuda", DescribeRun(there, {.version = "abc"})), fields);
}

TEST(RunFieldsTest, WhatDoesNotShapeItMayChange) {
  const auto lines = Compare([](auto& o) {
    o.output_dir = "moved";
    o.resume = true;
    o.data.pairs[0].task = "mine";
    o.data.loader_threads = o.data.prefetch_batches = o.data.max_unreadable = 8;
    o.data.cache_mebibytes = 8;
    o.keep_checkpoints = o.max_bad_steps = 8;
    o.log_every_steps = o.checkpoint_every_steps = 8;
    o.evaluate = {{"pairs"}, 8, 8};
    o.device = "cpu";
    o.rank_timeout = absl::Seconds(1);
  });
  ASSERT_TRUE(lines.ok()) << lines.status();
  EXPECT_THAT(*lines, IsEmpty());
}

TEST(RunFieldsTest, WhatBendsTheScheduleIsAllowedAndTold) {
  const auto lines = Compare([](auto& o) {
    o.steps = 20000;
    o.max_time = absl::Hours(1);
  });
  ASSERT_TRUE(lines.ok()) << lines.status();
  EXPECT_THAT(*lines, ElementsAre("max_time was 'inf' and is now '1h'",
                                  "steps was '10000' and is now '20000'"));
}

TEST(RunFieldsTest, WhatMayHaveBeenMovedAndThreadsAreTold) {
  const auto lines = Compare([](auto& o) {
    o.data.pairs[0].input_dir = "b/input";
    o.data.pairs[0].truth_dir = "b/gt";
    o.data.clean[0].dir = "moved";
    o.init_from = "model";
    o.distill.teacher = "teacher";
    o.threads = 8;
  });
  ASSERT_TRUE(lines.ok()) << lines.status();
  EXPECT_THAT(*lines,
              ElementsAre("data.clean[0].dir was 'clean' and is now 'moved'",
                          "data.pairs[0].input_dir was 'a/input' and is now 'b/input'",
                          "data.pairs[0].truth_dir was 'a/gt' and is now 'b/gt'",
                          "distill.teacher was '' and is now 'teacher'",
                          "init_from was '' and is now 'model'", "threads was '0' and is now '8'"));
  EXPECT_THAT(CompareRuns({{"data.pictures", "1"}}, {{"data.pictures", "2"}}).value(),
              ElementsAre("the pictures in the folders of data have changed"));
}

TEST(RunFieldsTest, PathsThatAreNoTextAreCompared) {
  const auto described = [](const std::string& dir) {
    TrainOptions options = Options();
    options.init_from = dir;
    return DescribeRun(options).at("init_from");
  };
  EXPECT_NE(described("\xff"), described("\xfe"));
  EXPECT_EQ(described("\xff"), "\\xff");
}

}  // namespace
}  // namespace deweather
