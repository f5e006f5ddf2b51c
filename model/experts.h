// The experts' half of a transformer block: dense, conventional (ffn) or feature-modulated (fme).

#ifndef DEWEATHER_MODEL_EXPERTS_H_
#define DEWEATHER_MODEL_EXPERTS_H_

#include <ATen/core/Tensor.h>

#include "model/base/model_config.h"
#include "model/layers.h"
#include "model/router.h"

namespace deweather {

// E experts' linear layers of one shape.
struct StackedLinear {
  at::Tensor weight;  // [E,out,in]
  at::Tensor bias;    // [E,out]
};

struct FeedForward {
  Linear up;    // D -> mlp_ratio D
  Linear down;  // mlp_ratio D -> D
};

// Which members are used depends on the kind; the others are undefined tensors.
struct ExpertLayer {
  Linear router;           // ffn, fme; f32 always; with tasks one of each, [T,E,D] and [T,E]
  Norm norm;               // of what `ffn` or the modulation works on, [D]
  Linear stem_a, stem_b;   // fme with the star stem
  StackedLinear modulate;  // fme: gamma_e | beta_e, [E,2D,D], without expert 0 if it is a GELU
  Norm expert_norms;       // ffn: one per expert, [E,D]
  StackedLinear up, down;  // ffn: [E,4D,D], [E,D,4D]
  FeedForward ffn;         // dense, fme, ffn with residual_ffn
};

// Math     dense  FFN(LN(x))
//          ffn    sum_k w_k FFN_k(LN_k(x))                                     [Eq. 1-3]
//                 residual_ffn: FFN(LN(x)) beside them  [Rajbhandari et al. 2022, DeepSpeed-MoE, 4.1]
//          fme    z = LN(x); s = stem(z);
//                 FFN(sum_k w_k (gamma_k(s) * s + beta_k(s)))                  [Eq. 4-6]
// Shapes   x [N,D] -> [N,D]; `gates` of the same tokens, over this block's E experts; unused by dense
// Cost     grows with K, not with E: only kept experts are computed, each on its own tokens
at::Tensor ApplyExperts(const ModelConfig& config, const ExpertLayer& layer, const at::Tensor& x,
                        const Gates& gates);

// Whether ApplyExperts has the caller wait for the GPU, to learn how many rows each expert has: outside of
// training, on weights that are on one.
bool WaitsForRows(const ModelConfig& config, const ExpertLayer& layer);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_EXPERTS_H_
