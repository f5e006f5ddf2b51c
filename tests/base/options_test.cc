// What the plain options structs accept, and how they say what they do not.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

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
  ExpectRefused(ParseExpertKind("moe").status(),
                "unknown expert kind 'moe'; known: dense, ffn, fme");
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
  for (const char* task : {"all", "balance"}) {
    options.data.pairs = {{"input", "gt", 1, 1, task}};
    ExpectRefused(Validate(options), std::string("data.pairs[0].task is '") + task + "'");
  }
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
