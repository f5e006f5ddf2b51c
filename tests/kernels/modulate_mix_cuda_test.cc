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

void ExpectEqualsCpuReference(const MixProblem& problem, const at::Device& device,
                              double tolerance) {
  TokenOrder on_device = problem.order;
  on_device.slot = problem.order.slot.to(device);
  const at::Tensor fused = ModulateAndMix(problem.s.to(device), problem.modulation.to(device),
                                          problem.weights.to(device), on_device)
                               .cpu();
  const at::Tensor reference =
      ModulateAndMixReference(problem.s, problem.modulation, problem.weights, problem.order);
  if (fused.numel() == 0) return;
  EXPECT_LE((fused - reference).abs().max().item<double>(), tolerance);
}

TEST_P(ModulateMixCudaTest, EqualsCpuReference) {
  if (!at::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
  ExpectEqualsCpuReference(MakeProblem(GetParam()), at::Device(at::kCUDA, 0),
                           Tolerance(GetParam()));
}

TEST_P(ModulateMixCudaTest, OnADeviceThatIsNotCurrent) {
  if (at::cuda::getNumGPUs() < 2) GTEST_SKIP() << "fewer than two CUDA devices";
  ExpectEqualsCpuReference(MakeProblem(GetParam()), at::Device(at::kCUDA, 1),
                           Tolerance(GetParam()));
}

}  // namespace
}  // namespace deweather
