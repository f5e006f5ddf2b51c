// What a tile becomes, and how unsure the routers were of it, must not depend on who is in the batch with
// it.
//
// The default suite looks at a few tiles; the figure in docs/reliability.md is of
//   DEWEATHER_INVARIANCE_TILES=10000 build/release/tests/model_test --gtest_filter='Invariance*'

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <random>
#include <vector>

#include "model/base/random_key.h"
#include "model/restorer.h"

namespace deweather {
namespace {

constexpr int64_t kSide = 64;  // 64 tokens of the shipped model
constexpr int kMaxBatch = 8;

int TilesToCheck() {
  const char* const text = std::getenv("DEWEATHER_INVARIANCE_TILES");
  return text == nullptr ? 200 : std::atoi(text);
}

struct Differences {
  int tiles = 0;
  int changed = 0;     // not equal to the bit
  int rerouted = 0;    // of those, with another count of tokens for some expert
  double largest = 0;  // of a pixel of a tile that was not rerouted
};

// Every tile of a batch against itself alone.
void Compare(const Restorer& restorer, const at::Tensor& tiles, Differences* differences) {
  const Restored together = restorer.forward(tiles, {}).value();
  for (int64_t i = 0; i < tiles.size(0); ++i) {
    const Restored alone = restorer.forward(tiles.narrow(0, i, 1).clone(), {}).value();
    ++differences->tiles;
    if (at::equal(alone.tiles[0], together.tiles[i])) continue;
    ++differences->changed;
    if (!at::equal(alone.tokens[0], together.tokens[i])) {
      ++differences->rerouted;
      continue;
    }
    const double largest = (alone.tiles[0] - together.tiles[i]).abs().max().item<double>();
    differences->largest = std::max(differences->largest, largest);
  }
}

TEST(InvarianceTest, CompanyChangesNoBit) {
  const absl::StatusOr<Restorer> restorer = LoadRestorer(
      DW_SOURCE_DIR "/model/weights/deweather-rain.safetensors", {"cpu", Precision::kF32});
  ASSERT_TRUE(restorer.ok()) << restorer.status();
  at::Generator generator = at::detail::createCPUGenerator(11);
  std::mt19937 random(11);
  Differences differences;
  const int wanted = TilesToCheck();
  while (differences.tiles < wanted) {
    const int batch = std::min<int>(2 + static_cast<int>(random() % (kMaxBatch - 1)),
                                    std::max(2, wanted - differences.tiles));
    const at::Tensor tiles = at::empty({batch, 3, kSide, kSide}).uniform_(0, 1, generator);
    Compare(*restorer, tiles, &differences);
  }
  std::cout << differences.tiles << " tiles, " << differences.changed << " changed, "
            << differences.rerouted << " rerouted, largest difference of the others "
            << differences.largest << "\n";
  EXPECT_EQ(differences.changed, 0);
}

// The map of every tile alone, on one thread, then 20 times in batches of every size, on one and two.
TEST(InvarianceTest, CompanyChangesNoBitOfTheUncertainty) {
  const absl::StatusOr<Restorer> restorer = LoadRestorer(
      DW_SOURCE_DIR "/model/weights/deweather-rain.safetensors", {"cpu", Precision::kF32});
  ASSERT_TRUE(restorer.ok()) << restorer.status();
  at::Generator generator = at::detail::createCPUGenerator(12);
  const at::Tensor tiles = at::empty({kMaxBatch, 3, kSide, kSide}).uniform_(0, 1, generator);
  // The maps of tiles [first, first + count), each with the key of its own number.
  const auto maps = [&](int64_t first, int64_t count) {
    ForwardOptions options{.uncertainty = true};
    for (int64_t i = first; i < first + count; ++i) {
      options.keys.push_back(RandomKey({3, static_cast<uint64_t>(i)}));
    }
    return restorer->forward(tiles.narrow(0, first, count).clone(), options)->uncertainty;
  };
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  std::vector<at::Tensor> alone;
  for (int64_t i = 0; i < kMaxBatch; ++i) alone.push_back(maps(i, 1)[0]);
  EXPECT_FALSE(at::equal(alone[0], alone[1]));
  std::mt19937 random(12);
  for (int repeat = 0; repeat < 20; ++repeat) {
    at::set_num_threads(1 + repeat % 2);
    const int64_t count = 1 + repeat % kMaxBatch;
    const auto first =
        static_cast<int64_t>(random() % static_cast<uint64_t>(kMaxBatch - count + 1));
    const at::Tensor together = maps(first, count);
    for (int64_t i = 0; i < count; ++i) {
      EXPECT_TRUE(at::equal(together[i], alone[first + i]))
          << first << " + " << i << " of " << count;
    }
  }
  at::set_num_threads(threads);
}

}  // namespace
}  // namespace deweather
