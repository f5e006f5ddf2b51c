// One tile on its way from a request through a batch and back.

#ifndef DEWEATHER_SERVER_BATCH_TILE_H_
#define DEWEATHER_SERVER_BATCH_TILE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "model/image/tiling.h"
#include "server/batch/batch_cost.h"
#include "server/batch/call.h"

namespace deweather {

struct Restorer;

// What the model made of a tile. L routed layers, E experts.
struct RestoredTile {
  std::vector<float> pixels = {};           // [3][height][width]
  std::vector<int64_t> tokens = {};         // [L][E]
  std::vector<double> gate = {};            // [L][E]
  std::vector<double> entropy = {};         // [L]
  std::vector<uint8_t> expert_map = {};     // [height / p][width / p], if asked for
  std::vector<float> uncertainty_map = {};  // the same of the mean over layers, if asked for
  std::vector<double> uncertainty = {};     // [L]: mean over tokens, with uncertainty_map

  // Filled by the batcher.
  int64_t batch = 0;          // number of the batch it ran in
  absl::Duration wait = {};   // in the queue
  absl::Duration infer = {};  // its share of the batch's run time
};

using TileDone = std::function<void(absl::StatusOr<RestoredTile>)>;

// Holds no pixels: they are gathered when its batch is made.
struct Tile {
  std::shared_ptr<const Call> call;
  std::shared_ptr<const Restorer> model;      // that the request pinned; the queue only compares it
  std::shared_ptr<BatchCost> cost = nullptr;  // of such batches; null: nothing is known or learnt
  const TileSource* source = nullptr;         // valid until `done` is called
  TileRect rect;
  bool expert_map = false;
  bool uncertainty = false;  // takes many passes: only tiles that want it share a batch
  uint64_t key = 0;          // TileKey: what the passes of uncertainty depend on
  int task = 0;              // of the model's tasks; of a model without, 0
  TileDone done = nullptr;   // called exactly once, under no lock; must be quick
  absl::Time enqueued = {};  // set by TileQueue::Push
};

// Runs tiles of one model and one size, and gives one result for each, in order. May throw.
// Called by one thread at a time.
using RunBatch = std::function<std::vector<absl::StatusOr<RestoredTile>>(absl::Span<const Tile>)>;

}  // namespace deweather

#endif  // DEWEATHER_SERVER_BATCH_TILE_H_
