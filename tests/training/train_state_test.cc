#include "training/train_state.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full_like.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/checkpoint.h"
#include "tests/training/tiny_run.h"

namespace deweather {
namespace {

using testing::HasSubstr;

// A checkpoint of random weights; its path.
std::string SaveRandom(const std::string& path, const ModelConfig& config, uint64_t seed) {
  EXPECT_TRUE(SaveCheckpoint(path, config, InitialParameters(config, seed), {}).ok());
  return path;
}

// A state in which no two parts hold the same.
TrainState SomeState(const TrainOptions& options) {
  TrainState state = BeginState(options).value();
  for (int i = 0; i < 3; ++i) {
    for (auto& [name, weight] : state.weights) {
      weight.mutable_grad() = at::full_like(weight, 0.01 * (i + 1));
    }
    ApplyGradients(options, 1e-3, state);
  }
  SkipStep(state);
  state.elapsed = absl::Milliseconds(1234567);
  state.evaluations = {3, 2, 1.0 / 3, 4, "a\nb"};
  return state;
}

TEST(TrainStateTest, ComesBackToTheBit) {
  const TrainOptions options = TinyRun(NewFolder());
  const std::string file =
      SerializeState(options.model, SomeState(options), {{"batch", "2"}, {"name", "tiny"}}).value();
  const auto saved = ParseState(file);
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_EQ(saved->run, (RunFields{{"batch", "2"}, {"name", "tiny"}}));
  EXPECT_EQ(saved->state.step, 4);
  EXPECT_EQ(saved->state.bad_steps, 1);
  EXPECT_EQ(saved->state.bad_in_row, 1);
  EXPECT_EQ(saved->state.elapsed, absl::Milliseconds(1234567));
  EXPECT_EQ(saved->state.evaluations.last_step, 3);
  EXPECT_EQ(saved->state.evaluations.best_step, 2);
  EXPECT_EQ(saved->state.evaluations.best_psnr_rgb, 1.0 / 3);
  EXPECT_EQ(saved->state.evaluations.stale, 4);
  EXPECT_EQ(saved->state.evaluations.sets, "a\nb");
  EXPECT_TRUE(saved->state.weights.at("expand.bias").requires_grad());
  EXPECT_TRUE(SerializeState(options.model, saved->state, saved->run).value() == file);
}

TEST(TrainStateTest, TornOrChangedIsDataLoss) {
  const TrainOptions options = TinyRun(NewFolder());
  const std::string file = SerializeState(options.model, SomeState(options), {}).value();
  for (size_t i = 1; i < 40; ++i) {
    const size_t at = file.size() * i / 40;
    EXPECT_TRUE(absl::IsDataLoss(ParseState(file.substr(0, at)).status())) << at;
    std::string changed = file;
    changed[at] ^= 1;
    EXPECT_TRUE(absl::IsDataLoss(ParseState(changed).status())) << at;
  }
  std::string elsewhere = file;  // well-formed, and of another step
  const size_t at = elsewhere.find("\"step\":\"4\"");
  ASSERT_NE(at, elsewhere.npos);
  elsewhere[at + 8] = '5';
  EXPECT_THAT(std::string(ParseState(elsewhere).status().message()), HasSubstr("SHA-256"));
}

TEST(TrainStateTest, ForeignFileIsDataLoss) {
  const TrainOptions options = TinyRun(NewFolder());
  const std::string model =
      SerializeCheckpoint(options.model, BeginState(options)->average, {}).value();
  const absl::Status status = ParseState(model).status();
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("not the checkpoint of a run"));
  EXPECT_TRUE(absl::IsDataLoss(ParseState("").status()));
}

TEST(TrainStateTest, SkippedStepCountsAndLearnsNothing) {
  const TrainOptions options = TinyRun(NewFolder());
  TrainState state = SomeState(options);
  const auto weights = [&] {
    return SerializeCheckpoint(options.model, state.weights, {}).value();
  };
  const std::string before = weights();
  at::Tensor& bias = state.weights.at("expand.bias");
  bias.mutable_grad() = at::full_like(bias, 1.0);
  SkipStep(state);
  EXPECT_TRUE(weights() == before);
  EXPECT_FALSE(bias.grad().defined());
  EXPECT_EQ(state.step, 5);
  EXPECT_EQ(state.bad_in_row, 2);
  bias.mutable_grad() = at::full_like(bias, 1.0);
  ApplyGradients(options, 1e-3, state);
  EXPECT_FALSE(weights() == before);
  EXPECT_EQ(state.bad_in_row, 0);
  EXPECT_EQ(state.bad_steps, 2);
}

TEST(TrainStateTest, SkippedStepLeavesNoTraceInTheNext) {
  const TrainOptions options = TinyRun(NewFolder());
  TrainState skipped = BeginState(options).value(), plain = BeginState(options).value();
  for (int i = 0; i < 5; ++i) SkipStep(skipped);
  for (TrainState* state : {&skipped, &plain}) {
    at::Tensor& bias = state->weights.at("expand.bias");
    bias.mutable_grad() = at::full_like(bias, 0.01);
    ApplyGradients(options, 1e-3, *state);
  }
  skipped.step = skipped.bad_steps = 0;
  plain.step = 0;
  EXPECT_TRUE(SerializeState(options.model, skipped, {}).value() ==
              SerializeState(options.model, plain, {}).value());
}

TEST(TrainStateTest, GradientThatIsNotFiniteChangesNothing) {
  TrainOptions options = TinyRun(NewFolder());
  options.optimizer.clip_norm = 0;
  TrainState state = SomeState(options);
  const std::string before = SerializeState(options.model, state, {}).value();
  at::Tensor& bias = state.weights.at("expand.bias");
  // 1e25 is finite; its square in the second moment would not be, and no checkpoint could be read again.
  for (const double value : {std::nan(""), HUGE_VAL, 1e25}) {
    bias.mutable_grad() = at::full_like(bias, value);
    EXPECT_FALSE(std::isfinite(ApplyGradients(options, 1e-3, state))) << value;
    EXPECT_FALSE(bias.grad().defined());
    EXPECT_TRUE(SerializeState(options.model, state, {}).value() == before) << value;
  }
}

TEST(TrainStateTest, StudentStartsFromItsTeachersFusedExperts) {
  const std::string folder = NewFolder();
  TrainOptions options = TinyRun(folder);
  const ModelConfig ffn = TinyConfig(ExpertKind::kFfn);
  options.model = TinyConfig(ExpertKind::kDense);
  options.distill.teacher = SaveRandom(folder + "/ffn.safetensors", ffn, 5);
  const Parameters teacher = InitialParameters(ffn, 5);
  TrainState state = BeginState(options).value();
  EXPECT_TRUE(state.weights.at("head.conv.weight").requires_grad());
  EXPECT_TRUE(at::equal(state.weights.at("head.conv.weight"), teacher.at("head.conv.weight")));
  EXPECT_TRUE(at::equal(state.weights.at("blocks.0.ffn.up.weight"),
                        teacher.at("blocks.0.experts.up.weight").mean(0)));
  EXPECT_TRUE(at::equal(state.average.at("blocks.0.ffn.up.weight"),
                        state.weights.at("blocks.0.ffn.up.weight")));

  options.init_from = SaveRandom(folder + "/other.safetensors", options.model, 6);
  state = BeginState(options).value();
  EXPECT_TRUE(at::equal(state.weights.at("head.conv.weight"),
                        InitialParameters(options.model, 6).at("head.conv.weight")));
}

TEST(TrainStateTest, TeacherOfWhichNoStudentCanBeMadeIsNamed) {
  const std::string folder = NewFolder();
  TrainOptions options = TinyRun(folder);
  options.distill.teacher = folder + "/absent.safetensors";
  const absl::Status absent = BeginState(options).status();
  EXPECT_EQ(absent.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(absent.message()), HasSubstr("distill.teacher: "));
  options.model = TinyConfig(ExpertKind::kDense);
  options.distill.teacher = SaveRandom(folder + "/fme.safetensors", TinyConfig(), 5);
  const absl::Status status = BeginState(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("a dense student starts from ffn experts"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("init_from can name other weights"));
}

}  // namespace
}  // namespace deweather
