// Modulate-and-mix and its gradients, in the dialect of CUDA. One block per token, threads stride over
// the width: neighbouring threads read neighbouring elements of every row, so all traffic is coalesced.
// T is a type of 16 or 32 bits that converts to float and back; sums are taken in f32.

#ifndef DEWEATHER_MODEL_KERNELS_MODULATE_MIX_KERNELS_H_
#define DEWEATHER_MODEL_KERNELS_MODULATE_MIX_KERNELS_H_

#include <cstdint>

#include "model/kernels/cuda_sum.h"

namespace deweather::cuda {

template <typename T>
__global__ void MixKernel(const T* s, const T* modulation, const float* weights,
                          const int64_t* slot, T* mixed, int64_t width, int64_t kept) {
  const int64_t n = blockIdx.x;
  for (int64_t d = threadIdx.x; d < width; d += blockDim.x) {
    const float token = static_cast<float>(s[n * width + d]);
    float sum = 0.0f;
    for (int64_t k = 0; k < kept; ++k) {
      const T* gamma = modulation + slot[n * kept + k] * 2 * width;
      const T* beta = gamma + width;
      sum += weights[n * kept + k] *
             (static_cast<float>(gamma[d]) * token + static_cast<float>(beta[d]));
    }
    mixed[n * width + d] = static_cast<T>(sum);
  }
}

// Of g = dL/dm: dgamma = w g s, dbeta = w g, dw = sum_d g (gamma s + beta), ds = sum_k w g gamma.
// Every row of `modulation` is of one token and one expert: no two blocks write to one.
template <typename T>
__global__ void UnmixKernel(const T* g, const T* s, const T* modulation, const float* weights,
                            const int64_t* slot, T* ds, T* dmodulation, float* dweights,
                            int64_t width, int64_t kept) {
  const int64_t n = blockIdx.x;
  for (int64_t k = 0; k < kept; ++k) {
    const int64_t gamma = slot[n * kept + k] * 2 * width;  // seek to the row of expert k of token n
    const int64_t beta = gamma + width;
    const float weight = weights[n * kept + k];
    float products = 0.0f;
    for (int64_t d = threadIdx.x; d < width; d += blockDim.x) {
      const float slope = static_cast<float>(g[n * width + d]);
      const float token = static_cast<float>(s[n * width + d]);
      dmodulation[gamma + d] = static_cast<T>(weight * slope * token);
      dmodulation[beta + d] = static_cast<T>(weight * slope);
      products += slope * (static_cast<float>(modulation[gamma + d]) * token +
                           static_cast<float>(modulation[beta + d]));
    }
    const float total = BlockSum(products);
    if (threadIdx.x == 0) dweights[n * kept + k] = total;
  }
  for (int64_t d = threadIdx.x; d < width; d += blockDim.x) {
    float sum = 0.0f;
    for (int64_t k = 0; k < kept; ++k) {
      const int64_t gamma = slot[n * kept + k] * 2 * width;
      sum += weights[n * kept + k] * static_cast<float>(modulation[gamma + d]);
    }
    ds[n * width + d] = static_cast<T>(sum * static_cast<float>(g[n * width + d]));
  }
}

}  // namespace deweather::cuda

#endif  // DEWEATHER_MODEL_KERNELS_MODULATE_MIX_KERNELS_H_
