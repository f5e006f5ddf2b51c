#include <cuda_bf16.h>

#include <algorithm>

#include "model/kernels/modulate_mix_cuda.h"

namespace deweather::cuda {
namespace {

__device__ float ToFloat(float value) { return value; }
__device__ float ToFloat(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ void Store(float* out, float value) { *out = value; }
__device__ void Store(__nv_bfloat16* out, float value) { *out = __float2bfloat16(value); }

// One block per token, threads stride over the width: neighbouring threads read neighbouring
// elements of every row, so all traffic is coalesced.
template <typename T>
__global__ void ModulateMixKernel(const T* s, const T* modulation, const float* weights,
                                  const int64_t* slot, T* mixed, int64_t width, int64_t kept) {
  const int64_t n = blockIdx.x;
  for (int64_t d = threadIdx.x; d < width; d += blockDim.x) {
    const float token = ToFloat(s[n * width + d]);
    float sum = 0.0f;
    for (int64_t k = 0; k < kept; ++k) {
      const T* row = modulation + slot[n * kept + k] * 2 * width;  // gamma | beta
      sum += weights[n * kept + k] * (ToFloat(row[d]) * token + ToFloat(row[width + d]));
    }
    Store(mixed + n * width + d, sum);
  }
}

template <typename T>
cudaError_t Launch(const void* s, const void* modulation, const float* weights, const int64_t* slot,
                   void* mixed, ModulateMixShape shape, cudaStream_t stream) {
  if (shape.tokens == 0) return cudaSuccess;
  const int threads = static_cast<int>(std::min<int64_t>(256, (shape.width + 31) / 32 * 32));
  ModulateMixKernel<T><<<static_cast<unsigned>(shape.tokens), threads, 0, stream>>>(
      static_cast<const T*>(s), static_cast<const T*>(modulation), weights, slot,
      static_cast<T*>(mixed), shape.width, shape.kept);
  return cudaGetLastError();
}

}  // namespace

cudaError_t ModulateAndMix(const void* s, const void* modulation, const float* weights,
                           const int64_t* slot, void* mixed, bool bf16, ModulateMixShape shape,
                           cudaStream_t stream) {
  if (bf16) return Launch<__nv_bfloat16>(s, modulation, weights, slot, mixed, shape, stream);
  return Launch<float>(s, modulation, weights, slot, mixed, shape, stream);
}

}  // namespace deweather::cuda
