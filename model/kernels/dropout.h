// Dropout that is a function of what it is for: the same in any batch, on any rank, on any device.
//
// Math     0 with probability p, else 1 / (1 - p); bits by Philox4x32-10 [Salmon et al. 2011], keyed by the
//          picture's key, its counter made of (layer, pass, token, place within the token)
// Shapes   keys [B] i64 -> [B, tokens, width] f32 on the keys' device
// Cost     16 bits a value: p is rounded to a multiple of 2^-16

#ifndef DEWEATHER_MODEL_KERNELS_DROPOUT_H_
#define DEWEATHER_MODEL_KERNELS_DROPOUT_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace deweather {

at::Tensor DropoutMask(const at::Tensor& keys, int64_t tokens, int64_t width, double p, int layer,
                       int pass);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_KERNELS_DROPOUT_H_
