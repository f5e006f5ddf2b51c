#include "model/restorer.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "model/base/random_key.h"
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

// --- uncertainty ---

std::vector<uint64_t> Keys(int64_t batch) {
  std::vector<uint64_t> keys;
  for (int64_t i = 0; i < batch; ++i) keys.push_back(RandomKey({7, static_cast<uint64_t>(i)}));
  return keys;
}

at::Tensor AsTensor(const std::vector<uint64_t>& keys) {
  return at::tensor(std::vector<int64_t>(keys.begin(), keys.end()), at::kLong);
}

// sigma of each token's kept experts, summed; tokens in rows of the picture.
TEST(RestorerTest, UncertaintyIsOfTheKeptExperts) {
  ModelConfig config = TinyConfig();
  config.experts = 5;
  const at::Tensor tiles = Tiles(2, 32, 48);
  const Restored restored =
      Make(config).forward(tiles, {.uncertainty = true, .keys = Keys(2)}).value();
  ASSERT_EQ(restored.uncertainty.sizes(), (std::vector<int64_t>{2, 2, 4, 6}));
  const Network network = BindNetwork(config, InitialParameters(config, 3));
  const NetworkOutput output = Forward(network, tiles, {.keys = AsTensor(Keys(2))});
  for (int64_t layer = 0; layer < 2; ++layer) {
    const Gates& gates = output.gates[layer];
    for (int64_t n = 0; n < 2 * 24; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < config.kept; ++k) {
        sum += std::sqrt(gates.variance[n][gates.kept[n][k]].item<double>());
      }
      const at::Tensor shown = restored.uncertainty[n / 24][layer][n % 24 / 6][n % 6];
      EXPECT_GT(sum, 0);
      EXPECT_NEAR(shown.item<double>(), sum, 1e-5 * sum) << layer << " " << n;
    }
  }
}

// Equal logits: what is summed is of the experts that the gates keep, not of others that weigh as much.
TEST(RestorerTest, UncertaintyIsOfTheKeptExpertsAmongEquals) {
  const at::Tensor logits = at::zeros({1000, 16});
  const at::Tensor kept = KeepLargest(logits, 4).index;
  ModelConfig config = TinyConfig();
  config.experts = 16;
  config.kept = 4;
  const Linear router{at::zeros({16, 16}), at::zeros({16})};
  EXPECT_TRUE(at::equal(Route(config, router, at::ones({1000, 16}), /*layer=*/0).kept, kept));
}

TEST(RestorerTest, ANetworkTakesOneKeyAPicture) {
  const Network network = BindNetwork(TinyConfig(), InitialParameters(TinyConfig(), 3));
  EXPECT_ANY_THROW(Forward(network, Tiles(2, 32, 32), {.keys = AsTensor(Keys(1))}));
  EXPECT_ANY_THROW(Forward(network, Tiles(2, 32, 32), {.keys = AsTensor(Keys(4))}));
  EXPECT_ANY_THROW(Forward(network, Tiles(2, 32, 32), {.tasks = AsTensor({0})}));
}

// Blocks that change nothing, with one router: what differs between their maps is the masks.
TEST(RestorerTest, EachLayerDrawsItsOwnMasks) {
  const ModelConfig config = TinyConfig();
  Checkpoint checkpoint{config, InitialParameters(config, 3), {}, "test"};
  Parameters& parameters = checkpoint.parameters;
  for (auto& [name, tensor] : parameters) {
    if (absl::StrContains(name, ".attention.out.") || absl::StrContains(name, ".ffn.down.")) {
      tensor.zero_();
    }
  }
  for (const std::string part : {".router.weight", ".router.bias"}) {
    parameters["blocks.1" + part] = parameters["blocks.0" + part];
  }
  const Restored restored = MakeRestorer(checkpoint, kF32)
                                ->forward(Tiles(1, 32, 32), {.uncertainty = true, .keys = {7}})
                                .value();
  EXPECT_TRUE(at::equal(restored.tokens[0][0], restored.tokens[0][1]));
  EXPECT_FALSE(at::equal(restored.uncertainty[0][0], restored.uncertainty[0][1]));
}

TEST(RestorerTest, UncertaintyChangesNothingElse) {
  ModelConfig config = TinyConfig();
  config.calibration = Calibration::kConfidence;
  const Restorer restorer = Make(config);
  const at::Tensor tiles = Tiles(3, 32, 32);
  const Restored plain = restorer.forward(tiles, {.keys = Keys(3)}).value();
  const Restored asked = restorer.forward(tiles, {.uncertainty = true, .keys = Keys(3)}).value();
  EXPECT_FALSE(plain.uncertainty.defined());
  EXPECT_TRUE(at::equal(plain.tiles, asked.tiles));
  EXPECT_TRUE(at::equal(plain.tokens, asked.tokens));
  EXPECT_TRUE(at::equal(plain.gate, asked.gate));
  EXPECT_TRUE(at::equal(plain.entropy, asked.entropy));
}

TEST(RestorerTest, CalibratedGatesMakeAnotherPicture) {
  const at::Tensor tiles = Tiles(2, 32, 32);
  for (const Calibration calibration :
       {Calibration::kNone, Calibration::kPaper, Calibration::kConfidence}) {
    ModelConfig config = TinyConfig();
    config.calibration = calibration;
    const Restorer restorer = Make(config);
    const Restored plain = restorer.forward(tiles, {}).value();
    const Restored calibrated =
        restorer.forward(tiles, {.calibrated = true, .keys = Keys(2)}).value();
    EXPECT_EQ(at::equal(plain.tiles, calibrated.tiles), calibration == Calibration::kNone);
    EXPECT_TRUE(calibrated.tiles.isfinite().all().item<bool>());
    const Restored both =
        restorer.forward(tiles, {.uncertainty = true, .calibrated = true, .keys = Keys(2)}).value();
    EXPECT_TRUE(at::equal(both.tiles, calibrated.tiles));
    EXPECT_GT(both.uncertainty.min().item<double>(), 0);
  }
}

void ExpectRefused(const Restorer& restorer, int64_t batch, const ForwardOptions& options,
                   absl::StatusCode code, const std::string& message) {
  const auto restored = restorer.forward(Tiles(batch, 32, 32), options);
  EXPECT_EQ(restored.status().code(), code);
  EXPECT_THAT(std::string(restored.status().message()), HasSubstr(message));
}

TEST(RestorerTest, UncertaintyOfANetworkWithoutRouterIsRefused) {
  const ForwardOptions options{.uncertainty = true, .keys = Keys(1)};
  for (const Restorer& restorer : {Make(TinyConfig(ExpertKind::kDense)),
                                   IdentityRestorer({.multiple_px = 8, .tile_px = 64})}) {
    ExpectRefused(restorer, 1, options, absl::StatusCode::kFailedPrecondition, "no router");
    // Gates that are not there need no passes.
    EXPECT_TRUE(restorer.forward(Tiles(1, 32, 32), {.calibrated = true}).ok());
  }
}

TEST(RestorerTest, AsManyKeysAsTiles) {
  const Restorer restorer = Make(TinyConfig());
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  ExpectRefused(restorer, 2, {.uncertainty = true}, kInvalid, "0 keys for a batch of 2");
  ExpectRefused(restorer, 2, {.calibrated = true}, kInvalid, "0 keys for a batch of 2");
  ExpectRefused(restorer, 2, {.uncertainty = true, .keys = Keys(3)}, kInvalid, "3 keys");
  EXPECT_TRUE(restorer.forward(Tiles(2, 32, 32), {.keys = Keys(3)}).ok());  // of no use
}

// --- tasks ---

ModelConfig WithTasks() {
  ModelConfig config = TinyConfig();
  config.channels = 16;  // convolutions over fewer take kernels that add up by the batch's size
  config.tasks = {"rain", "snow"};
  return config;
}

TEST(RestorerTest, ATaskForEachTile) {
  const Restorer restorer = Make(WithTasks());
  EXPECT_EQ(restorer.spec.tasks, (std::vector<std::string>{"rain", "snow"}));
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  ExpectRefused(restorer, 2, {}, kInvalid, "0 tasks for a batch of 2");
  ExpectRefused(restorer, 2, {.tasks = {1}}, kInvalid, "1 tasks for a batch of 2");
  ExpectRefused(restorer, 2, {.tasks = {1, 2}}, kInvalid, "task 2");
  ExpectRefused(restorer, 2, {.tasks = {-1, 0}}, kInvalid, "rain, snow");
  ExpectRefused(Make(TinyConfig()), 2, {.tasks = {0, 0}}, kInvalid, "2 tasks");
}

TEST(RestorerTest, TilesOfDifferentTasksShareABatch) {
  const Restorer restorer = Make(WithTasks());
  const at::Tensor tiles = Tiles(3, 64, 64);
  const std::vector<int> tasks = {1, 0, 1};
  const std::vector<uint64_t> keys = Keys(3);
  const Restored together =
      restorer.forward(tiles, {.uncertainty = true, .keys = keys, .tasks = tasks}).value();
  for (int64_t i = 0; i < 3; ++i) {
    const auto alone = [&](int task) {
      return restorer
          .forward(tiles.narrow(0, i, 1).clone(),
                   {.uncertainty = true, .keys = {keys[i]}, .tasks = {task}})
          .value();
    };
    EXPECT_TRUE(at::equal(alone(tasks[i]).tiles[0], together.tiles[i])) << i;
    EXPECT_TRUE(at::equal(alone(tasks[i]).uncertainty[0], together.uncertainty[i])) << i;
    EXPECT_FALSE(at::equal(alone(1 - tasks[i]).tiles[0], together.tiles[i])) << i;
  }
}

// --- layers of different E ---

TEST(RestorerTest, FewerExpertsArePaddedWithZeros) {
  ModelConfig config = TinyConfig();
  config.experts_by_block = {2, 4};
  const Restorer restorer = Make(config);
  EXPECT_EQ(restorer.spec.routing.experts_by_layer, (std::vector<int>{2, 4}));
  const Restored restored =
      restorer.forward(Tiles(2, 32, 32), {.uncertainty = true, .keys = Keys(2)}).value();
  ASSERT_EQ(restored.tokens.sizes(), (std::vector<int64_t>{2, 2, 4}));
  ASSERT_EQ(restored.gate.sizes(), (std::vector<int64_t>{2, 2, 4}));
  EXPECT_TRUE((restored.tokens.sum(2) == 16 * config.kept).all().item<bool>());
  EXPECT_TRUE((restored.tokens.select(1, 0).narrow(1, 2, 2) == 0).all().item<bool>());
  EXPECT_TRUE((restored.gate.select(1, 0).narrow(1, 2, 2) == 0).all().item<bool>());
  EXPECT_GT(restored.tokens.select(1, 1).narrow(1, 2, 2).sum().item<int64_t>(), 0);
  EXPECT_EQ(restored.uncertainty.sizes(), (std::vector<int64_t>{2, 2, 4, 4}));
}

// A router that tells nothing apart has the most entropy there is over its own experts.
TEST(RestorerTest, EntropyIsOverTheLayersOwnExperts) {
  ModelConfig config = TinyConfig();
  config.experts_by_block = {2, 4};
  Checkpoint checkpoint{config, InitialParameters(config, 3), {}, "test"};
  for (auto& [name, tensor] : checkpoint.parameters) {
    if (name.find(".router.") != std::string::npos) tensor.zero_();
  }
  const Restored restored = MakeRestorer(checkpoint, kF32)->forward(Tiles(1, 32, 32), {}).value();
  EXPECT_LE(MaxDifference(restored.entropy, at::ones({1, 2}, at::kDouble)), 1e-6);
}

}  // namespace
}  // namespace deweather
