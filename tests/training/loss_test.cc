#include "training/loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
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

double Balance(BalanceKind kind, const std::vector<Gates>& gates) {
  return BalanceLoss(kind, gates, KeptCounts(gates)).item<double>();
}

TEST(LossTest, BalanceIsOneWhenEvenAndGrowsToExpertsOverKept) {
  const at::Tensor even = at::tensor({0, 1, 2, 3}).view({4, 1}).to(at::kLong);
  const at::Tensor collapsed = at::zeros({4, 1}, at::kLong);
  const auto balance = [](const std::vector<Gates>& gates) {
    return Balance(BalanceKind::kGshard, gates);
  };
  EXPECT_NEAR(balance({GatesOf(even, 4, 50)}), 1, 1e-6);
  EXPECT_NEAR(balance({GatesOf(collapsed, 4, 50)}), 4, 1e-6);
  EXPECT_NEAR(balance({GatesOf(even, 4, 50), GatesOf(collapsed, 4, 50)}), 2.5, 1e-6);
  EXPECT_EQ(balance({}), 0);
}

// The paper's form is the mean probability of what is kept: spread over the experts or not, it is E when
// the router is sure, and least when it is not.
TEST(LossTest, PapersBalanceSeesOnlyHowSureTheRouterIs) {
  const at::Tensor even = at::tensor({0, 1, 2, 3}).view({4, 1}).to(at::kLong);
  const at::Tensor collapsed = at::zeros({4, 1}, at::kLong);
  for (const at::Tensor& kept : {even, collapsed}) {
    EXPECT_NEAR(Balance(BalanceKind::kPaper, {GatesOf(kept, 4, 50)}), 4, 1e-6);
    const double sure = std::exp(1) / (std::exp(1) + 3);
    EXPECT_NEAR(Balance(BalanceKind::kPaper, {GatesOf(kept, 4, 1)}), 4 * sure, 1e-6);
    EXPECT_NEAR(Balance(BalanceKind::kPaper, {GatesOf(kept, 4, 0)}), 1, 1e-6);
  }
}

// Of Σ_k E/N r_k with respect to a logit of the same token: E/N r_j (1[j kept] − Σ_k r_k).
TEST(LossTest, PapersBalanceHasTheGradientOfItsFormula) {
  Gates gates;
  gates.logits = at::tensor({0.5, -1.0, 2.0, 0.0, 1.0, 0.25, -0.5, 3.0}, at::kDouble).view({2, 4});
  gates.kept = at::tensor({2, 0, 3, 0}).view({2, 2}).to(at::kLong);
  gates.logits.requires_grad_();
  BalanceLoss(BalanceKind::kPaper, {gates}, KeptCounts({gates})).backward();
  const at::Tensor r = at::softmax(gates.logits.detach(), -1);
  const at::Tensor kept = at::zeros({2, 4}, at::kDouble).scatter_(1, gates.kept, 1);
  const at::Tensor expected = 4.0 / 2 * r * (kept - (r * kept).sum(1, /*keepdim=*/true));
  EXPECT_TRUE(at::allclose(gates.logits.grad(), expected, 1e-12, 1e-12));
}

TEST(LossTest, BalanceGradientCoolsTheBusyExpert) {
  for (const BalanceKind kind : {BalanceKind::kGshard, BalanceKind::kPaper}) {
    Gates gates = GatesOf(at::zeros({4, 1}, at::kLong), 4, 1);
    gates.logits.requires_grad_();
    BalanceLoss(kind, {gates}, KeptCounts({gates})).backward();
    const at::Tensor slope = gates.logits.grad().sum(0);
    EXPECT_GT(slope[0].item<double>(), 0);
    EXPECT_LT(slope[1].item<double>(), 0);
  }
}

// What another rank kept counts, though none of its probabilities are here.
TEST(LossTest, BalanceTakesTheSharesOfAllRanks) {
  const Gates here = GatesOf(at::zeros({4, 1}, at::kLong), 4, 50);
  const Gates there = GatesOf(at::ones({4, 1}, at::kLong), 4, 50);
  const at::Tensor counts = KeptCounts({here})[0] + KeptCounts({there})[0];
  EXPECT_TRUE(at::equal(counts, at::tensor({4.f, 4.f, 0.f, 0.f})));
  EXPECT_NEAR(BalanceLoss(BalanceKind::kGshard, {here}, {counts}).item<double>(), 2, 1e-6);
}

// --- UncertaintyLoss ---

Gates UnsureGates() {
  Gates gates;
  gates.logits = at::zeros({2, 4}, at::kDouble);
  gates.kept = at::tensor({2, 0, 3, 0}).view({2, 2}).to(at::kLong);
  gates.variance =
      at::tensor({0.01, 0.5, 0.02, 0.5, 0.03, 0.5, 0.5, 0.04}, at::kDouble).view({2, 4});
  return gates;
}

TEST(LossTest, UncertaintyIsTheVarianceOfKeptExperts) {
  const Gates gates = UnsureGates();
  EXPECT_NEAR(UncertaintyLoss({gates}).item<double>(), 4.0 / 2 * 0.1, 1e-12);
  Gates sure = gates;
  sure.variance = at::zeros_like(gates.variance);
  EXPECT_NEAR(UncertaintyLoss({gates, sure}).item<double>(), 4.0 / 2 * 0.1 / 2, 1e-12);
  sure.variance = at::Tensor();  // no passes were run
  EXPECT_EQ(UncertaintyLoss({sure}).item<double>(), 0);
  EXPECT_EQ(UncertaintyLoss({}).item<double>(), 0);
}

TEST(LossTest, UncertaintyGradientLowersTheVarianceOfKeptExpertsOnly) {
  Gates gates = UnsureGates();
  gates.variance.requires_grad_();
  UncertaintyLoss({gates}).backward();
  const at::Tensor kept = at::zeros({2, 4}, at::kDouble).scatter_(1, gates.kept, 4.0 / 2);
  EXPECT_TRUE(at::allclose(gates.variance.grad(), kept));
}

}  // namespace
}  // namespace deweather
