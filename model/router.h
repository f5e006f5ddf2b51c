// Which experts work on a token, and with what weight.

#ifndef DEWEATHER_MODEL_ROUTER_H_
#define DEWEATHER_MODEL_ROUTER_H_

#include <ATen/core/Tensor.h>

#include "model/base/model_config.h"

namespace deweather {

// N tokens, E experts, K kept.
struct Gates {
  at::Tensor logits;   // [N,E] f32
  at::Tensor kept;     // [N,K] i64, heaviest first
  at::Tensor weights;  // [N,K] f32, differentiable
  // [N,E] f32, differentiable: of the probabilities over M passes with dropout; undefined: none were run.
  at::Tensor variance = {};
};

// Math     released: keep the K largest of W x + b, softmax over the kept ones
//          paper:    softmax over all E, keep the K largest, not renormalised     [Eq. 1]
// Shapes   x [N,D] of any dtype; weight [E,D], bias [E] f32 (f64 where gradients are checked). The
//          router computes in their dtype: in bf16 near-ties would send a token to other experts than
//          training did.
Gates Route(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, Gate gate,
            int kept);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_ROUTER_H_
