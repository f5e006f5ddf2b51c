// Layers that a GPU computes otherwise than LibTorch does by itself; for inference, without gradients.
// Each function that begins with Has says whether there is such a way for what it is given; without the
// CUDA kernels there is none.

#ifndef DEWEATHER_MODEL_KERNELS_GPU_LAYERS_H_
#define DEWEATHER_MODEL_KERNELS_GPU_LAYERS_H_

#include <ATen/core/Tensor.h>

#include "model/kernels/token_sort.h"

namespace deweather {

// Every expert's linear layer on its own rows, in one product that waits for nothing: bf16 on devices of
// compute capability 9 and 10, where at::_grouped_mm is one kernel (on others it reads `end` back and
// loops), of widths that are multiples of 8.
// Shapes   rows [R,in] as `order` has them, weight [E,out,in], bias [E,out] -> [R,out]
bool HasGpuGroupedLinear(const at::Tensor& rows, const at::Tensor& weight);
at::Tensor GpuGroupedLinear(const at::Tensor& rows, const at::Tensor& weight,
                            const at::Tensor& bias, const TokenOrder& order);

// u + conv1(ReLU(conv0(u))), 3x3, with bias, ReLU and sum in one pass over what a convolution leaves
// (LibTorch takes two each): bf16 and f32, channels a multiple of 8.
// Shapes   u [B,C,H,W], weights [C,C,3,3], biases [C] -> [B,C,H,W], channels-last
struct ResBlockWeights {
  const at::Tensor &weight0, &bias0, &weight1, &bias1;
};
bool HasGpuResBlock(const at::Tensor& u);
at::Tensor GpuResBlock(const at::Tensor& u, const ResBlockWeights& weights);

// W x + b in f32, its K largest and their weights: the softmax over the kept ones or, `over_all`, over all E.
// Shapes   x [N,D] f32 or bf16, weight [E,D] and bias [E] f32, E <= 256, K <= 32 -> logits [N,E],
//          kept [N,K] i64, heaviest first, weights [N,K]
struct GpuGates {
  at::Tensor logits, kept, weights;
};
bool HasGpuRoute(const at::Tensor& x, const at::Tensor& weight, int64_t kept);
GpuGates GpuRoute(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                  int64_t kept, bool over_all);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_KERNELS_GPU_LAYERS_H_
