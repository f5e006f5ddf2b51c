// The CUDA kernels' text, on the CPU, against the reference.

// The first makes plain C++ of the second.
// clang-format off
#include "tests/kernels/cuda_on_cpu.h"
#include "model/kernels/modulate_mix_kernels.h"
// clang-format on

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full_like.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "model/kernels/modulate_mix.h"
#include "tests/kernels/modulate_mix_cases.h"
#include "tests/kernels/numeric_gradient.h"

namespace deweather {
namespace {

class ModulateMixKernelsTest : public testing::TestWithParam<MixCase> {};
INSTANTIATE_TEST_SUITE_P(Cases, ModulateMixKernelsTest, testing::ValuesIn(kMixCases));

constexpr unsigned kThreads = 64;

void ExpectNear(const at::Tensor& values, const at::Tensor& expected, double tolerance) {
  ASSERT_EQ(values.sizes(), expected.sizes());
  if (values.numel() == 0) return;
  const double scale = std::max(1.0, expected.abs().max().item<double>());
  EXPECT_LE((values - expected).abs().max().item<double>(), tolerance * scale);
}

// Filled with what would show if it were left.
at::Tensor Unwritten(const at::Tensor& like) { return at::full_like(like.detach(), NAN); }

template <typename T>
at::Tensor Mix(const MixProblem& problem) {
  at::Tensor mixed = Unwritten(problem.s);
  cuda::Launch(problem.s.size(0), kThreads, cuda::MixKernel<T>, problem.s.const_data_ptr<T>(),
               problem.modulation.const_data_ptr<T>(), problem.weights.const_data_ptr<float>(),
               problem.order.slot.const_data_ptr<int64_t>(), mixed.mutable_data_ptr<T>(),
               problem.s.size(1), problem.order.slot.size(1));
  return mixed;
}

// Of s, modulation, weights.
template <typename T>
std::vector<at::Tensor> Unmix(const MixProblem& problem, const at::Tensor& g) {
  at::Tensor ds = Unwritten(problem.s);
  at::Tensor dmodulation = Unwritten(problem.modulation);
  at::Tensor dweights = Unwritten(problem.weights);
  cuda::Launch(problem.s.size(0), kThreads, cuda::UnmixKernel<T>, g.const_data_ptr<T>(),
               problem.s.const_data_ptr<T>(), problem.modulation.const_data_ptr<T>(),
               problem.weights.const_data_ptr<float>(),
               problem.order.slot.const_data_ptr<int64_t>(), ds.mutable_data_ptr<T>(),
               dmodulation.mutable_data_ptr<T>(), dweights.mutable_data_ptr<float>(),
               problem.s.size(1), problem.order.slot.size(1));
  return {ds, dmodulation, dweights};
}

TEST_P(ModulateMixKernelsTest, EqualsReference) {
  const MixProblem problem = MakeProblem(GetParam());
  ExpectNear(GetParam().dtype == at::kFloat ? Mix<float>(problem) : Mix<at::BFloat16>(problem),
             ModulateAndMixReference(problem.s, problem.modulation, problem.weights, problem.order),
             Tolerance(GetParam()));
}

TEST_P(ModulateMixKernelsTest, GradientsEqualReference) {
  at::Generator generator = at::detail::createCPUGenerator(4);
  const MixProblem problem = MakeProblem(GetParam());
  const at::Tensor g = UniformLike(problem.s, generator);
  const std::vector<at::Tensor> slopes =
      GetParam().dtype == at::kFloat ? Unmix<float>(problem, g) : Unmix<at::BFloat16>(problem, g);
  const at::Tensor leaves[] = {problem.s, problem.modulation, problem.weights};
  for (const at::Tensor& leaf : leaves) leaf.requires_grad_();
  (ModulateAndMixReference(problem.s, problem.modulation, problem.weights, problem.order) * g)
      .sum()
      .backward();
  for (int i = 0; i < 3; ++i) {
    SCOPED_TRACE(i);
    ExpectNear(slopes[i], leaves[i].grad(), Tolerance(GetParam()));
  }
}

}  // namespace
}  // namespace deweather
