// What the plain options structs accept, and how they say what they do not.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "model/base/device_name.h"
#include "model/base/model_config.h"
#include "model/base/name.h"
#include "model/base/tile_spec.h"
#include "model/base/train_options.h"

namespace deweather {
namespace {

using testing::HasSubstr;

void ExpectRefused(const absl::Status& status, const std::string& message) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << message;
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

TEST(TileSpecTest, DefaultsAreValidAndEdgesAreNamed) {
  EXPECT_TRUE(Validate(TileSpec{}).ok());
  EXPECT_TRUE(Validate(TileSpec{.multiple_px = 8, .tile_px = 8, .overlap_px = 4}).ok());
  ExpectRefused(Validate(TileSpec{.multiple_px = 0}), "multiple_px is 0");
  ExpectRefused(Validate(TileSpec{.multiple_px = 8, .tile_px = 20}),
                "tile_px is 20; it must be a positive multiple of 8");
  ExpectRefused(Validate(TileSpec{.tile_px = 64, .overlap_px = 33}),
                "overlap_px is 33; it must be in [0, 32]");
}

void ExpectModelRefused(const std::function<void(ModelConfig&)>& change,
                        const std::string& message) {
  ModelConfig config;
  change(config);
  ExpectRefused(Validate(config), message);
}

TEST(ModelConfigTest, RangesAreChecked) {
  EXPECT_TRUE(Validate(ModelConfig{}).ok());
  ExpectModelRefused([](auto& c) { c.embed_dim = 0; }, "model.embed_dim is 0");
  ExpectModelRefused([](auto& c) { c.depth = 65; }, "model.depth is 65; it must be in [1, 64]");
  ExpectModelRefused([](auto& c) { c.kept = 17; }, "model.kept is 17; it must be in [1, 16]");
  ExpectModelRefused([](auto& c) { c.experts = 2000; }, "model.experts is 2000");
  ExpectModelRefused(
      [](auto& c) {
        c.channels = 3;
        c.tail_scale = 1;
      },
      "it must be even");
  ExpectModelRefused([](auto& c) { c.tile_px = 100; }, "model.tile_px is 100");
  ExpectModelRefused([](auto& c) { c.kind = ExpertKind::kDense; },
                     "model.experts of a dense network is");
  ExpectModelRefused(
      [](auto& c) {
        c.kind = ExpertKind::kFfn;
        c.first_expert = FirstExpert::kGelu;
      },
      "model.first_expert is gelu, which belongs to fme");
}

TEST(ModelConfigTest, ComparisonNetworks) {
  const std::vector<std::function<void(ModelConfig&)>> changes = {
      [](auto& c) {
        c.experts_by_block = {4, 16};
      },
      [](auto& c) {
        c.experts_by_block = {16, 16};
      },
      [](auto& c) { c.kind = ExpertKind::kFfn, c.residual_ffn = true; },
      [](auto& c) {
        c.tasks = {"rain", "snow"};
      },
      [](auto& c) { c.tasks = std::vector<std::string>(1, std::string(64, 'a')); },
      [](auto& c) { c.calibration = Calibration::kPaper; },
      [](auto& c) { c.router_passes = 2, c.router_dropout = 0; },
      [](auto& c) { c.router_passes = 64, c.router_dropout = 0.9; }};
  for (const auto& change : changes) {
    ModelConfig config;
    change(config);
    EXPECT_TRUE(Validate(config).ok()) << Validate(config);
  }
}

TEST(ModelConfigTest, ExpertsOfEachBlock) {
  const auto refused = [](std::vector<int> experts, const std::string& message) {
    ExpectModelRefused([&](auto& c) { c.experts_by_block = experts; }, message);
  };
  refused({16}, "model.experts_by_block has 1 numbers; it must have one for each of 2 blocks");
  refused({16, 16, 16}, "model.experts_by_block has 3 numbers");
  refused({3, 16}, "model.experts_by_block[0] is 3; it must be in [4, 256]");
  refused({16, 257}, "model.experts_by_block[1] is 257; it must be in [4, 256]");
  refused({4, 8}, "model.experts is 16; it must be the largest of experts_by_block, 8");
  refused({4, 32}, "model.experts is 16; it must be the largest of experts_by_block, 32");
}

TEST(ModelConfigTest, Tasks) {
  const auto refused = [](std::vector<std::string> tasks, const std::string& message) {
    ExpectModelRefused([&](auto& c) { c.tasks = tasks; }, message);
  };
  refused({"rain", "a,b"}, "model.tasks[1] is 'a,b'; it must be made of");
  refused({""}, "model.tasks[0] is 0 bytes long; it must be 1 to 64");
  refused({"rain", "snow", "rain"}, "model.tasks[2] is 'rain'; it must be named once");
  std::vector<std::string> many;
  for (int i = 0; i < 65; ++i) many.push_back(std::to_string(i));
  refused(many, "model.tasks has 65 names; it must have at most 64");
}

TEST(ModelConfigTest, GatesOfAllTasksAreBounded) {
  ModelConfig config;
  for (int i = 0; i < 64; ++i) config.tasks.push_back(std::to_string(i));
  config.experts = 64;
  EXPECT_TRUE(Validate(config).ok()) << Validate(config);
  config.experts = 65;
  ExpectRefused(Validate(config), "model.tasks has 64 names, each with a gate over 65 experts");
  config.tasks.resize(16);
  config.experts = 256;
  EXPECT_TRUE(Validate(config).ok()) << Validate(config);
}

// Its gates would sum to 1 in training and to less in use.
TEST(ModelConfigTest, ConfidenceGoesWithGatesThatSumToOne) {
  ModelConfig config;
  config.gate = Gate::kPaper;
  for (const Calibration calibration : {Calibration::kNone, Calibration::kPaper}) {
    config.calibration = calibration;
    EXPECT_TRUE(Validate(config).ok()) << Validate(config);
  }
  config.calibration = Calibration::kConfidence;
  ExpectRefused(Validate(config), "model.calibration is confidence; its gates sum to 1");
  config.gate = Gate::kReleased;
  EXPECT_TRUE(Validate(config).ok()) << Validate(config);
}

// Every field but those of names, tiles and training.
TEST(ModelConfigTest, SameNetwork) {
  const std::vector<std::function<void(ModelConfig&)>> others = {
      [](auto& c) { c.kind = ExpertKind::kFfn; },
      [](auto& c) { c.embed_dim = 8; },
      [](auto& c) { c.depth = 3; },
      [](auto& c) { c.heads = 3; },
      [](auto& c) { c.head_dim = 3; },
      [](auto& c) { c.patch = 4; },
      [](auto& c) { c.channels = 4; },
      [](auto& c) { c.tail_scale = 2; },
      [](auto& c) { c.mlp_ratio = 2; },
      [](auto& c) { c.experts = 8; },
      [](auto& c) { c.kept = 2; },
      [](auto& c) { c.stem = Stem::kNone; },
      [](auto& c) { c.first_expert = FirstExpert::kGelu; },
      [](auto& c) { c.gate = Gate::kPaper; },
      [](auto& c) {
        c.experts_by_block = {16, 16};
      },
      [](auto& c) { c.residual_ffn = true; },
      [](auto& c) { c.tasks = {"rain"}; },
      [](auto& c) { c.residual = true; }};
  for (size_t i = 0; i < others.size(); ++i) {
    ModelConfig other;
    others[i](other);
    EXPECT_FALSE(SameNetwork(other, ModelConfig{})) << i;
  }
  ModelConfig same;
  same.name = "another";
  same.calibration = Calibration::kPaper;
  same.router_passes = 9;
  same.router_dropout = 0.5;
  same.tile_px = 64;
  same.overlap_px = 8;
  EXPECT_TRUE(SameNetwork(same, ModelConfig{}));
}

TEST(ModelConfigTest, PassesOfTheRouter) {
  ExpectModelRefused([](auto& c) { c.router_passes = 1; },
                     "model.router_passes is 1; it must be in [2, 64]");
  ExpectModelRefused([](auto& c) { c.router_passes = 65; }, "model.router_passes is 65");
  for (const double bad : {-0.1, 0.91, std::numeric_limits<double>::quiet_NaN()}) {
    ExpectModelRefused([&](auto& c) { c.router_dropout = bad; }, "model.router_dropout is ");
  }
  ExpectModelRefused([](auto& c) { c.router_dropout = 0.95; },
                     "model.router_dropout is 0.95; it must be in [0, 0.9]");
}

TEST(ModelConfigTest, WhatADenseNetworkDoesNotHave) {
  const auto refused = [](const std::function<void(ModelConfig&)>& change,
                          const std::string& message) {
    ModelConfig config;
    config.kind = ExpertKind::kDense;
    config.experts = config.kept = 0;
    EXPECT_TRUE(Validate(config).ok());
    change(config);
    ExpectRefused(Validate(config), message);
  };
  refused(
      [](auto& c) {
        c.experts_by_block = {4, 8};
      },
      "model.experts_by_block has 2 numbers; a dense network has no router");
  refused([](auto& c) { c.tasks = {"rain"}; }, "model.tasks is rain; a dense network has no");
  refused([](auto& c) { c.calibration = Calibration::kConfidence; },
          "model.calibration is confidence; a dense network has no router");
  refused([](auto& c) { c.router_passes = 64; },
          "model.router_passes is 64; a dense network has no router");
  refused([](auto& c) { c.router_dropout = 0.9; },
          "model.router_dropout is 0.9; a dense network has no router");
  refused([](auto& c) { c.residual_ffn = true; },
          "model.residual_ffn is true, which belongs to ffn experts; model.kind is dense");
  ExpectModelRefused([](auto& c) { c.residual_ffn = true; }, "model.kind is fme");
}

TEST(ModelConfigTest, NamesAreParsedBack) {
  for (const ExpertKind kind : {ExpertKind::kDense, ExpertKind::kFfn, ExpertKind::kFme}) {
    EXPECT_EQ(ParseExpertKind(Name(kind)).value(), kind);
  }
  for (const Gate gate : {Gate::kReleased, Gate::kPaper})
    EXPECT_EQ(ParseGate(Name(gate)).value(), gate);
  for (const Stem stem : {Stem::kStar, Stem::kNone}) EXPECT_EQ(ParseStem(Name(stem)).value(), stem);
  for (const FirstExpert first : {FirstExpert::kModulate, FirstExpert::kGelu}) {
    EXPECT_EQ(ParseFirstExpert(Name(first)).value(), first);
  }
  for (const Calibration calibration :
       {Calibration::kNone, Calibration::kPaper, Calibration::kConfidence}) {
    EXPECT_EQ(ParseCalibration(Name(calibration)).value(), calibration);
  }
  ExpectRefused(ParseCalibration("bayes").status(),
                "unknown calibration 'bayes'; known: none, paper, confidence");
  ExpectRefused(ParseExpertKind("moe").status(),
                "unknown expert kind 'moe'; known: dense, ffn, fme");
}

TEST(NameTest, LongTextIsCut) {
  EXPECT_EQ(ShownText("a\nb"), "a\\nb");
  EXPECT_EQ(ShownText(std::string(1 << 20, '\1')).size(), 64);
  const std::string long_name(1 << 20, 'x');
  EXPECT_LE(ParseExpertKind(long_name).status().message().size(), 200);
}

TEST(NameTest, NumbersAreShownAsTheyAre) {
  EXPECT_EQ(ShownNumber(1.5), "1.5");
  EXPECT_EQ(ShownNumber(1.0000001), "1.0000001");
  EXPECT_EQ(ShownNumber(1.0000001f), "1.0000001");
  EXPECT_EQ(ShownNumber(0.1f), "0.1");
  EXPECT_EQ(ShownNumber(-std::numeric_limits<double>::denorm_min()), "-5e-324");
  EXPECT_EQ(ShownNumber(std::numeric_limits<float>::quiet_NaN()), "nan");
}

TEST(NameTest, LettersDigitsAndThreeSigns) {
  EXPECT_TRUE(ValidateName("name", "deweather-rain_2.1").ok());
  ExpectRefused(ValidateName("name", ""), "name is 0 bytes long; it must be 1 to 64");
  ExpectRefused(ValidateName("name", std::string(65, 'a')), "name is 65 bytes long");
  for (const char* bad : {"a/b", "..", "a b"}) {
    ExpectRefused(ValidateName("name", bad), "name is '" + std::string(bad) + "'; it must be made");
  }
  ExpectRefused(ValidateName("name", "\xc3\xa9"), "name is '\\xc3\\xa9'; it must");
  ExpectRefused(ValidateName("name", std::string(64, '\n')), "\\n\\n'; it must be made");
}

TEST(DeviceNameTest, KnownOnes) {
  for (const char* known : {"auto", "cpu", "cuda", "cuda:0", "cuda:127"}) {
    EXPECT_TRUE(ValidateDeviceName(known).ok()) << known;
  }
  for (const char* bad : {"", "gpu", "cuda:", "cuda:x", "cuda:1x", "cuda:-1", "cuda:128", "CPU"}) {
    ExpectRefused(ValidateDeviceName(bad),
                  std::string("device is '") + bad + "'; it must be auto, cpu, cuda or cuda:0 to");
  }
}

TEST(TrainOptionsTest, ReservedNames) {
  TrainOptions options;
  options.output_dir = "out";
  options.data.clean = {{.dir = "clean"}};
  options.name = "state";
  ExpectRefused(Validate(options), "name is 'state', which has a meaning of its own");
}

TEST(TrainOptionsTest, TasksThatTheLogHasAlready) {
  TrainOptions options;
  options.output_dir = "out";
  for (const char* task : {"all", "balance", "uncertainty", "distill"}) {
    options.data.pairs = {{"input", "gt", 1, 1, task}};
    ExpectRefused(Validate(options), std::string("data.pairs[0].task is '") + task + "'");
  }
}

TrainOptions Runnable() {
  TrainOptions options;
  options.output_dir = "out";
  options.data.clean = {{.dir = "clean"}};
  return options;
}

TEST(TrainOptionsTest, TermsDeviceAndRanks) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<std::pair<std::function<void(TrainOptions&)>, std::string>> cases = {
      {[](auto& o) { o.uncertainty_weight = -1; },
       "uncertainty_weight is -1; it must be in [0, 1000]"},
      {[](auto& o) { o.uncertainty_weight = kNan; }, "uncertainty_weight is nan"},
      {[](auto& o) { o.balance_weight = 1001; }, "balance_weight is 1001; it must be in [0, 1000]"},
      {[](auto& o) { o.distill.weight = 1001; }, "distill.weight is 1001; it must be in [0, 1000]"},
      {[](auto& o) { o.distill.weight = kNan; }, "distill.weight is nan"},
      {[](auto& o) { o.device = "tpu"; }, "device is 'tpu'; it must be auto, cpu, cuda or cuda:0"},
      {[](auto& o) { o.rank_timeout = absl::Milliseconds(999); },
       "rank_timeout is 999ms; it must be in [1s, 24h]"},
      {[](auto& o) { o.rank_timeout = absl::InfiniteDuration(); }, "rank_timeout is inf"}};
  for (const auto& [change, message] : cases) {
    TrainOptions options = Runnable();
    EXPECT_TRUE(Validate(options).ok()) << Validate(options);
    change(options);
    ExpectRefused(Validate(options), message);
  }
}

TEST(TrainOptionsTest, UncertaintyNeedsARouter) {
  TrainOptions options = Runnable();
  options.uncertainty_weight = 0.005;
  EXPECT_TRUE(Validate(options).ok()) << Validate(options);
  options.model.kind = ExpertKind::kDense;
  options.model.experts = options.model.kept = 0;
  ExpectRefused(Validate(options), "uncertainty_weight is 0.005; it must be 0: a dense network");
}

TEST(TrainOptionsTest, GatesOfTasksKnowEverySource) {
  TrainOptions options = Runnable();
  options.model.tasks = {"rain", "snow"};
  options.data.pairs = {{"input", "gt", 1, 1, "snow"}};
  EXPECT_TRUE(Validate(options).ok()) << Validate(options);
  options.data.pairs.push_back({"input", "gt", 1, 1, "night"});
  ExpectRefused(Validate(options),
                "data.pairs[1].task is 'night'; it must be one of model.tasks: rain, snow");
  options.data.pairs.pop_back();
  options.data.clean.push_back({.dir = "clean", .weather = "haze"});
  ExpectRefused(Validate(options),
                "data.clean[1].weather is 'haze'; it must be one of model.tasks: rain, snow");
}

TEST(TrainOptionsTest, RangesAreChecked) {
  TrainOptions options;
  options.output_dir = "out";
  ExpectRefused(Validate(options), "names no pairs and no clean pictures");
  options.data.clean = {{.dir = "clean"}};
  EXPECT_TRUE(Validate(options).ok());
  options.data.clean[0].untouched_share = 1.5;
  ExpectRefused(Validate(options), "data.clean[0].untouched_share is 1.5; it must be in [0, 1]");
  options.data.clean[0].untouched_share = 0;
  options.optimizer.min_learning_rate = 1;
  ExpectRefused(Validate(options), "optimizer.min_learning_rate is 1");
  options.optimizer.min_learning_rate = 0;
  options.evaluate.every_steps = -5;
  ExpectRefused(Validate(options), "evaluate.every_steps is -5; it must be in [0, 1000000000]");
  options.evaluate.every_steps = 0;
  options.max_time = absl::ZeroDuration();
  ExpectRefused(Validate(options), "max_time is 0");
  options.max_time = absl::Hours(1);
  options.output_dir.clear();
  ExpectRefused(Validate(options), "output_dir is empty");
}

}  // namespace
}  // namespace deweather
