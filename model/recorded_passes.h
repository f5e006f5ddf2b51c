// Passes of a network that were recorded for a shape of batch, to be replayed: on a GPU hundreds of launches
// become one (model/cuda_graph.h).
//
// Safe     what cannot be recorded, or does not repeat what the network computes, is not kept: the caller
//          computes that shape as before
// Owns     the recordings and the memory that they work in
// Threads  one at a time, as Restorer::forward
// Errors   a status; Find's functions throw what Torch throws

#ifndef DEWEATHER_MODEL_RECORDED_PASSES_H_
#define DEWEATHER_MODEL_RECORDED_PASSES_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "absl/status/status.h"
#include "model/restorer.h"

namespace deweather {

// From tiles, anywhere, to what the network makes of them, on the device that computes it.
using ComputePass = std::function<Restored(const at::Tensor& tiles)>;

// Records what `compute` does with tiles of this shape, and gives a function that does it again with others.
// That one's result is overwritten by the next call, of any recording of this recorder. Throws c10::Error where
// it cannot be recorded.
using RecordPass = std::function<ComputePass(const ComputePass& compute, const at::Tensor& tiles)>;

class RecordedPasses {
 public:
  // A null `record` records nothing. `tolerance`: how far a value of a picture may be from what was computed,
  // and which share of the routing may differ.
  explicit RecordedPasses(RecordPass record = {}, double tolerance = 0);

  // Records `compute` for the shape of `tiles` and holds it against itself, on these tiles and on others.
  // FAILED_PRECONDITION there is nothing to record with; INTERNAL or RESOURCE_EXHAUSTED it cannot be
  // recorded, or gives something else.
  absl::Status Add(const ComputePass& compute, const at::Tensor& tiles);

  // Null: none of that shape. Its result is to be copied before anything is replayed again.
  const ComputePass* Find(at::IntArrayRef shape) const;

  bool can_record() const { return record_ != nullptr; }

 private:
  RecordPass record_;
  double tolerance_;
  std::map<std::vector<int64_t>, ComputePass> replays_;  // by shape of the tiles
};

// MakeRestorer with something else that records, by device; for tests.
absl::StatusOr<Restorer> MakeRestorer(const Checkpoint& checkpoint, const LoadOptions& options,
                                      const std::function<RecordPass(at::Device)>& recorder);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_RECORDED_PASSES_H_
