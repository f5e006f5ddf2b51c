// The K largest of each row, on the CPU.

#ifndef DEWEATHER_MODEL_KERNELS_TOP_K_H_
#define DEWEATHER_MODEL_KERNELS_TOP_K_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace deweather {

struct Largest {
  at::Tensor values;  // [N,K] f32, largest first
  at::Tensor index;   // [N,K] i64
};

// As at::topk, but without gradients, and of equals the first: what is no number is larger than any.
// Shapes   values [N,E] f32 on the CPU, K <= E
// Cost     each row is read once; a row's result depends on no other row
Largest TopK(const at::Tensor& values, int64_t kept);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_KERNELS_TOP_K_H_
