#include "training/learn.h"

#include <ATen/ops/abs.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "model/checkpoint.h"
#include "model/network.h"
#include "tests/training/tiny_run.h"

namespace deweather {
namespace {

Batch FirstBatch(const TrainOptions& options) {
  const auto dataset = Dataset::Open(options.data, options.seed).value();
  Loader loader(options, *dataset, 0);
  return **loader.Next();
}

// Crops [first, first + count) of a batch.
Batch Part(const Batch& whole, int64_t first, int64_t count) {
  const int64_t crop = std::ssize(whole.input) / std::ssize(whole.notes);
  const auto part = [&](const std::vector<float>& values) {
    return std::vector<float>(values.begin() + first * crop,
                              values.begin() + (first + count) * crop);
  };
  return {part(whole.input),
          part(whole.truth),
          {whole.notes.begin() + first, whole.notes.begin() + first + count},
          whole.step,
          whole.first_crop + first};
}

TrainOptions Options() {
  TrainOptions options = TinyRun(NewFolder());
  options.batch = 8;
  options.balance_weight = 0;      // is taken over each pass
  options.model.residual = false;  // such a network begins as the identity, whatever its experts do
  return options;
}

TEST(LearnTest, PassesOfAStepMakeTheGradientOfOneBatch) {
  TrainOptions options = Options();
  const Batch batch = FirstBatch(options);
  TrainState whole = BeginState(options).value(), halves = BeginState(options).value();
  const PassLoss loss = LearnFrom(options, batch, whole);
  options.batch = 4;
  options.accumulate = 2;
  const PassLoss first = LearnFrom(options, Part(batch, 0, 4), halves);
  const PassLoss second = LearnFrom(options, Part(batch, 4, 4), halves);
  EXPECT_NEAR(loss.weighted, (first.weighted + second.weighted) / 2, 1e-7);
  int compared = 0;
  for (const auto& [name, weight] : whole.weights) {
    if (!weight.grad().defined()) continue;
    EXPECT_TRUE(at::allclose(weight.grad(), halves.weights.at(name).grad(), 1e-3, 1e-7)) << name;
    ++compared;
  }
  EXPECT_GT(compared, 20);
}

TEST(LearnTest, LossWeightsScaleTheirCrops) {
  TrainOptions options = Options();
  Batch batch = FirstBatch(options);
  TrainState state = BeginState(options).value();
  const PassLoss plain = LearnFrom(options, batch, state);
  double expected = 0;
  for (size_t i = 0; i < 8; ++i) {
    batch.notes[i].loss_weight = static_cast<double>(i);
    expected += static_cast<double>(i) * plain.crop_losses[i] / 8;
  }
  const PassLoss weighted = LearnFrom(options, batch, state);
  EXPECT_NEAR(weighted.weighted, expected, 1e-6);
  EXPECT_EQ(weighted.crop_losses, plain.crop_losses);
}

TEST(LearnTest, TermsAddUp) {
  TrainOptions options = Options();
  const Batch batch = FirstBatch(options);
  TrainState state = BeginState(options).value();
  const PassLoss plain = LearnFrom(options, batch, state);
  options.frequency_weight = 0.5;
  options.balance_weight = 0.25;
  options.uncertainty_weight = 2;
  options.distill.weight = 3;
  const Network teacher = BindNetwork(options.model, InitialParameters(options.model, 9));
  const PassLoss more = LearnFrom(options, batch, state, &teacher);
  EXPECT_GT(more.weighted, plain.weighted);
  EXPECT_EQ(more.balance, plain.balance);
  EXPECT_EQ(plain.uncertainty, 0);
  EXPECT_GT(more.uncertainty, 0);
  EXPECT_EQ(plain.distill, 0);
  EXPECT_GT(more.distill, 0);
  EXPECT_NEAR(more.total,
              more.weighted + 0.25 * more.balance + 2 * more.uncertainty + 3 * more.distill, 1e-6);
}

TEST(LearnTest, TermThatIsNotFiniteAddsNoGradient) {
  TrainOptions options = Options();
  options.uncertainty_weight = 1e300;
  TrainState state = BeginState(options).value();
  const PassLoss loss = LearnFrom(options, FirstBatch(options), state);
  EXPECT_TRUE(std::isfinite(loss.weighted));
  EXPECT_FALSE(std::isfinite(loss.total));
  for (const auto& [name, weight] : state.weights) EXPECT_FALSE(weight.grad().defined()) << name;
}

TEST(LearnTest, LossThatIsNotFiniteAddsNoGradient) {
  const TrainOptions options = Options();
  Batch batch = FirstBatch(options);
  TrainState state = BeginState(options).value();
  batch.truth[5] = std::nanf("");
  EXPECT_FALSE(std::isfinite(LearnFrom(options, batch, state).total));
  for (const auto& [name, weight] : state.weights) EXPECT_FALSE(weight.grad().defined()) << name;
}

// --- dropout ---

TrainOptions Calibrated() {
  TrainOptions options = Options();
  options.model.calibration = Calibration::kConfidence;
  options.uncertainty_weight = 1;
  return options;
}

TEST(LearnTest, DropoutIsAFunctionOfSeedAndStep) {
  TrainOptions options = Calibrated();
  Batch batch = FirstBatch(options);
  TrainState state = BeginState(options).value();
  const PassLoss loss = LearnFrom(options, batch, state);
  const PassLoss again = LearnFrom(options, batch, state);
  EXPECT_EQ(again.total, loss.total);
  EXPECT_EQ(again.crop_losses, loss.crop_losses);
  ++batch.step;
  const PassLoss later = LearnFrom(options, batch, state);
  EXPECT_NE(later.uncertainty, loss.uncertainty);
  EXPECT_NE(later.crop_losses, loss.crop_losses);
  --batch.step;
  ++options.seed;
  EXPECT_NE(LearnFrom(options, batch, state).crop_losses, loss.crop_losses);
}

TEST(LearnTest, PassesOfAStepDropWhatOneBatchDoes) {
  TrainOptions options = Calibrated();
  const Batch batch = FirstBatch(options);
  TrainState state = BeginState(options).value();
  const PassLoss whole = LearnFrom(options, batch, state);
  options.batch = 4;
  options.accumulate = 2;
  const PassLoss first = LearnFrom(options, Part(batch, 0, 4), state);
  const PassLoss second = LearnFrom(options, Part(batch, 4, 4), state);
  EXPECT_NEAR(whole.total, (first.total + second.total) / 2, 1e-6);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(whole.crop_losses[i], first.crop_losses[i], 1e-7);
    EXPECT_NEAR(whole.crop_losses[4 + i], second.crop_losses[i], 1e-7);
  }
}

TEST(LearnTest, UncertaintyLossMakesTheRouterSurer) {
  TrainOptions options = Options();
  options.uncertainty_weight = 1000;  // nearly all
  const Batch batch = FirstBatch(options);
  TrainState state = BeginState(options).value();
  const double first = LearnFrom(options, batch, state).uncertainty;
  for (int step = 0; step < 40; ++step) {
    ApplyGradients(options, 3e-3, state);
    LearnFrom(options, batch, state);
  }
  EXPECT_LT(LearnFrom(options, batch, state).uncertainty, first / 2);
}

TEST(LearnTest, CropsLearnThroughTheGateOfTheirTask) {
  TrainOptions options = Options();
  options.model.tasks = {"haze", "rain"};
  options.balance_weight = 0.01;
  options.data.clean[0].untouched_share = 0.5;  // these too
  TrainState state = BeginState(options).value();
  LearnFrom(options, FirstBatch(options), state);
  const at::Tensor slope = state.weights.at("blocks.0.router.weight").grad();  // [T,E,D]
  EXPECT_EQ(slope[0].abs().max().item<double>(), 0);
  EXPECT_GT(slope[1].abs().max().item<double>(), 0);
}

// --- teachers ---

// A checkpoint of other random weights than the run's; its path.
std::string SaveTeacher(const std::string& folder, const ModelConfig& config) {
  const std::string path = folder + "/teacher.safetensors";
  EXPECT_TRUE(SaveCheckpoint(path, config, InitialParameters(config, 9), {}).ok());
  return path;
}

TEST(LearnTest, StudentComesCloserToItsTeacher) {
  TrainOptions options = Options();
  TrainState state = BeginState(options).value();
  options.distill = {SaveTeacher(options.data.clean[0].dir, options.model), 1000};  // nearly all
  const std::optional<Teacher> loaded = LoadTeacher(options).value();
  ASSERT_TRUE(loaded.has_value());
  EXPECT_EQ(loaded->version, LoadCheckpoint(options.distill.teacher)->version);
  const Network* teacher = &loaded->network;
  const at::Tensor before = teacher->head_conv.weight.clone();
  const Batch batch = FirstBatch(options);
  const double first = LearnFrom(options, batch, state, teacher).distill;
  for (int step = 0; step < 60; ++step) {
    ApplyGradients(options, 3e-3, state);
    LearnFrom(options, batch, state, teacher);
  }
  EXPECT_LT(LearnFrom(options, batch, state, teacher).distill, first / 4);
  EXPECT_FALSE(teacher->head_conv.weight.requires_grad());
  EXPECT_FALSE(teacher->head_conv.weight.grad().defined());
  EXPECT_TRUE(at::equal(teacher->head_conv.weight, before));
}

// As its loss_weight has it for the truth.
TEST(LearnTest, LossWeightsScaleWhatIsLearnedFromTheTeacher) {
  const TrainOptions options = Options();
  const Network teacher = BindNetwork(options.model, InitialParameters(options.model, 9));
  TrainState state = BeginState(options).value();
  Batch batch = FirstBatch(options);
  const double plain = LearnFrom(options, batch, state, &teacher).distill;
  for (CropNote& note : batch.notes) note.loss_weight = 3;
  EXPECT_NEAR(LearnFrom(options, batch, state, &teacher).distill, 3 * plain, 1e-6);
}

// A residual one that is half brighter everywhere makes white of what is light, as it does when it serves.
TEST(LearnTest, TeacherTeachesWhatPicturesCanHold) {
  TrainOptions options = Options();
  options.loss = LossKind::kL1;
  TrainState state = BeginState(options).value();
  Batch batch = FirstBatch(options);
  std::fill(batch.input.begin(), batch.input.end(), 0.75f);
  ModelConfig config = options.model;
  config.residual = true;
  const auto distance = [&](double brighter) {
    Parameters weights = InitialParameters(config, 9);
    weights.at("tail.conv1.bias").fill_(brighter);  // all else of the last layer is zero
    const Network teacher = BindNetwork(config, weights);
    return LearnFrom(options, batch, state, &teacher).distill;
  };
  EXPECT_NEAR(distance(0.5), distance(0.25), 1e-6);
  EXPECT_NE(distance(0.25), distance(0.2));
}

TEST(LearnTest, TeacherWithoutWeightIsNotAsked) {
  TrainOptions options = Options();
  options.distill = {SaveTeacher(options.data.clean[0].dir, options.model), 0};
  EXPECT_FALSE(LoadTeacher(options).value().has_value());
}

TEST(LearnTest, TeacherWithGatesTakesThatOfTheCropsTask) {
  TrainOptions options = Options();
  ModelConfig config = options.model;
  config.tasks = {"snow", "rain"};
  Parameters weights = InitialParameters(config, 9);
  const Batch batch = FirstBatch(options);
  TrainState state = BeginState(options).value();
  const auto distance = [&] {
    const Network teacher = BindNetwork(config, weights);
    return LearnFrom(options, batch, state, &teacher).distill;
  };
  const double before = distance();
  at::Tensor& router = weights.at("blocks.0.router.weight");
  router[0].neg_();  // of snow, which no crop has
  EXPECT_EQ(distance(), before);
  router[1].neg_();
  EXPECT_NE(distance(), before);
}

TEST(LearnTest, TeacherThatDoesNotFitTheDataIsRefused) {
  TrainOptions options = Options();
  EXPECT_FALSE(LoadTeacher(options).value().has_value());
  options.distill.teacher = "absent.safetensors";
  const absl::Status absent = LoadTeacher(options).status();
  EXPECT_EQ(absent.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(absent.message()), testing::StartsWith("distill.teacher: "));
  ModelConfig config = options.model;
  config.tasks = {"snow", "haze"};
  options.distill.teacher = SaveTeacher(options.data.clean[0].dir, config);
  EXPECT_EQ(LoadTeacher(options).status(),
            absl::InvalidArgumentError("distill.teacher has no gate for the task 'rain' of the "
                                       "data; its tasks are snow, haze"));
  config = options.model;
  config.patch = 16;
  options.distill.teacher = SaveTeacher(options.data.clean[0].dir, config);
  options.data.crop_px = 24;
  EXPECT_EQ(LoadTeacher(options).status(),
            absl::InvalidArgumentError("data.crop_px is 24; it must be a multiple of the patch of "
                                       "distill.teacher, 16"));
}

}  // namespace
}  // namespace deweather
