// A router that sends every token to the same experts, trained on rain with and without L_lb.

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "model/network.h"
#include "tests/training/tiny_run.h"
#include "training/dataset.h"
#include "training/learn.h"
#include "training/loader.h"
#include "training/loss.h"
#include "training/train_state.h"

namespace deweather {
namespace {

constexpr int kSteps = 500;
constexpr double kCollapsed = 4;  // E/K, the largest that Load can be

TrainOptions Options(BalanceKind kind, double weight) {
  at::set_num_threads(1);
  TrainOptions options = TinyRun(NewFolder());
  options.model.experts = 8;
  options.model.kept = 2;
  options.batch = 4;
  options.steps = kSteps + 1;  // the first batch is for measuring
  options.balance = kind;
  options.balance_weight = weight;
  return options;
}

// The first K experts are every token's.
TrainState CollapsedState(const TrainOptions& options) {
  TrainState state = BeginState(options).value();
  const at::NoGradGuard no_grad;
  for (int block = 0; block < options.model.depth; ++block) {
    const std::string bias = "blocks." + std::to_string(block) + ".router.bias";
    state.weights.at(bias).slice(0, 0, options.model.kept) += 3;
  }
  return state;
}

// E sum_i f_i^2 of the busiest layer: 1 when all experts work alike.
double Load(const TrainOptions& options, const TrainState& state, const Batch& batch) {
  const at::NoGradGuard no_grad;
  const int64_t side = options.data.crop_px;
  const at::Tensor pictures = at::from_blob(const_cast<float*>(batch.input.data()),
                                            {options.batch, 3, side, side}, at::kFloat);
  double load = 0;
  for (const at::Tensor& counts :
       KeptCounts(Forward(BindNetwork(options.model, state.weights), pictures).gates)) {
    const at::Tensor share = counts / counts.sum();
    load = std::max(load, options.model.experts * share.square().sum().item<double>());
  }
  return load;
}

struct Course {
  double before = 0;  // Load
  double after = 0;   // mean Load over the last 100 steps
  double term = 0;    // BalanceLoss of the last step
};

Course Learn(const TrainOptions& options) {
  const auto dataset = Dataset::Open(options.data, options.seed).value();
  Loader loader(options, *dataset, 0);
  TrainState state = CollapsedState(options);
  const Batch first = **loader.Next();
  Course course{.before = Load(options, state, first)};
  for (int step = 1; step <= kSteps; ++step) {
    course.term = LearnFrom(options, **loader.Next(), state).balance;
    ApplyGradients(options, /*learning_rate=*/2e-3, state);
    if (step > kSteps - 100 && step % 10 == 0) course.after += Load(options, state, first) / 10;
  }
  return course;
}

TEST(CollapseTest, BalanceLossBringsAllExpertsBack) {
  const Course course = Learn(Options(BalanceKind::kGshard, 0.01));
  EXPECT_EQ(course.before, kCollapsed);
  EXPECT_LT(course.after, 1.7);
  EXPECT_NEAR(course.term, 1, 0.1);
}

TEST(CollapseTest, NothingElseDoes) {
  const Course course = Learn(Options(BalanceKind::kGshard, 0));
  EXPECT_EQ(course.before, kCollapsed);
  EXPECT_NEAR(course.after, kCollapsed, 1e-6);
}

// It reaches its least value, K, where all experts are equally probable: what little differs, differs for all
// tokens alike, and picks the same few experts for most of them, others after the next steps.
TEST(CollapseTest, PapersFormMakesTheRouterUnsureAndBalancesNothing) {
  const TrainOptions options = Options(BalanceKind::kPaper, 0.01);
  const Course course = Learn(options);
  EXPECT_EQ(course.before, kCollapsed);
  EXPECT_NEAR(course.term, options.model.kept, 0.2);
  EXPECT_GT(course.after, 2);
}

}  // namespace
}  // namespace deweather
