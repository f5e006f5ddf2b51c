// The CPU's kernels of linear layers against Torch's operators, over shapes, dtypes, K and E.

#include "model/kernels/packed_linear.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <ostream>

namespace deweather {
namespace {

struct Case {
  int64_t rows, in, out;
  at::ScalarType dtype;
};

void PrintTo(const Case& given, std::ostream* out) {
  *out << given.rows << "x" << given.in << "x" << given.out << " " << c10::toString(given.dtype);
}

// Rows around a tile's 12, inputs around a word's 2 and a register's 16, outputs around a panel's 32.
const Case kCases[] = {{1, 1, 1, at::kFloat},         {11, 16, 32, at::kFloat},
                       {12, 31, 33, at::kFloat},      {13, 384, 16, at::kFloat},
                       {0, 8, 8, at::kFloat},         {1300, 40, 96, at::kFloat},
                       {1, 1, 1, at::kBFloat16},      {25, 33, 48, at::kBFloat16},
                       {100, 192, 40, at::kBFloat16}, {500, 1537, 70, at::kBFloat16}};

class PackedLinearTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (!HasCpuKernels()) GTEST_SKIP() << "this processor has no AVX-512 with bf16";
  }

  at::Tensor Uniform(at::IntArrayRef shape) { return at::empty(shape).uniform_(-1, 1, generator_); }
  // A layer's weight as its dtype holds it.
  at::Tensor Weight(at::IntArrayRef shape) {
    return (Uniform(shape) / std::sqrt(static_cast<double>(shape.back()))).to(GetParam().dtype);
  }

  at::Generator generator_ = at::detail::createCPUGenerator(5);
};
INSTANTIATE_TEST_SUITE_P(Cases, PackedLinearTest, testing::ValuesIn(kCases));

// Results are of a few; bf16 has 8 bits of them.
void ExpectNear(const at::Tensor& ours, const at::Tensor& expected, at::ScalarType dtype) {
  ASSERT_EQ(ours.sizes(), expected.sizes());
  if (ours.numel() == 0) return;
  const double tolerance = dtype == at::kFloat ? 5e-6 : 2e-2;
  EXPECT_LE((ours.to(at::kFloat) - expected).abs().max().item<double>(), tolerance);
}

at::Tensor Reference(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return at::linear(x.to(at::kFloat), weight.to(at::kFloat), bias);
}

at::Tensor Halves(const at::Tensor& both, int half) {
  return both.narrow(-1, half * both.size(-1) / 2, both.size(-1) / 2);
}

TEST_P(PackedLinearTest, MultiplyEqualsLinear) {
  const auto& [rows, in, out, dtype] = GetParam();
  const at::Tensor weight = Weight({out, in}), bias = Uniform({out}), x = Uniform({rows, in});
  const PackedLinear packed = Pack(weight, bias);
  const at::Tensor expected = Reference(x.to(dtype), weight, bias);
  EXPECT_EQ(Multiply(packed, x).scalar_type(), dtype);
  ExpectNear(Multiply(packed, x), expected, dtype);  // rounds f32 rows to its dtype
  ExpectNear(Multiply(packed, x.to(dtype)), expected, dtype);
  ExpectNear(Multiply(packed, x, Activation::kGelu), at::gelu(expected), dtype);
  ExpectNear(Multiply(Pack(weight, {}), x), Reference(x.to(dtype), weight, {}), dtype);
}

TEST_P(PackedLinearTest, NormedAndAddedEqualTheirFormulas) {
  const auto& [rows, in, out, dtype] = GetParam();
  const at::Tensor weight = Weight({out, in}), bias = Uniform({out}), x = 3 * Uniform({rows, in});
  const RowNorm norm{Uniform({in}), Uniform({in})};
  const at::Tensor z = at::layer_norm(x, {in}, norm.weight, norm.bias, 1e-5).to(dtype);
  ExpectNear(MultiplyNormed(norm, Pack(weight, bias), x), Reference(z, weight, bias), dtype);
  at::Tensor sum = Uniform({rows, out});
  const at::Tensor expected = sum + Reference(z, weight, bias);
  AddProduct(Pack(weight, bias), z, sum);
  ExpectNear(sum, expected, dtype);
}

TEST_P(PackedLinearTest, StarStemEqualsItsFormula) {
  const auto& [rows, in, out, dtype] = GetParam();
  const at::Tensor weight = Weight({2 * in, in}), bias = Uniform({2 * in}), x = Uniform({rows, in});
  const RowNorm norm{Uniform({in}), Uniform({in})};
  const at::Tensor z = at::layer_norm(x, {in}, norm.weight, norm.bias, 1e-5).to(dtype);
  const at::Tensor both = Reference(z, weight, bias);
  ExpectNear(StarStem(norm, PackHalves(weight, bias), x),
             at::gelu(Halves(both, 0)) * Halves(both, 1), dtype);
}

TEST_F(PackedLinearTest, RefusesOtherShapes) {
  const PackedLinear layer = Pack(at::ones({8, 16}), at::ones({8}));
  const RowNorm norm{at::ones({16}), at::ones({16})};
  EXPECT_THROW(Multiply(layer, at::ones({5, 4})), c10::Error);
  EXPECT_THROW(MultiplyNormed(norm, layer, at::ones({16, 5}).t()), c10::Error);
  at::Tensor sum = at::ones({5, 7});
  EXPECT_THROW(AddProduct(layer, at::ones({5, 16}), sum), c10::Error);
}

// A row's bits depend on the row alone.
TEST_P(PackedLinearTest, CompanyAndThreadsChangeNoBit) {
  const auto& [rows, in, out, dtype] = GetParam();
  const PackedLinear packed = Pack(Weight({out, in}), Uniform({out}));
  const at::Tensor x = Uniform({rows, in});
  const int threads = at::get_num_threads();
  at::set_num_threads(2);
  const at::Tensor together = Multiply(packed, x);
  at::set_num_threads(1);
  for (int64_t first = 0; first < std::min<int64_t>(rows, 40); ++first) {
    for (const int64_t count : {1, 5, 12}) {
      if (first + count > rows) continue;
      EXPECT_TRUE(
          at::equal(Multiply(packed, x.narrow(0, first, count)), together.narrow(0, first, count)))
          << first << " + " << count;
    }
  }
  at::set_num_threads(threads);
}

struct ExpertCase {
  int64_t tokens, width, kept, experts;
  at::ScalarType dtype;
};

void PrintTo(const ExpertCase& given, std::ostream* out) {
  *out << "N" << given.tokens << " D" << given.width << " K" << given.kept << " E" << given.experts
       << " " << c10::toString(given.dtype);
}

// At 128 experts of 7 tokens most have none.
const ExpertCase kExpertCases[] = {{1, 1, 1, 1, at::kFloat},         {7, 48, 4, 128, at::kFloat},
                                   {30, 17, 2, 3, at::kFloat},       {300, 64, 8, 16, at::kFloat},
                                   {7, 48, 4, 128, at::kBFloat16},   {65, 33, 3, 5, at::kBFloat16},
                                   {257, 192, 4, 16, at::kBFloat16}, {40, 32, 1, 1, at::kBFloat16}};

class PackedExpertsTest : public testing::TestWithParam<ExpertCase> {
 protected:
  void SetUp() override {
    if (!HasCpuKernels()) GTEST_SKIP() << "this processor has no AVX-512 with bf16";
    const auto& [tokens, width, kept, experts, dtype] = GetParam();
    weight_ =
        (Uniform({experts, 2 * width, width}) / std::sqrt(static_cast<double>(width))).to(dtype);
    bias_ = Uniform({experts, 2 * width});
    s_ = Uniform({tokens, width}).to(dtype);
    weights_ = at::softmax(Uniform({tokens, kept}), 1);
  }

  at::Tensor Uniform(at::IntArrayRef shape) { return at::empty(shape).uniform_(-1, 1, generator_); }
  at::Tensor RandomlyKept() {
    const auto& [tokens, width, kept, experts, dtype] = GetParam();
    return std::get<1>(Uniform({tokens, experts}).topk(kept, 1));
  }
  // sum_k w_k (gamma_k s + beta_k) of token n
  at::Tensor Mixed(const at::Tensor& kept, int64_t n) {
    at::Tensor sum = at::full({GetParam().width}, 0.0);
    for (int64_t k = 0; k < kept.size(1); ++k) {
      const int64_t e = kept[n][k].item<int64_t>();
      const at::Tensor both = Reference(s_[n], weight_[e], bias_[e]);
      sum += weights_[n][k] * (Halves(both, 0) * s_[n].to(at::kFloat) + Halves(both, 1));
    }
    return sum;
  }
  void ExpectModulated(const at::Tensor& kept) {
    const auto& [tokens, width, kept_count, experts, dtype] = GetParam();
    const TokenOrder order = SortTokens(kept, static_cast<int>(experts));
    const at::Tensor rows = Modulate(PackHalves(weight_, bias_), s_, weights_, order);
    for (int64_t n = 0; n < tokens; ++n) {
      ExpectNear(rows.index_select(0, order.slot[n]).to(at::kFloat).sum(0), Mixed(kept, n), dtype);
    }
  }

  at::Generator generator_ = at::detail::createCPUGenerator(6);
  at::Tensor weight_, bias_, s_, weights_;
};
INSTANTIATE_TEST_SUITE_P(Cases, PackedExpertsTest, testing::ValuesIn(kExpertCases));

TEST_P(PackedExpertsTest, ModulateEqualsItsFormula) { ExpectModulated(RandomlyKept()); }

// The last experts have every token, the others none.
TEST_P(PackedExpertsTest, ModulateAllTokensByTheSameExperts) {
  const auto& [tokens, width, kept, experts, dtype] = GetParam();
  at::Tensor all = at::empty({tokens, kept}, at::kLong);
  for (int64_t k = 0; k < kept; ++k) all.select(1, k).fill_(experts - 1 - k);
  ExpectModulated(all);
}

TEST_P(PackedExpertsTest, ModulateLeavesRowsOfEarlierExperts) {
  const auto& [tokens, width, kept, experts, dtype] = GetParam();
  if (experts == 1) return;
  const TokenOrder order = SortTokens(RandomlyKept(), static_cast<int>(experts));
  const at::Tensor all = Modulate(PackHalves(weight_, bias_), s_, weights_, order);
  const PackedLinear others =
      PackHalves(weight_.narrow(0, 1, experts - 1), bias_.narrow(0, 1, experts - 1));
  const at::Tensor rows = Modulate(others, s_, weights_, order, /*first=*/1);
  const int64_t begin = order.begin[1], count = rows.size(0) - begin;
  EXPECT_TRUE(at::equal(rows.narrow(0, begin, count), all.narrow(0, begin, count)));
}

TEST_P(PackedExpertsTest, GroupsEqualEachExpertAlone) {
  const auto& [tokens, width, kept, experts, dtype] = GetParam();
  const TokenOrder order = SortTokens(RandomlyKept(), static_cast<int>(experts));
  const at::Tensor rows = Uniform({tokens * kept, width}).to(dtype);
  const at::Tensor ours = MultiplyGroups(Pack(weight_, bias_), rows, order.begin);
  for (int64_t e = 0; e < experts; ++e) {
    const int64_t begin = order.begin[e], count = order.begin[e + 1] - begin;
    ExpectNear(ours.narrow(0, begin, count),
               Reference(rows.narrow(0, begin, count), weight_[e], bias_[e]), dtype);
  }
}

TEST_P(PackedExpertsTest, SumsEqualTheirFormula) {
  const auto& [tokens, width, kept, experts, dtype] = GetParam();
  const TokenOrder order = SortTokens(RandomlyKept(), static_cast<int>(experts));
  const at::Tensor rows = Uniform({tokens * kept, width}).to(dtype);
  const at::Tensor sums =
      rows.to(at::kFloat).index_select(0, order.slot.flatten()).view({tokens, kept, width}).sum(1);
  ExpectNear(MultiplySums(Pack(weight_[0], bias_[0]), rows, order.slot),
             at::gelu(Reference(sums.to(dtype), weight_[0], bias_[0])), dtype);
}

struct PatchCase {
  int64_t pictures, channels, rows, columns, patch, width;
  at::ScalarType dtype;
};

void PrintTo(const PatchCase& given, std::ostream* out) {
  *out << given.pictures << "x" << given.channels << "x" << given.rows << "x" << given.columns
       << " p" << given.patch << " D" << given.width << " " << c10::toString(given.dtype);
}

// Channels that are whole panels, and others.
class PackedPatchesTest : public testing::TestWithParam<PatchCase> {};
INSTANTIATE_TEST_SUITE_P(Cases, PackedPatchesTest,
                         testing::Values(PatchCase{1, 3, 1, 1, 1, 5, at::kFloat},
                                         PatchCase{2, 32, 3, 2, 4, 16, at::kFloat},
                                         PatchCase{2, 8, 2, 5, 8, 24, at::kFloat},
                                         PatchCase{3, 64, 2, 3, 2, 33, at::kBFloat16},
                                         PatchCase{1, 6, 4, 3, 3, 32, at::kBFloat16}));

TEST_P(PackedPatchesTest, PatchesEqualConvolutionAndComeBack) {
  if (!HasCpuKernels()) GTEST_SKIP() << "this processor has no AVX-512 with bf16";
  const auto& [pictures, channels, rows, columns, patch, width, dtype] = GetParam();
  at::Generator generator = at::detail::createCPUGenerator(7);
  const auto uniform = [&](at::IntArrayRef shape) {
    return at::empty(shape).uniform_(-1, 1, generator);
  };
  const at::Tensor features =
      uniform({pictures, channels, rows * patch, columns * patch}).to(dtype);
  const double bound = 1 / std::sqrt(static_cast<double>(channels * patch * patch));
  const at::Tensor weight = (bound * uniform({width, channels, patch, patch})).to(dtype);
  const at::Tensor bias = uniform({width});
  const PackedLinear embed = Pack(weight.permute({0, 2, 3, 1}).flatten(1), bias);
  ExpectNear(MultiplyPatches(embed, features, patch),
             at::conv2d(features.to(at::kFloat), weight.to(at::kFloat), bias, patch)
                 .permute({0, 2, 3, 1})
                 .reshape({-1, width}),
             dtype);
  // Of the identity as weights a patch's values come back to where they were.
  const int64_t values = patch * patch * channels;
  const PackedLinear identity = Pack(at::eye(values).to(dtype), {});
  const at::Tensor tokens = features.to(at::kFloat)
                                .view({pictures, channels, rows, patch, columns, patch})
                                .permute({0, 2, 4, 3, 5, 1})
                                .reshape({-1, values});
  const at::Tensor back = ExpandPatches(identity, tokens, rows, columns, patch);
  EXPECT_TRUE(back.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_TRUE(at::equal(back, features));
}

TEST(GeluTest, EqualsTorchFarOut) {
  if (!HasCpuKernels()) GTEST_SKIP() << "this processor has no AVX-512 with bf16";
  const at::Tensor x = at::linspace(-12, 12, 4801).unsqueeze(1);
  const PackedLinear one = Pack(at::full({1, 1}, 1.0f), {});
  const at::Tensor expected = at::gelu(x.to(at::kDouble)).to(at::kFloat);
  EXPECT_LE((Multiply(one, x, Activation::kGelu) - expected).abs().max().item<double>(), 1e-6);
}

}  // namespace
}  // namespace deweather
