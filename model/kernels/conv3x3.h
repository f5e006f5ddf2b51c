// 3x3 convolutions on the CPU, for inference: Winograd's minimal filtering F(4x4, 3x3).
//
// Math     y = conv(x) with zeros around x; for each 4x4 outputs, of 6x6 inputs d and filters g,
//          y = A^T [sum over channels (G g G^T) * (B^T d B)] A                 [Lavin & Gray 2015, Eq. 12]
// Shapes   x [B,in,H,W], y [B,out,H,W], both channels-last, both f32 or both bf16; any H, W, in, out
// Company  an output's bits depend on its picture and its place there, not on the batch or on threads; not
//          a number spreads over the 4x4 outputs of each tile that reads it
// Dtypes   transforms and sums are in f32. Products are too, but for bf16 with 32 channels or more on both
//          sides: an output then errs by 1 % of the outputs' deviation (rms), by 0.2 % otherwise
// Cost     36 products where a plain convolution has 144; reads x once, writes y once

#ifndef DEWEATHER_MODEL_KERNELS_CONV3X3_H_
#define DEWEATHER_MODEL_KERNELS_CONV3X3_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace deweather {

struct PackedConv3x3 {
  at::Tensor points;  // G g G^T as the kernel reads it: [out/panel,36,steps,panel,in/steps]
  at::Tensor bias;    // f32, with zeros up to a whole panel
  int64_t in = 0;
  int64_t out = 0;

  bool defined() const { return points.defined(); }
};

// weight [out,in,3,3], bias [out], on the CPU
PackedConv3x3 PackConv3x3(const at::Tensor& weight, const at::Tensor& bias);

enum class ConvEnd {
  kNone,  // y = conv(x)
  kRelu,  // y = max(conv(x), 0)
  kAdd,   // y += conv(x); y is not x
};

// REQUIRES: HasCpuKernels() (packed_linear.h).
void Conv3x3(const PackedConv3x3& conv, const at::Tensor& x, ConvEnd end, at::Tensor& y);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_KERNELS_CONV3X3_H_
