// The CUDA kernel's text, on the CPU, against Torch's operators.

// The first makes plain C++ of the second.
// clang-format off
#include "tests/kernels/cuda_on_cpu.h"
#include "model/kernels/route_kernels.h"
// clang-format on

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

namespace deweather {
namespace {

struct Routed {
  at::Tensor logits, kept, weights;
};

template <typename T>
Routed RunKernel(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int kept,
                 bool over_all) {
  const int64_t tokens = x.size(0), experts = weight.size(0);
  Routed out{at::full({tokens, experts}, NAN), at::full({tokens, kept}, -1, at::kLong),
             at::full({tokens, kept}, NAN)};
  const cuda::RouteShape shape = {tokens, x.size(1), static_cast<int>(experts), kept};
  cuda::Launch((tokens + cuda::kRouteTokens - 1) / cuda::kRouteTokens, cuda::kRouteThreads,
               cuda::RouteKernel<T>, x.const_data_ptr<T>(), weight.const_data_ptr<float>(),
               bias.const_data_ptr<float>(), shape, over_all, out.logits.mutable_data_ptr<float>(),
               out.kept.mutable_data_ptr<int64_t>(), out.weights.mutable_data_ptr<float>());
  return out;
}

struct RouteCase {
  int64_t tokens, width, experts;
  int kept;
  at::ScalarType dtype;
};

class RouteKernelsTest : public testing::TestWithParam<RouteCase> {};
INSTANTIATE_TEST_SUITE_P(Cases, RouteKernelsTest,
                         testing::Values(RouteCase{0, 8, 4, 2, at::kFloat},
                                         RouteCase{1, 1, 1, 1, at::kFloat},
                                         RouteCase{7, 33, 3, 3, at::kFloat},
                                         RouteCase{19, 384, 16, 4, at::kBFloat16},
                                         RouteCase{16, 192, 128, 8, at::kFloat},
                                         RouteCase{9, 40, 250, 32, at::kBFloat16},
                                         RouteCase{8, 20, 256, 5, at::kFloat}));

TEST_P(RouteKernelsTest, EqualsTorch) {
  const RouteCase& c = GetParam();
  at::Generator generator = at::detail::createCPUGenerator(3);
  const auto uniform = [&](at::IntArrayRef shape) {
    return at::empty(shape).uniform_(-1, 1, generator);
  };
  const at::Tensor x = uniform({c.tokens, c.width}).to(c.dtype);
  const at::Tensor weight = uniform({c.experts, c.width}), bias = uniform({c.experts});
  const at::Tensor logits = at::linear(x.to(at::kFloat), weight, bias);
  for (const bool over_all : {false, true}) {
    const Routed routed = c.dtype == at::kFloat
                              ? RunKernel<float>(x, weight, bias, c.kept, over_all)
                              : RunKernel<at::BFloat16>(x, weight, bias, c.kept, over_all);
    EXPECT_TRUE(routed.logits.allclose(logits, 1e-5, 1e-4));
    const auto [largest, index] = at::topk(routed.logits, c.kept, -1);
    EXPECT_TRUE(at::equal(routed.kept, index));
    const at::Tensor expected =
        over_all ? at::softmax(routed.logits, -1).gather(1, index) : at::softmax(largest, -1);
    EXPECT_TRUE(routed.weights.allclose(expected, 1e-5, 1e-6));
  }
}

// Logits are the bias alone.
Routed OfLogits(const std::vector<float>& logits, int kept) {
  at::Tensor bias = at::empty({static_cast<int64_t>(logits.size())});
  std::copy(logits.begin(), logits.end(), bias.mutable_data_ptr<float>());
  return RunKernel<float>(at::zeros({1, 4}), at::zeros({bias.size(0), 4}), bias, kept, false);
}

std::vector<int64_t> Kept(const Routed& routed) {
  const int64_t* kept = routed.kept.const_data_ptr<int64_t>();
  return {kept, kept + routed.kept.numel()};
}

TEST(RouteKernelsTest, OfEqualsTheLowerNumber) {
  EXPECT_EQ(Kept(OfLogits({1, 2, 2, 1, 2}, 4)), (std::vector<int64_t>{1, 2, 4, 0}));
  EXPECT_EQ(Kept(OfLogits(std::vector<float>(100, 0.5f), 3)), (std::vector<int64_t>{0, 1, 2}));
}

// Whatever the logits, the kept ones are experts, and different ones: rows are found by them.
TEST(RouteKernelsTest, WhatIsNoNumberKeepsExperts) {
  const float inf = INFINITY;
  EXPECT_EQ(Kept(OfLogits({1, NAN, 2, NAN}, 3)), (std::vector<int64_t>{1, 3, 2}));
  EXPECT_EQ(Kept(OfLogits({-inf, inf, -inf, 0}, 4)), (std::vector<int64_t>{1, 3, 0, 2}));
  EXPECT_EQ(Kept(OfLogits({-inf, -inf}, 2)), (std::vector<int64_t>{0, 1}));
  const Routed none = OfLogits(std::vector<float>(70, NAN), 32);
  const std::vector<int64_t> kept = Kept(none);
  EXPECT_EQ(std::set<int64_t>(kept.begin(), kept.end()).size(), 32u);
  EXPECT_TRUE(none.weights.isnan().all().item<bool>());
}

}  // namespace
}  // namespace deweather
