#include "model/recorded_passes.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/checkpoint.h"
#include "model/host_tensor.h"
#include "tests/model/tiny.h"

namespace deweather {
namespace {

using testing::HasSubstr;

constexpr double kTolerance = 1e-3;

at::Tensor Ramp(int64_t batch) { return at::rand({batch, 3, 8, 8}); }

// Stands for a network: halves the pixels; two experts of one layer.
Restored Halve(const at::Tensor& tiles) {
  const int64_t batch = tiles.size(0);
  return {.tiles = tiles * 0.5,
          .tokens = at::full({batch, 1, 2}, 1000, at::kLong),
          .gate = at::full({batch, 1, 2}, 500, at::kDouble),
          .entropy = at::full({batch, 1}, 0.5, at::kDouble),
          .expert_map = at::zeros({batch, 1, 1}, at::kByte),
          .uncertainty = {}};
}

// Records as a GPU does: tiles that are read and a result that is overwritten. `spoil` changes it.
RecordPass RecorderThat(std::function<void(Restored&)> spoil = [](Restored&) {}) {
  return [spoil](const ComputePass& compute, const at::Tensor& tiles) -> ComputePass {
    auto result = std::make_shared<Restored>(compute(tiles));
    return [compute, result, spoil](const at::Tensor& input) {
      Restored next = compute(input);
      spoil(next);
      result->tiles.copy_(next.tiles);
      result->tokens.copy_(next.tokens);
      if (next.gate.sizes() == result->gate.sizes()) result->gate.copy_(next.gate);
      result->entropy.copy_(next.entropy);
      if (result->expert_map.defined()) result->expert_map.copy_(next.expert_map);
      return *result;
    };
  };
}

TEST(RecordedPassesTest, ReplaysTheShapesThatWereAdded) {
  RecordedPasses passes(RecorderThat());
  ASSERT_TRUE(passes.Add(Halve, Ramp(4)).ok());
  ASSERT_TRUE(passes.Add(Halve, Ramp(1)).ok());
  for (const int64_t batch : {1, 4}) {
    const at::Tensor tiles = Ramp(batch);
    const ComputePass* const replay = passes.Find(tiles.sizes());
    ASSERT_NE(replay, nullptr);
    EXPECT_TRUE(at::equal((*replay)(tiles).tiles, tiles * 0.5));
  }
  EXPECT_EQ(passes.Find(Ramp(2).sizes()), nullptr);
  EXPECT_EQ(passes.Find({4, 3, 8, 16}), nullptr);
}

TEST(RecordedPassesTest, AShapeIsRecordedOnce) {
  int recorded = 0;
  RecordedPasses passes([&recorded](const ComputePass& compute, const at::Tensor&) {
    ++recorded;
    return compute;
  });
  ASSERT_TRUE(passes.Add(Halve, Ramp(2)).ok());
  ASSERT_TRUE(passes.Add(Halve, Ramp(2)).ok());
  EXPECT_EQ(recorded, 1);
}

TEST(RecordedPassesTest, WithoutARecorderThereIsNothing) {
  RecordedPasses passes;
  EXPECT_FALSE(passes.can_record());
  EXPECT_TRUE(absl::IsFailedPrecondition(passes.Add(Halve, Ramp(1))));
  EXPECT_EQ(passes.Find(Ramp(1).sizes()), nullptr);
}

TEST(RecordedPassesTest, ARecordingThatFailsIsAStatusAndOthersGoOn) {
  const RecordPass good = RecorderThat();
  RecordedPasses passes([&](const ComputePass& compute, const at::Tensor& tiles) {
    TORCH_CHECK(tiles.size(0) != 8, "operation not permitted when stream is capturing");
    if (tiles.size(0) == 4) throw c10::OutOfMemoryError({}, "CUDA out of memory");
    return good(compute, tiles);
  });
  const absl::Status status = passes.Add(Halve, Ramp(8));
  EXPECT_TRUE(absl::IsInternal(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("stream is capturing"));
  EXPECT_TRUE(absl::IsResourceExhausted(passes.Add(Halve, Ramp(4))));
  EXPECT_TRUE(passes.Add(Halve, Ramp(2)).ok());
  EXPECT_EQ(passes.Find(Ramp(8).sizes()), nullptr);
  EXPECT_EQ(passes.Find(Ramp(4).sizes()), nullptr);
  EXPECT_NE(passes.Find(Ramp(2).sizes()), nullptr);
}

TEST(RecordedPassesTest, AReplayThatFailsIsNotKept) {
  RecordedPasses passes([](const ComputePass&, const at::Tensor&) -> ComputePass {
    return [](const at::Tensor&) -> Restored { TORCH_CHECK(false, "cannot launch"); };
  });
  EXPECT_TRUE(absl::IsInternal(passes.Add(Halve, Ramp(1))));
  EXPECT_EQ(passes.Find(Ramp(1).sizes()), nullptr);
}

TEST(RecordedPassesTest, AReplayThatDiffersIsNotKept) {
  const std::vector<std::pair<std::string, std::function<void(Restored&)>>> cases = {
      {"pixels", [](Restored& restored) { restored.tiles[0][1][2][3] += 2 * kTolerance; }},
      {"pixels",
       [](Restored& restored) {
         restored.tiles[0][0][0][0] = std::numeric_limits<float>::quiet_NaN();
       }},
      {"tokens", [](Restored& restored) { restored.tokens[0][0][0] += 10; }},
      {"gates", [](Restored& restored) { restored.gate[0][0][1] += 10; }},
      {"entropies", [](Restored& restored) { restored.entropy *= 1.1; }},
      {"experts of the map", [](Restored& restored) { restored.expert_map += 1; }}};
  for (const auto& [what, spoil] : cases) {
    RecordedPasses passes(RecorderThat(spoil), kTolerance);
    const absl::Status status = passes.Add(Halve, Ramp(1));
    EXPECT_TRUE(absl::IsInternal(status)) << what;
    EXPECT_THAT(std::string(status.message()), HasSubstr(what));
    EXPECT_EQ(passes.Find(Ramp(1).sizes()), nullptr) << what;
  }
}

TEST(RecordedPassesTest, WhatIsWithinTheToleranceIsKept) {
  const auto spoil = [](Restored& restored) { restored.tiles += kTolerance / 2; };
  EXPECT_TRUE(RecordedPasses(RecorderThat(spoil), kTolerance).Add(Halve, Ramp(1)).ok());
  EXPECT_FALSE(RecordedPasses(RecorderThat(spoil)).Add(Halve, Ramp(1)).ok());
}

TEST(RecordedPassesTest, AReplayThatIsDeafToItsTilesIsNotKept) {
  RecordedPasses passes([](const ComputePass& compute, const at::Tensor& tiles) -> ComputePass {
    return [always = compute(tiles)](const at::Tensor&) { return always; };
  });
  EXPECT_TRUE(absl::IsInternal(passes.Add(Halve, Ramp(1))));
}

TEST(RecordedPassesTest, AReplayOfOtherShapesIsNotKept) {
  RecordedPasses passes([](const ComputePass& compute, const at::Tensor&) -> ComputePass {
    return [compute](const at::Tensor& input) {
      Restored restored = compute(input);
      restored.gate = restored.gate.narrow(2, 0, 1);
      return restored;
    };
  });
  EXPECT_TRUE(absl::IsInternal(passes.Add(Halve, Ramp(1))));
}

// A restorer on the CPU whose passes are "recorded" by a recorder that counts.
class RecordedRestorerTest : public testing::Test {
 protected:
  Restorer Make(const ModelConfig& config) {
    const Checkpoint checkpoint{config, InitialParameters(config, 3), {}, "test"};
    const auto recorder = [this](at::Device) -> RecordPass {
      return [this, record = RecorderThat()](const ComputePass& compute,
                                             const at::Tensor& tiles) -> ComputePass {
        return [this, life = life_, replay = record(compute, tiles)](const at::Tensor& input) {
          ++replays_;
          return replay(input);
        };
      };
    };
    return MakeRestorer(checkpoint, {"cpu", Precision::kF32}, recorder).value();
  }
  // Of one call.
  int Replays(const Restorer& restorer, const at::Tensor& tiles, const ForwardOptions& options) {
    replays_ = 0;
    EXPECT_TRUE(restorer.forward(tiles, options).ok());
    return replays_;
  }
  static at::Tensor Tiles(int64_t batch) { return at::rand({batch, 3, 32, 32}); }

  int replays_ = 0;
  std::shared_ptr<int> life_ = std::make_shared<int>();
};

TEST_F(RecordedRestorerTest, BatchesOfARecordedShapeAreReplayedAndOthersComputed) {
  const Restorer restorer = Make(TinyConfig());
  EXPECT_EQ(Replays(restorer, Tiles(2), {}), 0);
  ASSERT_TRUE(restorer.record(Tiles(2)).ok());
  EXPECT_EQ(Replays(restorer, Tiles(2), {}), 1);
  EXPECT_EQ(Replays(restorer, Tiles(2), {.expert_map = true}), 1);
  EXPECT_EQ(Replays(restorer, Tiles(2), {.keys = {1, 2}}), 1) << "keys are of no use here";
  EXPECT_EQ(Replays(restorer, Tiles(2), {.uncertainty = true, .keys = {1, 2}}), 0);
  EXPECT_EQ(Replays(restorer, Tiles(2), {.calibrated = true, .keys = {1, 2}}), 0);
  EXPECT_EQ(Replays(restorer, Tiles(1), {}), 0);
  EXPECT_EQ(Replays(restorer, at::rand({2, 3, 32, 16}), {}), 0);
}

TEST_F(RecordedRestorerTest, AReplayGivesWhatIsComputed) {
  for (const ExpertKind kind : {ExpertKind::kDense, ExpertKind::kFfn, ExpertKind::kFme}) {
    const Restorer restorer = Make(TinyConfig(kind));
    const at::Tensor tiles = Tiles(3);
    const Restored wanted = restorer.forward(tiles, {.expert_map = true}).value();
    ASSERT_TRUE(restorer.record(Tiles(3)).ok());
    const Restored found = restorer.forward(tiles, {.expert_map = true}).value();
    EXPECT_TRUE(at::equal(found.tiles, wanted.tiles));
    EXPECT_TRUE(at::equal(found.tokens, wanted.tokens));
    EXPECT_TRUE(at::equal(found.gate, wanted.gate));
    EXPECT_TRUE(at::equal(found.entropy, wanted.entropy));
    EXPECT_EQ(found.expert_map.defined(), wanted.expert_map.defined());
    if (wanted.expert_map.defined()) {
      EXPECT_TRUE(at::equal(found.expert_map, wanted.expert_map));
    }
    EXPECT_FALSE(restorer.forward(tiles, {})->expert_map.defined()) << "nobody asked";
  }
}

TEST_F(RecordedRestorerTest, AReplayLeavesEarlierResultsAlone) {
  const Restorer restorer = Make(TinyConfig());
  ASSERT_TRUE(restorer.record(Tiles(1)).ok());
  const Restored first = restorer.forward(Tiles(1), {.expert_map = true}).value();
  const Restored before = CopyToHost(first);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(restorer.forward(Tiles(1), {}).ok());
  EXPECT_TRUE(at::equal(first.tiles, before.tiles));
  EXPECT_TRUE(at::equal(first.tokens, before.tokens));
  EXPECT_TRUE(at::equal(first.gate, before.gate));
  EXPECT_TRUE(at::equal(first.entropy, before.entropy));
  EXPECT_TRUE(at::equal(first.expert_map, before.expert_map));
}

TEST_F(RecordedRestorerTest, RecordingsGoWithTheModel) {
  {
    const Restorer restorer = Make(TinyConfig());
    ASSERT_TRUE(restorer.record(Tiles(1)).ok());
    EXPECT_GT(life_.use_count(), 1);
  }
  EXPECT_EQ(life_.use_count(), 1);
}

TEST_F(RecordedRestorerTest, ANetworkWithTasksIsComputed) {
  ModelConfig config = TinyConfig();
  config.tasks = {"rain", "snow"};
  const Restorer restorer = Make(config);
  EXPECT_TRUE(absl::IsFailedPrecondition(restorer.record(Tiles(1))));
  EXPECT_EQ(Replays(restorer, Tiles(1), {.tasks = {1}}), 0);
}

TEST_F(RecordedRestorerTest, AWrongShapeIsRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(Make(TinyConfig()).record(at::rand({1, 3, 32, 33}))));
}

TEST_F(RecordedRestorerTest, TheCpuRecordsNothing) {
  const ModelConfig config = TinyConfig();
  const Checkpoint checkpoint{config, InitialParameters(config, 3), {}, "test"};
  EXPECT_EQ(MakeRestorer(checkpoint, {"cpu", Precision::kF32})->record, nullptr);
}

TEST(HostTensorTest, WithoutPinnedMemoryItIsOrdinary) {
  for (const bool pinned : {false, true}) {
    const at::Tensor tensor = EmptyOnHost({2, 3}, at::kFloat, pinned);
    EXPECT_EQ(tensor.sizes(), (std::vector<int64_t>{2, 3}));
    EXPECT_TRUE(tensor.is_cpu());
    EXPECT_EQ(tensor.scalar_type(), at::kFloat);
  }
}

TEST(HostTensorTest, ACopyIsContiguousAndItsOwn) {
  at::Tensor tiles = at::rand({2, 3, 4, 5});
  Restored restored;
  restored.tiles = tiles.transpose(2, 3);
  const Restored copy = CopyToHost(restored);
  EXPECT_TRUE(copy.tiles.is_contiguous());
  EXPECT_TRUE(at::equal(copy.tiles, tiles.transpose(2, 3)));
  EXPECT_FALSE(copy.tokens.defined());
  tiles.zero_();
  EXPECT_GT(copy.tiles.abs().max().item<float>(), 0);
}

}  // namespace
}  // namespace deweather
