// Recording what a GPU is told to do, as a CUDA graph.

#ifndef DEWEATHER_MODEL_CUDA_GRAPH_H_
#define DEWEATHER_MODEL_CUDA_GRAPH_H_

#include <ATen/core/Tensor.h>

#include "model/recorded_passes.h"

namespace deweather {

// What records passes on this device; null where nothing does: on the CPU, and without CUDA.
// A pass that waits for the GPU, or copies from the CPU, cannot be recorded. All graphs of one recorder share
// the memory that they work in. A graph's tiles and results have memory of their own for as long as it lives.
// Threads  the caller's current stream has to be the one that computes; other threads may use the device
RecordPass GraphRecorder(at::Device device);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_CUDA_GRAPH_H_
