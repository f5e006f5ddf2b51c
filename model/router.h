// Which experts work on a token, and with what weight; how sure the router is of them.

#ifndef DEWEATHER_MODEL_ROUTER_H_
#define DEWEATHER_MODEL_ROUTER_H_

#include <ATen/core/Tensor.h>

#include "model/base/model_config.h"
#include "model/kernels/top_k.h"
#include "model/layers.h"

namespace deweather {

// N tokens, E experts, K kept.
struct Gates {
  at::Tensor logits;  // [N,E] f32, of the pass without dropout
  // [N,K] i64, heaviest first; with Calibration::kPaper by the pass without dropout.
  at::Tensor kept;
  at::Tensor weights;  // [N,K] f32, differentiable
  // [N,E] f32, differentiable: of the probabilities over M passes with dropout; undefined: none were run.
  at::Tensor variance = {};
};

// The K largest of each row, [N,E] -> [N,K], as gates keep them: of equals always the same ones.
Largest KeepLargest(const at::Tensor& values, int64_t kept);

// What a forward pass is told beside the pictures.
struct PassOptions {
  at::Tensor tasks = {};  // [B] i64, indices into config.tasks; REQUIRED if that is not empty
  // [B] i64: what the dropout of each picture's M passes is a function of (kernels/dropout.h). Undefined:
  // no passes.
  at::Tensor keys = {};
  bool calibrate = false;  // gates after config.calibration; with keys only
};

// Math     released: keep the K largest of W x + b, softmax over the kept ones
//          paper:    softmax over all E, keep the K largest, not renormalised     [Eq. 1]
//          with keys, r^1..r^M: softmax over all E of W (x * dropout) + b; mu, sigma^2: their mean and
//          population variance [Eq. 10]; with `calibrate` they make the gates, as config.calibration says:
//          paper:      (r - mu)/sigma^2 of the kept experts over its norm; 0 where sigma is 0 but for
//                      rounding; a token whose norm is 0 keeps its gates [Eq. 7]
//          confidence: keep the K largest mu/(sigma + 1e-3), divided by their sum
// Shapes   x [N,D] of any dtype, tokens of B pictures one after another; router weight [E,D], bias [E],
//          or of T tasks [T,E,D], [T,E], of which each picture uses its own: f32 (f64 where gradients are
//          checked). The router computes in their dtype: in bf16 near-ties would send a token to other
//          experts than training did. `packed` is of all tasks' gates as one layer, [T E,D].
Gates Route(const ModelConfig& config, const Linear& router, const at::Tensor& x, int layer,
            const PassOptions& options = {});

}  // namespace deweather

#endif  // DEWEATHER_MODEL_ROUTER_H_
