// What the GPU computes otherwise than LibTorch by itself, against LibTorch on the CPU.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/topk.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "model/kernels/gpu_layers.h"

namespace deweather {
namespace {

at::Tensor Uniform(at::IntArrayRef shape, double bound, at::ScalarType dtype, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  return at::empty(shape).uniform_(-bound, bound, generator).to(dtype);
}

// bf16 keeps 8 bits, here of sums of many values.
void ExpectNear(const at::Tensor& values, const at::Tensor& expected, at::ScalarType dtype) {
  ASSERT_EQ(values.sizes(), expected.sizes());
  ASSERT_EQ(values.scalar_type(), dtype);
  if (values.numel() == 0) return;
  const at::Tensor reference = expected.to(at::kFloat);
  const double scale = std::max(1.0, reference.abs().max().item<double>());
  const double error = (values.cpu().to(at::kFloat) - reference).abs().max().item<double>();
  EXPECT_LE(error, (dtype == at::kFloat ? 1e-3 : 2e-2) * scale);
}

at::Tensor GroupedReference(const at::Tensor& rows, const at::Tensor& weight,
                            const at::Tensor& bias, const std::vector<int64_t>& begin) {
  std::vector<at::Tensor> blocks;
  for (int64_t e = 0; e < weight.size(0); ++e) {
    blocks.push_back(
        at::linear(rows.narrow(0, begin[e], begin[e + 1] - begin[e]), weight[e], bias[e]));
  }
  return at::cat(blocks);
}

struct GroupedCase {
  int64_t tokens, in, out, kept;
  int experts;
};

class GpuGroupedLinearTest : public testing::TestWithParam<GroupedCase> {};
INSTANTIATE_TEST_SUITE_P(Cases, GpuGroupedLinearTest,
                         testing::Values(GroupedCase{0, 16, 32, 2, 4}, GroupedCase{1, 8, 16, 1, 4},
                                         GroupedCase{7, 32, 64, 2, 16},
                                         GroupedCase{1000, 192, 384, 4, 16},
                                         GroupedCase{3000, 384, 768, 4, 128},
                                         GroupedCase{500, 384, 1536, 8, 64}));

TEST_P(GpuGroupedLinearTest, EqualsCpu) {
  if (!at::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
  const at::NoGradGuard no_grad;
  const GroupedCase& c = GetParam();
  const at::Tensor scores = Uniform({c.tokens, c.experts}, 1, at::kFloat, 1);
  const at::Tensor kept = std::get<1>(scores.topk(c.kept, 1));
  const at::Tensor rows = Uniform({c.tokens * c.kept, c.in}, 1, at::kBFloat16, 2);
  const at::Tensor weight = Uniform({c.experts, c.out, c.in}, 0.1, at::kBFloat16, 3);
  const at::Tensor bias = Uniform({c.experts, c.out}, 1, at::kBFloat16, 4);
  if (!HasGpuGroupedLinear(rows.cuda(), weight.cuda())) {
    GTEST_SKIP() << "a device of other than compute capability 9 and 10";
  }
  const at::Tensor fused =
      GpuGroupedLinear(rows.cuda(), weight.cuda(), bias.cuda(), SortTokens(kept.cuda(), c.experts));
  const TokenOrder order = SortTokens(kept, c.experts);
  ExpectNear(fused, GroupedReference(rows, weight, bias, order.begin), at::kBFloat16);
}

TEST(GpuResBlockTest, EqualsCpu) {
  if (!at::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
  const at::NoGradGuard no_grad;
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const auto& [batch, channels, side] :
         {std::tuple<int64_t, int64_t, int64_t>{1, 8, 5}, {3, 32, 24}, {2, 128, 64}}) {
      const at::Tensor u = Uniform({batch, channels, side, side + 3}, 1, dtype, 1);
      const at::Tensor w0 = Uniform({channels, channels, 3, 3}, 0.1, dtype, 2);
      const at::Tensor w1 = Uniform({channels, channels, 3, 3}, 0.1, dtype, 3);
      const at::Tensor b0 = Uniform({channels}, 1, dtype, 4);
      const at::Tensor b1 = Uniform({channels}, 1, dtype, 5);
      ASSERT_TRUE(HasGpuResBlock(u.cuda()));
      const at::Tensor w0d = w0.cuda(), b0d = b0.cuda(), w1d = w1.cuda(), b1d = b1.cuda();
      const at::Tensor inner = at::relu(at::conv2d(u, w0, b0, 1, 1));
      SCOPED_TRACE(testing::Message() << batch << " " << channels << " " << side);
      ExpectNear(GpuResBlock(u.cuda(), {w0d, b0d, w1d, b1d}), at::conv2d(inner, w1, b1, 1, 1) + u,
                 dtype);
    }
  }
}

struct RouteCase {
  int64_t tokens, width, experts, kept;
  at::ScalarType dtype;
};

class GpuRouteTest : public testing::TestWithParam<RouteCase> {};
INSTANTIATE_TEST_SUITE_P(Cases, GpuRouteTest,
                         testing::Values(RouteCase{0, 8, 4, 2, at::kFloat},
                                         RouteCase{1, 1, 1, 1, at::kFloat},
                                         RouteCase{1025, 384, 16, 4, at::kBFloat16},
                                         RouteCase{2000, 192, 128, 8, at::kFloat},
                                         RouteCase{300, 384, 256, 32, at::kBFloat16}));

// Of what the kernel makes of the logits; which of two near-equal ones is kept hangs on their last bits.
TEST_P(GpuRouteTest, EqualsCpu) {
  if (!at::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
  const at::NoGradGuard no_grad;
  const RouteCase& c = GetParam();
  const at::Tensor x = Uniform({c.tokens, c.width}, 1, c.dtype, 1);
  const at::Tensor weight = Uniform({c.experts, c.width}, 1, at::kFloat, 2);
  const at::Tensor bias = Uniform({c.experts}, 1, at::kFloat, 3);
  const at::Tensor logits = at::linear(x.to(at::kFloat), weight, bias);
  ASSERT_TRUE(HasGpuRoute(x.cuda(), weight.cuda(), c.kept));
  for (const bool over_all : {false, true}) {
    const GpuGates gates = GpuRoute(x.cuda(), weight.cuda(), bias.cuda(), c.kept, over_all);
    ExpectNear(gates.logits, logits, at::kFloat);
    const auto [largest, index] = at::topk(gates.logits.cpu(), c.kept, -1);
    EXPECT_TRUE(at::equal(gates.kept.cpu(), index));
    const at::Tensor expected =
        over_all ? at::softmax(gates.logits.cpu(), -1).gather(1, index) : at::softmax(largest, -1);
    EXPECT_TRUE(gates.weights.cpu().allclose(expected, 1e-4, 1e-6));
  }
}

TEST(GpuLayersTest, TrainingHasNone) {
  if (!at::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
  const at::Tensor u = Uniform({1, 8, 8, 8}, 1, at::kBFloat16, 1).cuda();
  EXPECT_FALSE(HasGpuResBlock(u));
  const at::Tensor rows = Uniform({8, 8}, 1, at::kBFloat16, 1).cuda();
  EXPECT_FALSE(HasGpuGroupedLinear(rows, rows.unsqueeze(0)));
  EXPECT_FALSE(HasGpuRoute(rows, rows.to(at::kFloat), 2));
}

}  // namespace
}  // namespace deweather
