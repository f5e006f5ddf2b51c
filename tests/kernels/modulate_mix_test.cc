#include "model/kernels/modulate_mix.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "tests/kernels/modulate_mix_cases.h"

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
