// The CUDA kernels' text, on the CPU.

// The first makes plain C++ of the second.
// clang-format off
#include "tests/kernels/cuda_on_cpu.h"
#include "model/kernels/bias_kernels.h"
// clang-format on

#include <c10/util/BFloat16.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace deweather::cuda {
namespace {

TEST(BiasKernelsTest, ExpertOfRowSkipsThoseWithout) {
  const std::vector<int32_t> end = {0, 3, 3, 3, 4, 9, 9};
  const std::vector<int> expected = {1, 1, 1, 4, 5, 5, 5, 5, 5};
  for (size_t row = 0; row < expected.size(); ++row) {
    EXPECT_EQ(ExpertOfRow(end.data(), 7, row), expected[row]) << row;
  }
  const int32_t alone = 5;
  EXPECT_EQ(ExpertOfRow(&alone, 1, 4), 0);
}

// Numbers that bf16 holds, and their sums.
template <typename T>
std::vector<Bytes16<T>> Words(int64_t values, int seed) {
  std::vector<Bytes16<T>> words(values / Bytes16<T>::kValues);
  for (int64_t i = 0; i < values; ++i) {
    words[i / Bytes16<T>::kValues].value[i % Bytes16<T>::kValues] =
        static_cast<T>(static_cast<float>((i * 7 + seed * 13) % 41 - 20));
  }
  return words;
}

template <typename T>
float At(const std::vector<Bytes16<T>>& words, int64_t i) {
  return static_cast<float>(words[i / Bytes16<T>::kValues].value[i % Bytes16<T>::kValues]);
}

template <typename T>
class BiasKernelsTypedTest : public testing::Test {};
using Types = testing::Types<float, c10::BFloat16>;
TYPED_TEST_SUITE(BiasKernelsTypedTest, Types);

TYPED_TEST(BiasKernelsTypedTest, EveryRowGetsItsExpertsBias) {
  using T = TypeParam;
  for (const int64_t width : {8, 48, 1040}) {
    const std::vector<int32_t> end = {2, 2, 7};
    const std::vector<int> expert = {0, 0, 2, 2, 2, 2, 2};
    const std::vector<Bytes16<T>> before = Words<T>(7 * width, 1), bias = Words<T>(3 * width, 2);
    std::vector<Bytes16<T>> rows = before;
    Launch(7, 64, AddBiasKernel<T>, rows.data(), bias.data(), end.data(), 3,
           width / Bytes16<T>::kValues);
    for (int64_t i = 0; i < 7 * width; ++i) {
      ASSERT_EQ(At(rows, i), At(before, i) + At(bias, expert[i / width] * width + i % width)) << i;
    }
  }
}

// 3 blocks of 64 threads over more words than that, and over fewer.
TYPED_TEST(BiasKernelsTypedTest, ConvolutionsEndInReluOrSum) {
  using T = TypeParam;
  for (const auto& [pixels, channels] : {std::pair<int64_t, int64_t>{1, 8}, {5, 16}, {300, 24}}) {
    const int64_t values = pixels * channels;
    const std::vector<Bytes16<T>> before = Words<T>(values, 1), x = Words<T>(values, 3);
    const std::vector<Bytes16<T>> bias = Words<T>(channels, 2);
    std::vector<Bytes16<T>> rectified = before, summed = before;
    const uint32_t words = channels / Bytes16<T>::kValues;
    const uint32_t count = pixels * words;
    const Bytes16<T>* none = nullptr;
    Launch(3, 64, EndConvKernel<T>, rectified.data(), bias.data(), none, words, count);
    Launch(3, 64, EndConvKernel<T>, summed.data(), bias.data(), x.data(), words, count);
    for (int64_t i = 0; i < values; ++i) {
      const float sum = At(before, i) + At(bias, i % channels);
      ASSERT_EQ(At(rectified, i), std::max(sum, 0.0f)) << i;
      ASSERT_EQ(At(summed, i), sum + At(x, i)) << i;
    }
  }
}

TEST(BiasKernelsTest, WhatIsNoNumberStaysSo) {
  std::vector<Bytes16<float>> y = {{NAN, INFINITY, -INFINITY, -1}}, bias = {{0, 0, 0, 0}};
  const Bytes16<float>* none = nullptr;
  Launch(1, 32, EndConvKernel<float>, y.data(), bias.data(), none, 1u, 1u);
  EXPECT_TRUE(std::isnan(y[0].value[0]));
  EXPECT_EQ(y[0].value[1], INFINITY);
  EXPECT_EQ(y[0].value[2], 0);
  EXPECT_EQ(y[0].value[3], 0);
}

}  // namespace
}  // namespace deweather::cuda
