// Passes recorded as CUDA graphs: they give what is computed, take no memory while they run, leave none behind,
// and a recording that fails leaves the GPU as it was.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/CachingHostAllocator.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "model/checkpoint.h"
#include "model/cuda_graph.h"
#include "model/host_tensor.h"
#include "model/restorer.h"
#include "tests/model/tiny.h"

namespace deweather {
namespace {

using c10::cuda::CUDACachingAllocator::emptyCache;
using c10::cuda::CUDACachingAllocator::getDeviceStats;

struct GraphCase {
  ExpertKind kind;
  Precision precision;
};

class CudaGraphTest : public testing::TestWithParam<GraphCase> {
 protected:
  void SetUp() override {
    if (!at::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
    const int major = at::cuda::getDeviceProperties(0)->major;
    if (GetParam().kind != ExpertKind::kDense && major != 9 && major != 10) {
      GTEST_SKIP() << "experts wait for a device of other than compute capability 9 and 10";
    }
  }

  static std::unique_ptr<Restorer> Make() {
    Checkpoint checkpoint;
    checkpoint.config = TinyConfig(GetParam().kind);
    checkpoint.config.channels = 16;
    checkpoint.parameters = InitialParameters(checkpoint.config, 7);
    auto restorer =
        MakeRestorer(checkpoint, {.device = "cuda:0", .precision = GetParam().precision});
    EXPECT_TRUE(restorer.ok()) << restorer.status();
    return std::make_unique<Restorer>(*std::move(restorer));
  }
  static at::Tensor Tiles(int64_t batch, uint64_t seed) {
    at::Generator generator = at::detail::createCPUGenerator(seed);
    at::Tensor tiles = EmptyOnHost({batch, 3, 32, 32}, at::kFloat, /*pinned=*/true);
    return tiles.uniform_(0, 1, generator);
  }
  static void RecordAll(const Restorer& restorer) {
    for (const int batch : {8, 4, 2, 1}) {
      const absl::Status status = restorer.record(Tiles(batch, 1));
      EXPECT_TRUE(status.ok()) << batch << ": " << status;
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Cases, CudaGraphTest,
                         testing::Values(GraphCase{ExpertKind::kDense, Precision::kF32},
                                         GraphCase{ExpertKind::kDense, Precision::kBf16},
                                         GraphCase{ExpertKind::kFfn, Precision::kBf16},
                                         GraphCase{ExpertKind::kFme, Precision::kBf16}));

// Sizes in turns: they share their memory.
TEST_P(CudaGraphTest, AReplayGivesWhatIsComputedInAnyOrderOfSizes) {
  const auto plain = Make(), recorded = Make();
  RecordAll(*recorded);
  const double tolerance = GetParam().precision == Precision::kF32 ? 1e-5 : 1e-3;
  for (uint64_t seed = 2; seed < 12; ++seed) {
    for (const int batch : {1, 8, 2, 3, 4}) {  // 3 is not recorded
      const at::Tensor tiles = Tiles(batch, seed);
      const Restored wanted = plain->forward(tiles, {.expert_map = true}).value();
      const Restored found = recorded->forward(tiles, {.expert_map = true}).value();
      EXPECT_LE((found.tiles - wanted.tiles).abs().max().item<double>(), tolerance) << batch;
      EXPECT_TRUE(at::equal(found.tokens, wanted.tokens)) << batch;
      EXPECT_EQ(found.expert_map.defined(), wanted.expert_map.defined());
    }
  }
}

TEST_P(CudaGraphTest, NothingIsAllocatedAfterTheFirstBatches) {
  const auto restorer = Make();
  RecordAll(*restorer);
  const auto run = [&] {
    for (const int batch : {1, 2, 4, 8}) ASSERT_TRUE(restorer->forward(Tiles(batch, 3), {}).ok());
  };
  for (int i = 0; i < 3; ++i) run();
  at::HostAllocator* const host = at::getHostAllocator(at::kCUDA);
  const int64_t device_before = getDeviceStats(0).num_device_alloc;
  const int64_t host_before = host->get_stats().num_host_alloc;
  for (int i = 0; i < 20; ++i) run();
  EXPECT_EQ(getDeviceStats(0).num_device_alloc, device_before);
  EXPECT_EQ(host->get_stats().num_host_alloc, host_before);
}

TEST_P(CudaGraphTest, MemoryGoesWithTheModel) {
  const auto live_and_die = [] {
    const auto restorer = Make();
    RecordAll(*restorer);
    EXPECT_TRUE(restorer->forward(Tiles(8, 3), {}).ok());
  };
  live_and_die();  // libraries keep workspaces of their own
  emptyCache();
  const int64_t used = getDeviceStats(0).allocated_bytes[0].current;
  const int64_t reserved = getDeviceStats(0).reserved_bytes[0].current;
  for (int i = 0; i < 3; ++i) live_and_die();
  emptyCache();
  EXPECT_EQ(getDeviceStats(0).allocated_bytes[0].current, used);
  EXPECT_LE(getDeviceStats(0).reserved_bytes[0].current, reserved);
}

TEST_P(CudaGraphTest, WithUncertaintyItIsComputed) {
  if (GetParam().kind == ExpertKind::kDense) GTEST_SKIP() << "routes nothing";
  const auto restorer = Make();
  RecordAll(*restorer);
  const auto restored =
      restorer->forward(Tiles(2, 3), {.uncertainty = true, .keys = std::vector<uint64_t>{1, 2}});
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_TRUE(restored->uncertainty.defined());
}

Restored Of(const at::Tensor& tiles) {
  Restored restored;
  restored.tiles = tiles;
  return restored;
}

// What the server does after such a failure: computes, records other sizes, lets memory run out.
TEST(GraphRecorderTest, AFailedRecordingLeavesTheGpuAsItWas) {
  if (!at::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
  const c10::InferenceMode inference;
  const at::Device device(at::kCUDA, 0);
  const RecordPass record = GraphRecorder(device);
  const auto twice = [device](const at::Tensor& tiles) { return Of(tiles.to(device) * 2); };
  const auto waits = [&](const at::Tensor& tiles) {
    const Restored restored = twice(tiles);
    return Of(restored.tiles + restored.tiles.sum().item<float>());
  };
  const at::Tensor tiles = at::ones({2, 3, 8, 8});
  for (int i = 0; i < 3; ++i) EXPECT_ANY_THROW(record(waits, tiles));
  EXPECT_TRUE(at::equal(waits(tiles).tiles.cpu(), tiles * 2 + 2 * tiles.numel()));
  const ComputePass replay = record(twice, tiles);
  EXPECT_ANY_THROW(record(waits, tiles));
  EXPECT_TRUE(at::equal(CopyToHost(replay(tiles * 3)).tiles, tiles * 6));
  const int64_t too_much = int64_t{1} << 44;
  EXPECT_THROW(at::empty({too_much}, at::TensorOptions(device).dtype(at::kByte)),
               c10::OutOfMemoryError);
  EXPECT_TRUE(at::equal(CopyToHost(replay(tiles)).tiles, tiles * 2));
}

TEST(GraphRecorderTest, CopiesOfAGpuArePinned) {
  if (!at::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
  EXPECT_TRUE(EmptyOnHost({4}, at::kFloat, /*pinned=*/true).is_pinned());
  const Restored copy = CopyToHost(Of(at::ones({1, 3, 8, 8}).cuda()));
  EXPECT_TRUE(copy.tiles.is_pinned());
  EXPECT_TRUE(at::equal(copy.tiles, at::ones({1, 3, 8, 8})));
}

}  // namespace
}  // namespace deweather
