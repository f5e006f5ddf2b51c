// Modulates each token by its kept experts and mixes the results in one pass.
//
// Math     m_n = sum_k w_nk (gamma_nk * s_n + beta_nk)                       [Paper, Eq. 4 and 5]
//          with (gamma_nk | beta_nk) = modulation[slot_nk]
// Shapes   s [N,D], modulation [R,2D], weights [N,K] f32, slot [N,K] i64 -> m [N,D] in s's dtype
// Cost     memory-bound: reads `modulation` once, and once more for the gradients; sums in f32, of f64
//          in f64

#ifndef DEWEATHER_MODEL_KERNELS_MODULATE_MIX_H_
#define DEWEATHER_MODEL_KERNELS_MODULATE_MIX_H_

#include <ATen/core/Tensor.h>

#include "model/kernels/token_sort.h"

namespace deweather {

// The fused kernel, differentiable; s and modulation f32, bf16 or, on the CPU, f64, on one device.
at::Tensor ModulateAndMix(const at::Tensor& s, const at::Tensor& modulation,
                          const at::Tensor& weights, const TokenOrder& order);

// The same out of Torch's operators: the reference that the kernels are tested by.
at::Tensor ModulateAndMixReference(const at::Tensor& s, const at::Tensor& modulation,
                                   const at::Tensor& weights, const TokenOrder& order);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_KERNELS_MODULATE_MIX_H_
