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

// Math and shapes as ModulateAndMix in modulate_mix.h; all pointers are device memory, rows dense.
// s, modulation and mixed hold bf16 if `bf16`, else f32. Enqueues on `stream` and does not wait;
// returns the launch's error.
cudaError_t ModulateAndMix(const void* s, const void* modulation, const float* weights,
                           const int64_t* slot, void* mixed, bool bf16, ModulateMixShape shape,
                           cudaStream_t stream);

}  // namespace deweather::cuda

#endif  // DEWEATHER_MODEL_KERNELS_MODULATE_MIX_CUDA_H_
