#include "training/loss.h"

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

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
