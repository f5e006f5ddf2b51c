// How far a restored crop is from the truth.

#ifndef DEWEATHER_TRAINING_LOSS_H_
#define DEWEATHER_TRAINING_LOSS_H_

#include <ATen/core/Tensor.h>

#include "model/base/train_options.h"

namespace deweather {

// Math     smooth_l1: mean of e²/2 where |e| < 1, |e| - 1/2 elsewhere (the authors')
//          l1: mean |e|;  charbonnier: mean of sqrt(e² + 1e-6)
// Shapes   both [B,3,H,W] f32 -> a scalar
at::Tensor TaskLoss(LossKind kind, const at::Tensor& restored, const at::Tensor& truth);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_LOSS_H_
