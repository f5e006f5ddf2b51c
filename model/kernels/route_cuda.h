// A gate on a GPU, free of Torch so that it compiles wherever nvcc is.

#ifndef DEWEATHER_MODEL_KERNELS_ROUTE_CUDA_H_
#define DEWEATHER_MODEL_KERNELS_ROUTE_CUDA_H_

#include <cuda_runtime_api.h>

#include <cstdint>

namespace deweather::cuda {

struct RouteInput {
  const void* x;        // [tokens,width], bf16 if `bf16`, else f32
  const float* weight;  // [experts,width]
  const float* bias;    // [experts]
  bool bf16;
  int64_t tokens;
  int64_t width;
  int experts;
  int kept;
  bool over_all;  // weights are a softmax over all experts, not over the kept ones
};

struct RouteOutput {
  float* logits;   // [tokens,experts]
  int64_t* kept;   // [tokens,kept], heaviest first; of equals the lower number first
  float* weights;  // [tokens,kept]
};

// All pointers are device memory, dense. REQUIRES: kept <= experts <= 256, kept <= 32. Enqueues on `stream`
// and does not wait; returns the launch's error.
cudaError_t Route(const RouteInput& in, RouteOutput out, cudaStream_t stream);

}  // namespace deweather::cuda

#endif  // DEWEATHER_MODEL_KERNELS_ROUTE_CUDA_H_
