#include "training/learn.h"

#include <ATen/ops/allclose.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

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
          {whole.notes.begin() + first, whole.notes.begin() + first + count}};
}

TrainOptions Options() {
  TrainOptions options = TinyRun(NewFolder());
  options.batch = 8;
  options.balance_weight = 0;  // is taken over each pass
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
  const PassLoss more = LearnFrom(options, batch, state);
  EXPECT_GT(more.weighted, plain.weighted);
  EXPECT_NEAR(more.total, more.weighted + 0.25 * more.balance, 1e-6);
  EXPECT_EQ(more.balance, plain.balance);
}

TEST(LearnTest, LossThatIsNotFiniteAddsNoGradient) {
  const TrainOptions options = Options();
  Batch batch = FirstBatch(options);
  TrainState state = BeginState(options).value();
  batch.truth[5] = std::nanf("");
  EXPECT_FALSE(std::isfinite(LearnFrom(options, batch, state).total));
  for (const auto& [name, weight] : state.weights) EXPECT_FALSE(weight.grad().defined()) << name;
}

}  // namespace
}  // namespace deweather
