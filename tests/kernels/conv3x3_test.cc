#include "model/kernels/conv3x3.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/relu.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <ostream>

#include "model/kernels/packed_linear.h"

namespace deweather {
namespace {

constexpr auto kLayout = at::MemoryFormat::ChannelsLast;

struct ConvCase {
  int64_t batch, in, out, rows, columns;
  at::ScalarType dtype;

  friend void PrintTo(const ConvCase& c, std::ostream* out) {
    *out << c.batch << "x" << c.rows << "x" << c.columns << ", " << c.in << " to " << c.out << ", "
         << toString(c.dtype);
  }
};

struct ConvProblem {
  at::Tensor x, weight, bias, y;  // y: what kAdd adds to

  at::Tensor Exact(ConvEnd end) const {
    const at::Tensor conv = at::conv2d(x.to(at::kDouble), weight.to(at::kDouble),
                                       bias.to(at::kDouble), /*stride=*/1, /*padding=*/1);
    if (end == ConvEnd::kRelu) return at::relu(conv);
    return end == ConvEnd::kAdd ? conv + y : conv;
  }
  at::Tensor Packed(ConvEnd end) const {
    at::Tensor out = y.clone(kLayout);
    Conv3x3(PackConv3x3(weight, bias), x, end, out);
    return out;
  }
};

// Values as in a network: inputs about 1, weights as PyTorch draws them.
ConvProblem MakeProblem(const ConvCase& c) {
  at::Generator generator = at::detail::createCPUGenerator(3);
  const auto draw = [&](at::IntArrayRef shape, double bound) {
    return at::empty(shape).uniform_(-bound, bound, generator).to(c.dtype);
  };
  const double bound = 1 / std::sqrt(9.0 * static_cast<double>(c.in));
  return {draw({c.batch, c.in, c.rows, c.columns}, 1).contiguous(kLayout),
          draw({c.out, c.in, 3, 3}, bound), draw({c.out}, bound),
          draw({c.batch, c.out, c.rows, c.columns}, 1).contiguous(kLayout)};
}

// Of a sum that the transforms scale by up to 4: in f32; in bf16, that is with 8 bits, rounded once when
// all is done, or already before the products.
double Tolerance(const ConvCase& c) {
  if (c.dtype == at::kFloat) return 1e-5;
  return std::min(c.in, c.out) < 32 ? 8e-3 : 4e-2;
}

class Conv3x3Test : public testing::TestWithParam<ConvCase> {
 protected:
  void SetUp() override {
    if (!HasCpuKernels()) GTEST_SKIP() << "this processor has no AVX-512 with bf16";
  }
};

// Channels that do and do not fill lanes and panels; sides that do and do not fill tiles; one tile,
// part of a block and many blocks.
INSTANTIATE_TEST_SUITE_P(
    Cases, Conv3x3Test,
    testing::Values(
        ConvCase{1, 3, 32, 16, 16, at::kFloat}, ConvCase{2, 5, 7, 9, 13, at::kFloat},
        ConvCase{1, 1, 1, 1, 1, at::kFloat}, ConvCase{1, 64, 3, 32, 32, at::kFloat},
        ConvCase{3, 16, 48, 6, 50, at::kFloat}, ConvCase{1, 32, 80, 8, 8, at::kFloat},
        ConvCase{2, 128, 128, 40, 40, at::kFloat}, ConvCase{1, 128, 64, 64, 64, at::kFloat},
        ConvCase{2, 3, 32, 17, 16, at::kBFloat16}, ConvCase{1, 20, 33, 11, 6, at::kBFloat16},
        ConvCase{2, 64, 64, 40, 40, at::kBFloat16}, ConvCase{1, 128, 128, 24, 24, at::kBFloat16},
        ConvCase{1, 64, 3, 30, 31, at::kBFloat16}));

TEST_P(Conv3x3Test, EqualsConvolution) {
  const ConvProblem problem = MakeProblem(GetParam());
  const double tolerance = Tolerance(GetParam());
  for (const ConvEnd end : {ConvEnd::kNone, ConvEnd::kRelu, ConvEnd::kAdd}) {
    const at::Tensor exact = problem.Exact(end);
    const at::Tensor packed = problem.Packed(end);
    ASSERT_EQ(packed.scalar_type(), GetParam().dtype);
    EXPECT_LE((packed - exact).abs().max().item<double>(), tolerance) << static_cast<int>(end);
  }
}

// To the bit, whatever else is in the batch and however many threads share it.
TEST_P(Conv3x3Test, CompanyChangesNoBit) {
  const ConvCase& c = GetParam();
  const ConvProblem problem = MakeProblem({c.batch + 2, c.in, c.out, c.rows, c.columns, c.dtype});
  const at::Tensor together = problem.Packed(ConvEnd::kRelu);
  const int threads = at::get_num_threads();
  for (const int count : {1, 2}) {
    at::set_num_threads(count);
    for (int64_t i = 0; i < c.batch + 2; ++i) {
      ConvProblem alone = problem;
      alone.x = problem.x.narrow(0, i, 1);
      alone.y = problem.y.narrow(0, i, 1);
      EXPECT_TRUE(at::equal(alone.Packed(ConvEnd::kRelu)[0], together[i])) << i;
    }
  }
  at::set_num_threads(threads);
}

// The server looks for them in what comes out.
TEST_F(Conv3x3Test, KeepsNotANumber) {
  for (const int64_t channels : {16, 32}) {  // by products of f32 and of bf16
    ConvProblem problem = MakeProblem({1, channels, channels, 8, 8, at::kBFloat16});
    problem.x[0][3][4][4] = std::numeric_limits<float>::quiet_NaN();
    for (const ConvEnd end : {ConvEnd::kNone, ConvEnd::kRelu, ConvEnd::kAdd}) {
      EXPECT_TRUE(at::isnan(problem.Packed(end)).any().item<bool>()) << static_cast<int>(end);
    }
  }
}

TEST_F(Conv3x3Test, RefusesOtherLayouts) {
  const ConvProblem problem = MakeProblem({1, 16, 16, 8, 8, at::kFloat});
  const PackedConv3x3 conv = PackConv3x3(problem.weight, problem.bias);
  at::Tensor y = problem.y.clone();
  EXPECT_THROW(Conv3x3(conv, problem.x.contiguous(), ConvEnd::kNone, y), c10::Error);
  EXPECT_THROW(Conv3x3(conv, problem.x.narrow(1, 0, 8), ConvEnd::kNone, y), c10::Error);
  EXPECT_THROW(Conv3x3(conv, problem.x.narrow(2, 0, 4), ConvEnd::kNone, y), c10::Error);
  EXPECT_THROW(Conv3x3(conv, problem.x.to(at::kBFloat16), ConvEnd::kNone, y), c10::Error);
  const ConvProblem wide = MakeProblem({1, 32, 32, 8, 8, at::kBFloat16});
  at::Tensor f32 = wide.y.to(at::kFloat);
  EXPECT_THROW(Conv3x3(PackConv3x3(wide.weight, wide.bias), f32.clone(), ConvEnd::kNone, f32),
               c10::Error);
}

TEST_F(Conv3x3Test, ErrsInBf16AsItsHeaderSays) {
  const ConvProblem problem = MakeProblem({1, 128, 128, 64, 64, at::kBFloat16});
  const at::Tensor exact = problem.Exact(ConvEnd::kNone);
  const at::Tensor error = problem.Packed(ConvEnd::kNone).to(at::kDouble) - exact;
  EXPECT_LE(error.square().mean().sqrt().item<double>(), 0.014 * exact.std().item<double>());
}

}  // namespace
}  // namespace deweather
