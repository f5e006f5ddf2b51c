#include "model/kernels/packed_attention.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ostream>

#include "model/kernels/packed_linear.h"

namespace deweather {
namespace {

struct Case {
  int64_t pictures, tokens, heads, width;
  at::ScalarType dtype;
};

void PrintTo(const Case& given, std::ostream* out) {
  *out << given.pictures << "x" << given.tokens << " heads " << given.heads << "x" << given.width
       << " " << c10::toString(given.dtype);
}

// Tokens around a tile's 12 keys, 32 queries and a block's 192 keys; widths around a word and a register.
const Case kCases[] = {{1, 1, 1, 1, at::kFloat},       {3, 13, 2, 8, at::kFloat},
                       {2, 193, 3, 20, at::kFloat},    {1, 400, 2, 64, at::kFloat},
                       {1, 1, 1, 1, at::kBFloat16},    {3, 33, 2, 7, at::kBFloat16},
                       {2, 385, 2, 48, at::kBFloat16}, {1, 192, 1, 64, at::kBFloat16}};

class PackedAttentionTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (!HasCpuKernels()) GTEST_SKIP() << "this processor has no AVX-512 with bf16";
  }

  at::Tensor Qkv(double scale) {
    const auto& [pictures, tokens, heads, width, dtype] = GetParam();
    at::Generator generator = at::detail::createCPUGenerator(8);
    return at::empty({pictures * tokens, 3 * heads * width})
        .uniform_(-scale, scale, generator)
        .to(dtype);
  }
  // softmax(q k^T / sqrt(d)) v, every product as a whole.
  at::Tensor Reference(const at::Tensor& qkv) {
    const auto& [pictures, tokens, heads, width, dtype] = GetParam();
    const at::Tensor split = qkv.to(at::kFloat)
                                 .view({pictures, tokens, 3, heads, width})
                                 .permute({2, 0, 3, 1, 4});  // [3,B,heads,n,d]
    const at::Tensor scores = at::matmul(split[0], split[1].transpose(-1, -2));
    const at::Tensor shares = at::softmax(scores / std::sqrt(static_cast<double>(width)), -1);
    return at::matmul(shares, split[2]).transpose(1, 2).reshape({pictures * tokens, heads * width});
  }
};
INSTANTIATE_TEST_SUITE_P(Cases, PackedAttentionTest, testing::ValuesIn(kCases));

TEST_P(PackedAttentionTest, EqualsItsFormula) {
  const auto& [pictures, tokens, heads, width, dtype] = GetParam();
  // Of large scores, rounded as coarsely, a softmax has one weight; exp would overflow if the largest
  // were not taken off.
  for (const double scale : {1.0, 30.0}) {
    const at::Tensor qkv = Qkv(scale);
    const at::Tensor ours = PackedAttention(qkv, pictures, heads);
    EXPECT_EQ(ours.scalar_type(), dtype);
    const double tolerance = scale * (dtype == at::kFloat ? 5e-6 * scale : 1e-2);
    EXPECT_LE((ours.to(at::kFloat) - Reference(qkv)).abs().max().item<double>(), tolerance);
  }
}

TEST_P(PackedAttentionTest, HugeScoresStayNumbers) {
  const auto& [pictures, tokens, heads, width, dtype] = GetParam();
  EXPECT_TRUE(PackedAttention(Qkv(1e5), pictures, heads).isfinite().all().item<bool>());
}

TEST_P(PackedAttentionTest, CompanyAndThreadsChangeNoBit) {
  const auto& [pictures, tokens, heads, width, dtype] = GetParam();
  const at::Tensor qkv = Qkv(2);
  const int threads = at::get_num_threads();
  at::set_num_threads(2);
  const at::Tensor together = PackedAttention(qkv, pictures, heads);
  at::set_num_threads(1);
  for (int64_t b = 0; b < pictures; ++b) {
    const at::Tensor alone = PackedAttention(qkv.narrow(0, b * tokens, tokens), 1, heads);
    EXPECT_TRUE(at::equal(alone, together.narrow(0, b * tokens, tokens))) << b;
  }
  at::set_num_threads(threads);
}

}  // namespace
}  // namespace deweather
