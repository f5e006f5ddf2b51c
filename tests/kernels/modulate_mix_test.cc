#include "model/kernels/modulate_mix.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/kernels/modulate_mix_cases.h"
#include "tests/kernels/numeric_gradient.h"

namespace deweather {
namespace {

class ModulateMixTest : public testing::TestWithParam<MixCase> {};
INSTANTIATE_TEST_SUITE_P(Cases, ModulateMixTest, testing::ValuesIn(kMixCases));

TEST_P(ModulateMixTest, FusedEqualsReference) {
  const MixProblem problem = MakeProblem(GetParam());
  const at::Tensor fused =
      ModulateAndMix(problem.s, problem.modulation, problem.weights, problem.order);
  const at::Tensor reference =
      ModulateAndMixReference(problem.s, problem.modulation, problem.weights, problem.order);
  ASSERT_EQ(fused.sizes(), reference.sizes());
  ASSERT_EQ(fused.scalar_type(), GetParam().dtype);
  if (fused.numel() == 0) return;
  EXPECT_LE((fused - reference).abs().max().item<double>(), Tolerance(GetParam()));
}

// The gradients too, of any weighted sum of the mixture.
TEST_P(ModulateMixTest, GradientsEqualReference) {
  at::Generator generator = at::detail::createCPUGenerator(4);
  std::vector<at::Tensor> gradients;
  const MixProblem first = MakeProblem(GetParam());
  const at::Tensor slopes = UniformLike(first.s, generator);
  for (const auto mix : {ModulateAndMix, ModulateAndMixReference}) {
    const MixProblem problem = MakeProblem(GetParam());
    for (const at::Tensor& leaf : {problem.s, problem.modulation, problem.weights}) {
      leaf.requires_grad_();
    }
    (mix(problem.s, problem.modulation, problem.weights, problem.order) * slopes).sum().backward();
    for (const at::Tensor& leaf : {problem.s, problem.modulation, problem.weights}) {
      gradients.push_back(leaf.grad());
    }
  }
  if (first.s.numel() == 0) return;
  for (int i = 0; i < 3; ++i) {
    const at::Tensor expected = gradients[i + 3];
    const double scale = std::max(1.0, expected.abs().max().item<double>());
    EXPECT_LE((gradients[i] - expected).abs().max().item<double>(), Tolerance(GetParam()) * scale)
        << i;
  }
}

class ModulateMixGradientTest : public testing::TestWithParam<MixCase> {};
INSTANTIATE_TEST_SUITE_P(Cases, ModulateMixGradientTest, testing::ValuesIn(kMixGradientCases));

TEST_P(ModulateMixGradientTest, EqualsNumericGradient) {
  at::Generator generator = at::detail::createCPUGenerator(4);
  const MixProblem problem = MakeProblem(GetParam());
  const at::Tensor slopes = UniformLike(problem.s, generator);
  for (const at::Tensor& leaf : {problem.s, problem.modulation, problem.weights}) {
    leaf.requires_grad_();
  }
  const auto f = [&] {
    return (ModulateAndMix(problem.s, problem.modulation, problem.weights, problem.order) * slopes)
        .sum();
  };
  f().backward();
  ExpectGradient(f, problem.s, "s", generator, 8);
  ExpectGradient(f, problem.modulation, "modulation", generator, 8);
  ExpectGradient(f, problem.weights, "weights", generator, 8);
}

// m = w1 (g1 s + b1) + w2 (g2 s + b2) with numbers that fit on a line.
TEST(ModulateMixTest, OneTokenByHand) {
  const MixCase mix{1, 1, 2, 2, at::kFloat};
  MixProblem problem = MakeProblem(mix);
  problem.s.fill_(3);
  problem.weights[0][0] = 0.25;
  problem.weights[0][1] = 0.75;
  const int64_t first = problem.order.slot[0][0].item<int64_t>();
  problem.modulation[first][0] = 2;  // 2 * 3 + 1 = 7
  problem.modulation[first][1] = 1;
  problem.modulation[1 - first][0] = -1;  // -1 * 3 + 5 = 2
  problem.modulation[1 - first][1] = 5;
  EXPECT_FLOAT_EQ(
      ModulateAndMix(problem.s, problem.modulation, problem.weights, problem.order).item<float>(),
      0.25f * 7 + 0.75f * 2);
}

}  // namespace
}  // namespace deweather
