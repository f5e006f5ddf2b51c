#include "model/kernels/top_k.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/topk.h>
#include <gtest/gtest.h>

#include <cmath>
#include <tuple>
#include <vector>

namespace deweather {
namespace {

std::vector<int64_t> IndexOf(const std::vector<float>& row, int64_t kept) {
  const at::Tensor index = TopK(at::tensor(row).unsqueeze(0), kept).index;
  return {index.const_data_ptr<int64_t>(), index.const_data_ptr<int64_t>() + kept};
}

TEST(TopKTest, EqualsTorch) {
  at::Generator generator = at::detail::createCPUGenerator(9);
  for (const auto& [rows, count, kept] :
       {std::tuple{0, 4, 2}, {1, 1, 1}, {3, 5, 5}, {1000, 16, 4}, {333, 128, 8}}) {
    const at::Tensor values = at::empty({rows, count}).uniform_(-3, 3, generator);
    const Largest ours = TopK(values, kept);
    const auto [expected, index] = at::topk(values, kept);
    EXPECT_TRUE(at::equal(ours.values, expected)) << rows << "x" << count;
    EXPECT_TRUE(at::equal(ours.index, index)) << rows << "x" << count;
  }
}

TEST(TopKTest, EqualsComeInOrder) {
  EXPECT_EQ(IndexOf({1, 2, 1, 2, 2}, 4), (std::vector<int64_t>{1, 3, 4, 0}));
}

// As Torch has it; and each expert once, whatever the logits are.
TEST(TopKTest, WhatIsNoNumberIsLargest) {
  EXPECT_EQ(IndexOf({1, NAN, 3, INFINITY, NAN}, 4), (std::vector<int64_t>{1, 4, 3, 2}));
  EXPECT_EQ(IndexOf({NAN, NAN, NAN}, 2), (std::vector<int64_t>{0, 1}));
}

}  // namespace
}  // namespace deweather
