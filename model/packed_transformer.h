// What lies between head and tail of a network, with its weights packed for the CPU's kernels: inference
// alone. network.h's own functions compute the same, differentiably and on any device.

#ifndef DEWEATHER_MODEL_PACKED_TRANSFORMER_H_
#define DEWEATHER_MODEL_PACKED_TRANSFORMER_H_

#include <ATen/core/Tensor.h>

#include <vector>

#include "model/base/model_config.h"
#include "model/kernels/packed_linear.h"
#include "model/layers.h"
#include "model/network.h"
#include "model/router.h"

namespace deweather {

// Which members of a block are used depends on the kind (experts.h).
struct PackedBlock {
  RowNorm attention_norm;
  PackedLinear qkv, out;
  Linear router;
  RowNorm norm;
  PackedLinear stem;      // a | b
  PackedLinear modulate;  // gamma | beta
  Norm expert_norms;      // f32
  PackedLinear expert_up, expert_down;
  PackedLinear up, down;
};

struct PackedTransformer {
  PackedLinear embed;
  RowNorm embed_norm;
  std::vector<PackedBlock> blocks;
  PackedLinear expand;
};

// Whether there are kernels for these weights: f32 or bf16, on a CPU that has what they need.
bool CanPack(const Network& network);

// REQUIRES: CanPack(network).
PackedTransformer PackTransformer(const Network& network);

// Features of the head, [B,Ch,H,W], to features of the tail, [B,Ct,H,W], both channels-last and in the
// weights' dtype; tokens are f32 on their way. Adds the gates of each block.
at::Tensor ApplyTransformer(const ModelConfig& config, const PackedTransformer& transformer,
                            const at::Tensor& features, const PassOptions& options,
                            std::vector<Gates>& gates);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_PACKED_TRANSFORMER_H_
