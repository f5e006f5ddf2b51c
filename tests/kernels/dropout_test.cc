#include "model/kernels/dropout.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "model/kernels/philox.h"

namespace deweather {
namespace {

at::Tensor Keys(const std::vector<int64_t>& keys) { return at::tensor(keys, at::kLong); }

void ExpectWords(PhiloxWords words, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  EXPECT_EQ(words.word[0], a);
  EXPECT_EQ(words.word[1], b);
  EXPECT_EQ(words.word[2], c);
  EXPECT_EQ(words.word[3], d);
}

// The known answers that come with the authors' Random123.
TEST(PhiloxTest, KnownAnswers) {
  constexpr uint32_t kOnes = 0xffffffff;
  ExpectWords(Philox(0, {{0, 0, 0, 0}}), 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8);
  ExpectWords(Philox(~uint64_t{0}, {{kOnes, kOnes, kOnes, kOnes}}), 0x408f276d, 0x41c83b0e,
              0xa20bc7c6, 0x6d5451fd);
  ExpectWords(Philox(0x299f31d0a4093822, {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}),
              0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1);
}

// Bits, counter and order of the values: a map that was asked for once comes out so for ever.
TEST(DropoutTest, ValuesAreTheHalvesOfPhiloxsWords) {
  constexpr int64_t kWidth = 19;
  const int64_t key = -77;
  const at::Tensor mask = DropoutMask(Keys({5, key}), 3, kWidth, 0.5, /*layer=*/1, /*pass=*/4);
  for (uint32_t token = 0; token < 3; ++token) {
    for (int64_t d = 0; d < kWidth; ++d) {
      const PhiloxWords bits =
          Philox(static_cast<uint64_t>(key), {{static_cast<uint32_t>(d / 8), token, 4, 1}});
      const uint32_t value = bits.word[d % 8 / 2] >> (d % 2 == 0 ? 0 : 16) & 0xffff;
      EXPECT_EQ(mask[1][token][d].item<float>(), value < 0x8000 ? 0 : 2) << token << " " << d;
    }
  }
}

class DropoutShareTest : public testing::TestWithParam<double> {};
INSTANTIATE_TEST_SUITE_P(DropoutTest, DropoutShareTest,
                         testing::Values(0.0, 1.0 / 65536, 0.1, 0.5, 0.9));

// Within five standard deviations, over 800 000 values.
TEST_P(DropoutShareTest, ZerosAndMean) {
  const double p = GetParam();
  const at::Tensor mask = DropoutMask(Keys({1, 2, 3, 4}), 500, 400, p, 0, 0);
  ASSERT_EQ(mask.sizes(), (std::vector<int64_t>{4, 500, 400}));
  ASSERT_EQ(mask.scalar_type(), at::kFloat);
  const double count = static_cast<double>(mask.numel());
  const double zeros = (mask == 0).sum().item<double>() / count;
  const double spread = std::sqrt(p * (1 - p) / count);
  EXPECT_NEAR(zeros, p, 5 * spread + 1e-5);
  EXPECT_EQ(zeros > 0, p > 0);
  EXPECT_NEAR(mask.to(at::kDouble).mean().item<double>(), 1, 5 * spread / (1 - p) + 1e-5);
  EXPECT_TRUE(((mask == 0) | (mask - 1 / (1 - p)).abs().lt(1e-3)).all().item<bool>());
}

TEST(DropoutTest, OddWidthsAndNone) {
  const at::Tensor wide = DropoutMask(Keys({9}), 4, 64, 0.3, 0, 0);
  for (const int64_t width : {1, 7, 8, 9, 15, 33, 63}) {
    const at::Tensor mask = DropoutMask(Keys({9}), 4, width, 0.3, 0, 0);
    EXPECT_TRUE(at::equal(mask, wide.narrow(2, 0, width))) << width;
  }
  EXPECT_EQ(DropoutMask(Keys({9}), 0, 8, 0.3, 0, 0).numel(), 0);
  EXPECT_EQ(DropoutMask(at::empty({0}, at::kLong), 4, 8, 0.3, 0, 0).numel(), 0);
}

TEST(DropoutTest, CompanyOrderAndThreadsDoNotMatter) {
  const std::vector<int64_t> keys = {3, -1, 1LL << 40, 3};
  const at::Tensor together = DropoutMask(Keys(keys), 130, 21, 0.2, 1, 2);
  const int threads = at::get_num_threads();
  for (const int count : {1, 2, 3}) {
    at::set_num_threads(count);
    EXPECT_TRUE(at::equal(DropoutMask(Keys(keys), 130, 21, 0.2, 1, 2), together)) << count;
  }
  at::set_num_threads(threads);
  for (int64_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(at::equal(DropoutMask(Keys({keys[i]}), 130, 21, 0.2, 1, 2)[0], together[i])) << i;
  }
  EXPECT_TRUE(at::equal(together[0], together[3]));
}

// Share of the values in which two masks agree: (1-p)² + p² of independent ones.
double Agreement(const at::Tensor& a, const at::Tensor& b) {
  return (a == b).to(at::kDouble).mean().item<double>();
}

TEST(DropoutTest, KeysLayersPassesAndTokensAreIndependent) {
  constexpr double kP = 0.5;
  const auto mask = [](int64_t key, int layer, int pass) {
    return DropoutMask(Keys({key}), 200, 100, kP, layer, pass)[0];  // 20 000 values
  };
  const at::Tensor base = mask(1, 0, 0);
  const double spread = 5 * std::sqrt(0.25 / 20000);
  EXPECT_NEAR(Agreement(base, mask(2, 0, 0)), 0.5, spread);
  EXPECT_NEAR(Agreement(base, mask(1LL << 32, 0, 0)), 0.5, spread);
  EXPECT_NEAR(Agreement(base, mask(1, 1, 0)), 0.5, spread);
  EXPECT_NEAR(Agreement(base, mask(1, 0, 1)), 0.5, spread);
  EXPECT_NEAR(Agreement(mask(1, 0, 1), mask(1, 1, 0)), 0.5, spread);
  EXPECT_NEAR(Agreement(base, base.roll(1, 0)), 0.5, spread);  // of the token before
  EXPECT_NEAR(Agreement(base, base.roll(1, 1)), 0.5, spread);  // of the value before
}

TEST(DropoutTest, SharesOutOfRange) {
  for (const double p : {-0.1, 1.0, 1.5}) {
    EXPECT_ANY_THROW(DropoutMask(Keys({1}), 2, 8, p, 0, 0)) << p;
  }
  // So near to 1 that 16 bits cannot tell: still not infinite.
  EXPECT_TRUE(DropoutMask(Keys({1}), 2, 8, 1 - 1e-9, 0, 0).isfinite().all().item<bool>());
}

}  // namespace
}  // namespace deweather
