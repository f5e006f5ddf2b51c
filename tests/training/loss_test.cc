#include "training/loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace deweather {
namespace {

double Loss(LossKind kind, double error) {
  const at::Tensor truth = at::zeros({1, 3, 2, 2});
  return TaskLoss(kind, at::full({1, 3, 2, 2}, error), truth).item<double>();
}

TEST(LossTest, OfAKnownError) {
  EXPECT_NEAR(Loss(LossKind::kSmoothL1, 0.5), 0.125, 1e-6);
  EXPECT_NEAR(Loss(LossKind::kSmoothL1, 3), 2.5, 1e-6);
  EXPECT_NEAR(Loss(LossKind::kL1, -0.5), 0.5, 1e-6);
  EXPECT_NEAR(Loss(LossKind::kCharbonnier, 0.5), std::sqrt(0.25 + 1e-6), 1e-6);
  EXPECT_NEAR(Loss(LossKind::kLogMse, 0.5), std::log(0.25 + 2e-3), 1e-6);
}

TEST(LossTest, EachPictureHasItsOwn) {
  const at::Tensor truth = at::zeros({2, 3, 2, 2});
  at::Tensor restored = at::zeros({2, 3, 2, 2});
  restored[1].fill_(0.5);
  const at::Tensor loss = TaskLoss(LossKind::kL1, restored, truth);
  ASSERT_EQ(loss.sizes(), at::IntArrayRef({2}));
  EXPECT_EQ(loss[0].item<double>(), 0);
  EXPECT_NEAR(loss[1].item<double>(), 0.5, 1e-6);
}

// One cosine across an 8x8 picture: its spectrum has two lines of height 8/2 · 8/8 · amplitude.
TEST(LossTest, FrequencyLossSeesTheLinesOfACosine) {
  const at::Tensor truth = at::zeros({1, 3, 8, 8});
  const at::Tensor wave = at::cos(at::arange(8, at::kFloat) * (2 * std::numbers::pi / 8));
  const at::Tensor restored = 0.5 * wave.expand({1, 3, 8, 8});
  // rfft2 keeps 5 of 8 columns, and one of the two lines: 8 · 0.5 / 2 over 8 x 5 places.
  EXPECT_NEAR(FrequencyLoss(restored, truth).item<double>(), 8 * 0.5 / 2 / 40, 1e-6);
  EXPECT_EQ(FrequencyLoss(truth, truth).item<double>(), 0);
}

Gates GatesOf(const at::Tensor& kept, int64_t experts, double heat) {
  Gates gates;
  gates.kept = kept;
  gates.logits = at::zeros({kept.size(0), experts});
  gates.logits.scatter_(1, kept, heat);
  return gates;
}

TEST(LossTest, BalanceIsOneWhenEvenAndGrowsToExpertsOverKept) {
  const at::Tensor even = at::tensor({0, 1, 2, 3}).view({4, 1}).to(at::kLong);
  const at::Tensor collapsed = at::zeros({4, 1}, at::kLong);
  EXPECT_NEAR(BalanceLoss({GatesOf(even, 4, 50)}).item<double>(), 1, 1e-6);
  EXPECT_NEAR(BalanceLoss({GatesOf(collapsed, 4, 50)}).item<double>(), 4, 1e-6);
  EXPECT_NEAR(BalanceLoss({GatesOf(even, 4, 50), GatesOf(collapsed, 4, 50)}).item<double>(), 2.5,
              1e-6);
  EXPECT_EQ(BalanceLoss({}).item<double>(), 0);
}

TEST(LossTest, BalanceGradientCoolsTheBusyExpert) {
  Gates gates = GatesOf(at::zeros({4, 1}, at::kLong), 4, 1);
  gates.logits.requires_grad_();
  BalanceLoss({gates}).backward();
  const at::Tensor slope = gates.logits.grad().sum(0);
  EXPECT_GT(slope[0].item<double>(), 0);
  EXPECT_LT(slope[1].item<double>(), 0);
}

}  // namespace
}  // namespace deweather
