// The CUDA kernels, and their gradients, against the CPU reference.

#include <ATen/TensorOperators.h>
#include <ATen/cuda/CUDAContext.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "model/kernels/modulate_mix.h"
#include "tests/kernels/modulate_mix_cases.h"
#include "tests/kernels/numeric_gradient.h"

namespace deweather {
namespace {

class ModulateMixCudaTest : public testing::TestWithParam<MixCase> {};
INSTANTIATE_TEST_SUITE_P(Cases, ModulateMixCudaTest, testing::ValuesIn(kMixCases));

MixProblem OnDevice(const MixProblem& problem, const at::Device& device) {
  MixProblem moved = problem;
  for (at::Tensor* tensor : {&moved.s, &moved.modulation, &moved.weights, &moved.order.slot}) {
    *tensor = tensor->to(device);
  }
  return moved;
}

void ExpectNear(const at::Tensor& values, const at::Tensor& expected, double tolerance) {
  if (values.numel() == 0) return;
  const double scale = std::max(1.0, expected.abs().max().item<double>());
  EXPECT_LE((values.cpu() - expected).abs().max().item<double>(), tolerance * scale);
}

// What `mix` makes of the problem, and its gradients of s, modulation and weights.
std::vector<at::Tensor> Run(decltype(ModulateAndMix) mix, const MixProblem& problem,
                            const at::Tensor& slopes) {
  const at::Tensor leaves[] = {problem.s, problem.modulation, problem.weights};
  for (const at::Tensor& leaf : leaves) leaf.requires_grad_();
  const at::Tensor mixed = mix(problem.s, problem.modulation, problem.weights, problem.order);
  (mixed * slopes).sum().backward();
  return {mixed.detach(), leaves[0].grad(), leaves[1].grad(), leaves[2].grad()};
}

void ExpectEqualsCpuReference(const MixCase& mix, const at::Device& device) {
  at::Generator generator = at::detail::createCPUGenerator(4);
  const MixProblem problem = MakeProblem(mix);
  const MixProblem on_device = OnDevice(problem, device);
  const at::Tensor slopes = UniformLike(problem.s, generator);
  ExpectNear(ModulateAndMix(on_device.s, on_device.modulation, on_device.weights, on_device.order),
             ModulateAndMix(problem.s, problem.modulation, problem.weights, problem.order),
             Tolerance(mix));
  const std::vector<at::Tensor> fused = Run(ModulateAndMix, on_device, slopes.to(device));
  const std::vector<at::Tensor> reference = Run(ModulateAndMixReference, problem, slopes);
  for (size_t i = 0; i < fused.size(); ++i) {
    SCOPED_TRACE(i);
    ExpectNear(fused[i], reference[i], Tolerance(mix));
  }
}

TEST_P(ModulateMixCudaTest, EqualsCpuReference) {
  if (!at::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
  ExpectEqualsCpuReference(GetParam(), at::Device(at::kCUDA, 0));
}

TEST_P(ModulateMixCudaTest, OnADeviceThatIsNotCurrent) {
  if (at::cuda::getNumGPUs() < 2) GTEST_SKIP() << "fewer than two CUDA devices";
  ExpectEqualsCpuReference(GetParam(), at::Device(at::kCUDA, 1));
}

}  // namespace
}  // namespace deweather
