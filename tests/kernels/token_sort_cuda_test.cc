// The order that the CUDA kernels make is the CPU's.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "model/kernels/token_sort.h"

namespace deweather {
namespace {

void ExpectEqualsCpu(int64_t tokens, int64_t kept, int experts, const at::Device& device) {
  SCOPED_TRACE(testing::Message() << "N" << tokens << " K" << kept << " E" << experts);
  at::Generator generator = at::detail::createCPUGenerator(11);
  const at::Tensor scores = at::empty({tokens, experts}).uniform_(0, 1, generator);
  const at::Tensor chosen = std::get<1>(scores.topk(kept, 1));
  const TokenOrder expected = SortTokens(chosen, experts);
  const TokenOrder order = SortTokens(chosen.to(device), experts);
  EXPECT_TRUE(at::equal(order.source.cpu(), expected.source));
  EXPECT_TRUE(at::equal(order.token.cpu(), expected.token));
  EXPECT_TRUE(at::equal(order.slot.cpu(), expected.slot));
  EXPECT_EQ(RowsBegin(order), RowsBegin(expected));
}

TEST(TokenSortCudaTest, EqualsCpu) {
  if (!at::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
  for (const auto& [tokens, kept, experts] : {std::tuple{0, 2, 3},
                                              {1, 1, 1},
                                              {7, 2, 4},
                                              {1024, 1, 256},
                                              {1025, 4, 16},
                                              {33000, 8, 128}}) {
    ExpectEqualsCpu(tokens, kept, experts, at::Device(at::kCUDA, 0));
  }
}

TEST(TokenSortCudaTest, OnADeviceThatIsNotCurrent) {
  if (at::cuda::getNumGPUs() < 2) GTEST_SKIP() << "fewer than two CUDA devices";
  ExpectEqualsCpu(100, 4, 16, at::Device(at::kCUDA, 1));
}

TEST(TokenSortCudaTest, TooManyExperts) {
  if (!at::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
  EXPECT_ANY_THROW(SortTokens(at::empty({1, 1}, at::kLong).zero_().cuda(), 257));
}

}  // namespace
}  // namespace deweather
