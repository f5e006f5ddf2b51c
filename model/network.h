// The MoFME network (arXiv 2312.16610, Section 3): convolutional head and tail around a vision
// transformer whose feed-forward halves are mixtures of experts.
//
// Math     u = head(2 I - 1); x = LN(embed(u)); per block x += Attention(LN(x)); x += Experts(x)
//          residual: I + tail(expand(x)); otherwise sigmoid(tail(expand(x)))
// Shapes   B pictures of H x W px, multiples of the patch p; n = (H/p)(W/p) tokens a picture, row-major;
//          N = B n tokens in all
// Stages   marked with RECORD_USER_SCOPE, for training/stage_clock.h to time

#ifndef DEWEATHER_MODEL_NETWORK_H_
#define DEWEATHER_MODEL_NETWORK_H_

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/base/model_config.h"
#include "model/experts.h"
#include "model/layers.h"
#include "model/router.h"

namespace deweather {

// Every tensor of ListParameters(config) by its name.
using Parameters = std::map<std::string, at::Tensor>;

struct Attention {
  Norm norm;
  Linear qkv;  // no bias; rows q | k | v, each heads * head_dim
  Linear out;
};

struct Block {
  Attention attention;
  ExpertLayer experts;
};

struct PackedTransformer;

struct Network {
  ModelConfig config;
  Conv head_conv;
  ResBlock head_block0, head_block1;
  Conv embed_conv;  // p x p, stride p
  Norm embed_norm;
  std::vector<Block> blocks;
  Linear expand;
  ResBlock tail_block0;
  Conv tail_conv0;
  ResBlock tail_block1;
  Conv tail_conv1;
  // What computes all between head and tail once Pack() was called and there are kernels for it.
  std::shared_ptr<const PackedTransformer> transformer = nullptr;
};

// Draws every parameter as PyTorch's layers do; a function of (config, seed). f32, on the CPU.
Parameters InitialParameters(const ModelConfig& config, uint64_t seed);

// The same tensors in `dtype`, but for the routers', which stay f32; differentiable.
// Convolution weights come out channels-last, the layout that the CPU computes fastest in.
Parameters CastParameters(const Parameters& parameters, at::ScalarType dtype);

// The network whose weights these tensors are (shared, not copied). All of them must be there.
Network BindNetwork(const ModelConfig& config, const Parameters& parameters);

// Readies a bound network for inference: its layers get their kernels' weights (layers.h,
// packed_transformer.h). Plain weights that are no longer needed are let go of.
void Pack(Network& network);

struct NetworkOutput {
  at::Tensor pictures;       // [B,3,H,W] in the given pictures' dtype; with `residual` not clamped
  std::vector<Gates> gates;  // one per block; none for dense
};

// `pictures` [B,3,H,W] in [0,1], f32 (f64 where gradients are checked); computes in the dtype of the
// network's weights. Throws c10::Error.
NetworkOutput Forward(const Network& network, const at::Tensor& pictures,
                      const PassOptions& options = {});

}  // namespace deweather

#endif  // DEWEATHER_MODEL_NETWORK_H_
