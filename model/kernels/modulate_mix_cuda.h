// The CUDA side of modulate_mix.h, free of Torch so that it compiles wherever nvcc is.

#ifndef DEWEATHER_MODEL_KERNELS_MODULATE_MIX_CUDA_H_
#define DEWEATHER_MODEL_KERNELS_MODULATE_MIX_CUDA_H_

#include <cuda_runtime_api.h>

#include <cstdint>

namespace deweather::cuda {

struct ModulateMixShape {
  int64_t tokens;  // N
  int64_t width;   // D
  int64_t kept;    // K
};

// What the mixture is made of; s and modulation hold bf16 if `bf16`, else f32.
struct MixInput {
  const void* s;           // [N,D]
  const void* modulation;  // [R,2D]
  const float* weights;    // [N,K]
  const int64_t* slot;     // [N,K]
  bool bf16;
};

// Of the types and shapes of what they are the gradients of.
struct MixSlopes {
  void* s;
  void* modulation;
  float* weights;
};

// Math and shapes as ModulateAndMix in modulate_mix.h, mixed [N,D] as s; all pointers are device memory,
// rows dense. Enqueues on `stream` and does not wait; returns the launch's error.
cudaError_t ModulateAndMix(const MixInput& in, void* mixed, ModulateMixShape shape,
                           cudaStream_t stream);

// Its gradients, from g [N,D] as s. The same.
cudaError_t Unmix(const void* g, const MixInput& in, MixSlopes out, ModulateMixShape shape,
                  cudaStream_t stream);

}  // namespace deweather::cuda

#endif  // DEWEATHER_MODEL_KERNELS_MODULATE_MIX_CUDA_H_
