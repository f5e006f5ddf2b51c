#include "training/train.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full_like.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "model/checkpoint.h"
#include "tests/model/tiny.h"
#include "tests/training/pictures.h"
#include "training/train_state.h"

namespace deweather {
namespace {

using testing::HasSubstr;

TrainOptions Options(const std::string& folder) {
  WritePictures(folder + "/clean", 2);
  TrainOptions options;
  options.name = "tiny";
  options.model = TinyConfig();
  options.model.residual = true;
  options.data.clean = {{.dir = folder + "/clean"}};
  options.data.crop_px = 32;
  options.batch = 2;
  options.steps = 6;
  options.optimizer.learning_rate = 1e-3;
  options.optimizer.warmup_steps = 2;
  options.threads = 1;
  options.checkpoint_every_steps = 3;
  options.log_every_steps = 1;
  options.output_dir = folder + "/out";
  return options;
}

std::string StateFile(const TrainOptions& options) {
  return options.output_dir + "/state.safetensors";
}

// All that a state holds but the time it took.
std::string Content(const TrainOptions& options) {
  TrainState state = LoadState(StateFile(options), options.model).value();
  state.elapsed = absl::ZeroDuration();
  const std::string path = options.output_dir + "/content.safetensors";
  EXPECT_TRUE(SaveState(path, options.model, state).ok());
  return ReadFile(path).value();
}

TEST(TrainTest, LossFallsAndTheModelLoads) {
  TrainOptions options = Options(NewFolder());
  options.steps = 60;
  options.batch = 4;
  options.data.clean[0].weather = "rain";
  options.optimizer.learning_rate = 5e-3;
  std::vector<double> losses;
  const auto model =
      Train(options, {.progress = [&](const TrainProgress& at) { losses.push_back(at.loss); },
                      .evaluated = {},
                      .stop = {}});
  ASSERT_TRUE(model.ok()) << model.status();
  ASSERT_EQ(losses.size(), 60);
  const auto mean = [&](int from) {
    double sum = 0;
    for (int i = from; i < from + 20; ++i) sum += losses[i];
    return sum / 20;
  };
  EXPECT_LT(mean(40), 0.9 * mean(0));
  const auto checkpoint = LoadCheckpoint(*model);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->config.name, "tiny");
  EXPECT_EQ(checkpoint->metadata.at("steps"), "60");
}

TEST(TrainTest, SameSeedSameWeights) {
  const std::string folder = NewFolder();
  TrainOptions a = Options(folder), b = a, c = a;
  b.output_dir += "_b";
  c.output_dir += "_c";
  c.seed = 1;
  ASSERT_TRUE(Train(a, {}).ok());
  ASSERT_TRUE(Train(b, {}).ok());
  ASSERT_TRUE(Train(c, {}).ok());
  EXPECT_EQ(Content(a), Content(b));
  EXPECT_NE(Content(a), Content(c));
}

TEST(TrainTest, ResumeGoesOnAsIfNothingHappened) {
  const std::string folder = NewFolder();
  TrainOptions whole = Options(folder), halves = whole;
  halves.output_dir += "_halves";
  ASSERT_TRUE(Train(whole, {}).ok());

  int steps = 0;
  const auto first =
      Train(halves, {.progress = {}, .evaluated = {}, .stop = [&] { return ++steps == 3; }});
  EXPECT_EQ(first.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(LoadState(StateFile(halves), halves.model)->step, 3);
  halves.resume = true;
  ASSERT_TRUE(Train(halves, {}).ok());
  EXPECT_EQ(Content(whole), Content(halves));
}

TEST(TrainTest, StartsFromACheckpoint) {
  TrainOptions options = Options(NewFolder());
  const std::string model = Train(options, {}).value();
  options.init_from = model;
  EXPECT_TRUE(BeginState(options).ok());
  options.model.embed_dim = 24;
  const auto other = BeginState(options);
  EXPECT_EQ(other.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(other.status().message()), HasSubstr(model));
}

TEST(TrainTest, TornStateIsRefused) {
  TrainOptions options = Options(NewFolder());
  ASSERT_TRUE(Train(options, {}).ok());
  const std::string whole = ReadFile(StateFile(options)).value();
  ASSERT_TRUE(WriteFileAtomically(StateFile(options), whole.substr(0, whole.size() - 1)).ok());
  options.resume = true;
  options.steps = 8;
  EXPECT_EQ(Train(options, {}).status().code(), absl::StatusCode::kDataLoss);
}

TEST(TrainTest, EvaluatesWhileItTrains) {
  const std::string folder = NewFolder();
  TrainOptions options = Options(folder);
  WritePictures(folder + "/pairs/input", 1);
  WritePictures(folder + "/pairs/gt", 1);
  options.evaluate = {folder + "/pairs", 4};
  options.checkpoint_every_steps = 5;  // each evaluation is of its own step all the same
  std::vector<int64_t> steps;
  ASSERT_TRUE(Train(options, {.progress = {},
                              .evaluated =
                                  [&](int64_t step, const Evaluation& evaluation) {
                                    steps.push_back(step);
                                    EXPECT_EQ(evaluation.input.psnr_rgb, 100);
                                  },
                              .stop = {}})
                  .ok());
  EXPECT_THAT(steps, testing::ElementsAre(4, 6));
}

TEST(TrainTest, AnEarlierRunIsNotOverwritten) {
  TrainOptions options = Options(NewFolder());
  ASSERT_TRUE(Train(options, {}).ok());
  const auto again = Train(options, {});
  EXPECT_EQ(again.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(again.status().message()), HasSubstr(StateFile(options)));
}

TEST(TrainTest, ResumeAfterTheLastStepWritesTheModel) {
  TrainOptions options = Options(NewFolder());
  const std::string model = Train(options, {}).value();
  std::filesystem::remove(model);
  options.resume = true;
  ASSERT_TRUE(Train(options, {}).ok());
  EXPECT_TRUE(LoadCheckpoint(model).ok());
}

TEST(TrainTest, BrokenPictureEndsTheRunAndKeepsWhatWasLearned) {
  TrainOptions options = Options(NewFolder());
  options.steps = 200;
  options.checkpoint_every_steps = 1000;
  int steps = 0;
  const auto result = Train(options, {.progress = {}, .evaluated = {}, .stop = [&] {
                                        // Neither picture is decoded again: they are cached.
                                        return ++steps == 3;
                                      }});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kCancelled);
  options.resume = true;
  for (const char* name : {"/0.png", "/1.png"}) {
    ASSERT_TRUE(WriteFileAtomically(options.data.clean[0].dir + name, "torn").ok());
  }
  EXPECT_EQ(Train(options, {}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(LoadState(StateFile(options), options.model)->step, 3);
}

TEST(TrainTest, GradientThatIsNotFiniteChangesNothing) {
  const TrainOptions options = Options(NewFolder());
  TrainState state = BeginState(options).value();
  at::Tensor& weight = state.weights.at("expand.bias");
  weight.mutable_grad() = at::full_like(weight, std::nan(""));
  const at::Tensor before = weight.detach().clone();
  EXPECT_FALSE(std::isfinite(ApplyGradients(options, 1e-3, state)));
  EXPECT_EQ(state.step, 0);
  EXPECT_TRUE(at::equal(weight.detach(), before));
}

TEST(TrainTest, MissingEvaluationSetIsToldAtTheStart) {
  TrainOptions options = Options(NewFolder());
  options.evaluate.pairs_dirs = {"absent"};
  int steps = 0;
  const auto result = Train(
      options, {.progress = [&](const TrainProgress&) { ++steps; }, .evaluated = {}, .stop = {}});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(steps, 0);
}

TEST(TrainTest, BadOptionsNameValueAndLimit) {
  TrainOptions options = Options(NewFolder());
  options.data.crop_px = 30;
  EXPECT_THAT(std::string(Train(options, {}).status().message()),
              HasSubstr("data.crop_px is 30; it must be a multiple of the patch, 8"));
  options.data.crop_px = 32;
  options.batch = 0;
  EXPECT_THAT(std::string(Train(options, {}).status().message()),
              HasSubstr("batch is 0; it must be in [1, 4096]"));
  options.batch = 1;
  options.output_dir = "/dev/null/out";
  EXPECT_THAT(std::string(Train(options, {}).status().message()), HasSubstr("/dev/null/out"));
}

}  // namespace
}  // namespace deweather
