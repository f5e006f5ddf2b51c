#include "model/restorer.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/checkpoint.h"
#include "model/network.h"
#include "tests/model/tiny.h"

namespace deweather {
namespace {

using testing::HasSubstr;

const LoadOptions kF32{"cpu", Precision::kF32};

Restorer Make(const ModelConfig& config, const LoadOptions& options = kF32) {
  Checkpoint checkpoint{config, InitialParameters(config, 3), {}, "test"};
  return MakeRestorer(checkpoint, options).value();
}

at::Tensor Tiles(int64_t batch, int64_t height, int64_t width) {
  at::Generator generator = at::detail::createCPUGenerator(5);
  return at::empty({batch, 3, height, width}).uniform_(0, 1, generator);
}

double MaxDifference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

class EveryKind : public testing::TestWithParam<ExpertKind> {};
INSTANTIATE_TEST_SUITE_P(RestorerTest, EveryKind,
                         testing::Values(ExpertKind::kDense, ExpertKind::kFfn, ExpertKind::kFme),
                         [](const auto& kind) { return std::string(Name(kind.param)); });

TEST_P(EveryKind, AnyMultipleOfThePatch) {
  const Restorer restorer = Make(TinyConfig(GetParam()));
  for (const auto& [height, width] : {std::pair{8, 8}, {32, 32}, {24, 64}}) {
    const auto restored = restorer.forward(Tiles(2, height, width), {});
    ASSERT_TRUE(restored.ok()) << restored.status();
    EXPECT_EQ(restored->tiles.sizes(), (std::vector<int64_t>{2, 3, height, width}));
    EXPECT_GE(restored->tiles.min().item<float>(), 0);
    EXPECT_LE(restored->tiles.max().item<float>(), 1);
  }
}

TEST_P(EveryKind, BatchMatesDoNotMatter) {
  const Restorer restorer = Make(TinyConfig(GetParam()));
  const at::Tensor tiles = Tiles(5, 32, 32);
  const Restored together = restorer.forward(tiles, {.expert_map = true}).value();
  for (int64_t i = 0; i < 5; ++i) {
    const Restored alone =
        restorer.forward(tiles.narrow(0, i, 1).clone(), {.expert_map = true}).value();
    EXPECT_LE(MaxDifference(alone.tiles[0], together.tiles[i]), 1e-5);
    EXPECT_TRUE(at::equal(alone.tokens[0], together.tokens[i]));
    if (GetParam() != ExpertKind::kDense) {
      EXPECT_TRUE(at::equal(alone.expert_map[0], together.expert_map[i]));
    }
  }
}

TEST_P(EveryKind, Bf16IsCloseToF32) {
  const ModelConfig config = TinyConfig(GetParam());
  const at::Tensor tiles = Tiles(2, 32, 32);
  const Restored exact = Make(config).forward(tiles, {}).value();
  const Restored bf16 = Make(config, {"cpu", Precision::kBf16}).forward(tiles, {}).value();
  EXPECT_LE(MaxDifference(exact.tiles, bf16.tiles), 0.05);
  EXPECT_EQ(bf16.tiles.scalar_type(), at::kFloat);
}

TEST(RestorerTest, RoutingSumsToTokensTimesKept) {
  for (const Gate gate : {Gate::kReleased, Gate::kPaper}) {
    ModelConfig config = TinyConfig();
    config.gate = gate;
    const Restored restored = Make(config).forward(Tiles(3, 32, 48), {}).value();
    ASSERT_EQ(restored.tokens.sizes(), (std::vector<int64_t>{3, 2, 4}));
    const int64_t tokens = 4 * 6;
    EXPECT_TRUE((restored.tokens.sum(2) == tokens * config.kept).all().item<bool>());
    // Kept weights sum to 1 with `released`, to less with `paper`.
    const at::Tensor mass = restored.gate.sum(2) / tokens;
    const double most = mass.max().item<double>();
    if (gate == Gate::kReleased) {
      EXPECT_NEAR(most, 1, 1e-6);
    } else {
      EXPECT_LT(most, 1);
    }
    EXPECT_GT(restored.entropy.min().item<double>(), 0);
    EXPECT_LE(restored.entropy.max().item<double>(), 1 + 1e-9);
  }
}

TEST(RestorerTest, ExpertMapIsTheHeaviestExpertOfEachToken) {
  const ModelConfig config = TinyConfig();
  const Restorer restorer = Make(config);
  const Restored restored = restorer.forward(Tiles(2, 32, 48), {.expert_map = true}).value();
  ASSERT_EQ(restored.expert_map.sizes(), (std::vector<int64_t>{2, 4, 6}));
  // The heaviest expert of a token is among the experts that the token keeps.
  for (int64_t tile = 0; tile < 2; ++tile) {
    for (int64_t e = 0; e < config.experts; ++e) {
      const int64_t heaviest = (restored.expert_map[tile] == e).sum().item<int64_t>();
      EXPECT_LE(heaviest, restored.tokens[tile][config.depth - 1][e].item<int64_t>());
    }
  }
  EXPECT_FALSE(restorer.forward(Tiles(1, 8, 8), {})->expert_map.defined());
}

TEST(RestorerTest, ResidualStartsAsTheIdentity) {
  ModelConfig config = TinyConfig();
  config.residual = true;
  const at::Tensor tiles = Tiles(2, 32, 32);
  EXPECT_TRUE(at::equal(Make(config).forward(tiles, {})->tiles, tiles));
}

TEST(RestorerTest, WrongShapesAreRefused) {
  const Restorer restorer = Make(TinyConfig());
  const auto refused = [&](const at::Tensor& tiles) {
    const auto restored = restorer.forward(tiles, {});
    EXPECT_EQ(restored.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(restored.status().message()), HasSubstr("multiples of 8"));
  };
  refused(Tiles(1, 20, 32));
  refused(Tiles(0, 32, 32));
  refused(Tiles(1, 32, 32).to(at::kDouble));
  refused(Tiles(1, 32, 32)[0]);
}

TEST(RestorerTest, UnknownDevices) {
  Checkpoint checkpoint{TinyConfig(), InitialParameters(TinyConfig(), 3), {}, "test"};
  for (const char* device : {"tpu", "cuda:x", "cuda:-1", "cuda:99"}) {
    const auto restorer = MakeRestorer(checkpoint, {device, Precision::kF32});
    EXPECT_EQ(restorer.status().code(), absl::StatusCode::kInvalidArgument) << device;
    EXPECT_THAT(std::string(restorer.status().message()), HasSubstr(device));
  }
}

TEST(RestorerTest, IdentityReturnsItsInput) {
  const Restorer identity = IdentityRestorer({.multiple_px = 8, .tile_px = 64});
  const at::Tensor tiles = Tiles(2, 64, 64);
  const Restored restored = identity.forward(tiles, {}).value();
  EXPECT_TRUE(at::equal(restored.tiles, tiles));
  EXPECT_EQ(restored.tokens.numel(), 0);
}

}  // namespace
}  // namespace deweather
