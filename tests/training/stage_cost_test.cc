#include "training/stage_cost.h"

#include <gtest/gtest.h>

#include <numeric>

#include "model/parameters.h"
#include "tests/model/tiny.h"

namespace deweather {
namespace {

TEST(StageCostTest, StagesAddUpToTheNetwork) {
  for (const ExpertKind kind : {ExpertKind::kDense, ExpertKind::kFfn, ExpertKind::kFme}) {
    ModelConfig config = TinyConfig();
    config.kind = kind;
    if (!config.routed()) config.experts = config.kept = 0;
    const Macs macs = CountMacs(config, 32, 32);
    int64_t sum = 0;
    for (const StageCost& cost : CountStages(config, 32, /*batch=*/3, 4)) {
      EXPECT_FALSE(cost.stage.empty());
      EXPECT_GT(cost.macs, 0) << cost.stage;
      sum += cost.macs;
    }
    EXPECT_EQ(sum, 3 * (macs.layers + macs.attention)) << Name(kind);
  }
}

TEST(StageCostTest, BytesOfALayerByHand) {
  // expand: rows of D values become rows of Ct p p, by as many weights.
  const ModelConfig config = TinyConfig();
  const int64_t in = config.embed_dim;
  const int64_t out = int64_t{config.channels} * config.tail_scale * config.patch * config.patch;
  const int64_t tokens = 2 * (32 / config.patch) * (32 / config.patch);
  for (const StageCost& cost : CountStages(config, 32, /*batch=*/2, /*bytes_a_value=*/2)) {
    if (cost.stage != "expand") continue;
    EXPECT_EQ(cost.macs, tokens * in * out);
    EXPECT_EQ(cost.bytes, 2 * (in * out + tokens * (in + out)));
  }
}

}  // namespace
}  // namespace deweather
