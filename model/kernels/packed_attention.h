// Attention on the CPU, for inference: softmax(q k^T / sqrt(d)) v of each head, in AVX-512.
//
// Shapes   qkv [N,3 heads d] f32 or bf16, rows q | k | v of the N = B n tokens of B pictures; each attends to
//          the n of its own picture -> [N,heads d], same dtype
// Company  a picture's result has the same bits whatever pictures come with it
// Cost     O(n^2) products; a block of scores is softmaxed while it is in the cache and never stored as a
//          whole: O(n) memory

#ifndef DEWEATHER_MODEL_KERNELS_PACKED_ATTENTION_H_
#define DEWEATHER_MODEL_KERNELS_PACKED_ATTENTION_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace deweather {

// REQUIRES: HasCpuKernels() (packed_linear.h).
at::Tensor PackedAttention(const at::Tensor& qkv, int64_t pictures, int64_t heads);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_KERNELS_PACKED_ATTENTION_H_
