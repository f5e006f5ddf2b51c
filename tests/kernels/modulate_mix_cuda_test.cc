// The CUDA kernel against the CPU reference.

#include <ATen/TensorOperators.h>
#include <ATen/cuda/CUDAContext.h>
#include <gtest/gtest.h>

#include "model/kernels/modulate_mix.h"
#include "tests/kernels/modulate_mix_cases.h"

namespace deweather {
namespace {

class ModulateMixCudaTest : public testing::TestWithParam<MixCase> {};
INSTANTIATE_TEST_SUITE_P(Cases, ModulateMixCudaTest, testing::ValuesIn(kMixCases));

TEST_P(ModulateMixCudaTest, EqualsCpuReference) {
  if (!at::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
  const MixProblem problem = MakeProblem(GetParam());
  TokenOrder on_device = problem.order;
  on_device.slot = problem.order.slot.cuda();
  const at::Tensor fused =
      ModulateAndMix(problem.s.cuda(), problem.modulation.cuda(), problem.weights.cuda(), on_device)
          .cpu();
  const at::Tensor reference =
      ModulateAndMixReference(problem.s, problem.modulation, problem.weights, problem.order);
  if (fused.numel() == 0) return;
  EXPECT_LE((fused - reference).abs().max().item<double>(), Tolerance(GetParam()));
}

}  // namespace
}  // namespace deweather
