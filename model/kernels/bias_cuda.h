// Biases, and what is done in the same pass, on a GPU; free of Torch so that it compiles wherever nvcc is.

#ifndef DEWEATHER_MODEL_KERNELS_BIAS_CUDA_H_
#define DEWEATHER_MODEL_KERNELS_BIAS_CUDA_H_

#include <cuda_runtime_api.h>

#include <cstdint>

namespace deweather::cuda {

// Of each: pointers are device memory, dense, aligned to 16 bytes, of bf16 if `bf16`, else f32; widths are
// multiples of 16 bytes. Enqueues on `stream` and does not wait; returns the launch's error.

// rows[r,:] += bias[e,:] where expert e has row r: end[e-1] <= r < end[e]. rows [count,width],
// bias [experts,width], end [experts].
struct BiasOfRows {
  int64_t count;
  int64_t width;
  int experts;
};
cudaError_t AddBias(void* rows, const void* bias, const int32_t* end, bool bf16, BiasOfRows shape,
                    cudaStream_t stream);

// y = ReLU(y + bias), or y + bias + x where x is not null. y and x [pixels,channels], bias [channels].
// REQUIRES: fewer than 2^31 times 16 bytes.
cudaError_t EndConv(void* y, const void* bias, const void* x, bool bf16, int64_t pixels,
                    int64_t channels, cudaStream_t stream);

}  // namespace deweather::cuda

#endif  // DEWEATHER_MODEL_KERNELS_BIAS_CUDA_H_
