#include "model/network.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>

#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/packed_transformer.h"
#include "model/parameters.h"

namespace deweather {
namespace {

at::Tensor Draw(const ParameterSpec& spec, at::Generator& generator) {
  if (spec.initial == Initial::kOnes) return at::ones(spec.shape);
  if (spec.initial == Initial::kZeros) return at::zeros(spec.shape);
  const double bound = 1.0 / std::sqrt(static_cast<double>(spec.fan_in));
  return at::empty(spec.shape).uniform_(-bound, bound, generator);
}

// Looks tensors up under dotted names; an absent one is an undefined tensor.
class Binder {
 public:
  explicit Binder(const Parameters& parameters) : parameters_(parameters) {}

  at::Tensor Find(const std::string& name) const {
    const auto found = parameters_.find(name);
    return found == parameters_.end() ? at::Tensor() : found->second;
  }
  template <typename Layer>
  Layer Get(const std::string& name) const {
    return {Find(name + ".weight"), Find(name + ".bias")};
  }
  ResBlock GetResBlock(const std::string& name) const {
    return {Get<Conv>(name + ".conv0"), Get<Conv>(name + ".conv1")};
  }
  ExpertLayer GetExperts(const std::string& block) const {
    return {.router = Get<Linear>(block + ".router"),
            .norm = Get<Norm>(block + ".ffn_norm"),
            .stem_a = Get<Linear>(block + ".stem.a"),
            .stem_b = Get<Linear>(block + ".stem.b"),
            .modulate = Get<StackedLinear>(block + ".experts.modulate"),
            .expert_norms = Get<Norm>(block + ".experts.norm"),
            .up = Get<StackedLinear>(block + ".experts.up"),
            .down = Get<StackedLinear>(block + ".experts.down"),
            .ffn = {Get<Linear>(block + ".ffn.up"), Get<Linear>(block + ".ffn.down")}};
  }
  Block GetBlock(const std::string& block) const {
    return {{Get<Norm>(block + ".attention_norm"), Get<Linear>(block + ".attention.qkv"),
             Get<Linear>(block + ".attention.out")},
            GetExperts(block)};
  }

 private:
  const Parameters& parameters_;
};

// x [B,n,D] -> [B,n,D]
at::Tensor Attend(const ModelConfig& config, const Attention& layer, const at::Tensor& x) {
  RECORD_USER_SCOPE("attention");
  const int64_t batch = x.size(0);
  const int64_t tokens = x.size(1);
  const at::Tensor qkv = Apply(layer.qkv, Apply(layer.norm, x))
                             .view({batch, tokens, 3, config.heads, config.head_dim})
                             .permute({2, 0, 3, 1, 4});  // [3,B,heads,n,head_dim]
  const at::Tensor attended = at::scaled_dot_product_attention(qkv[0], qkv[1], qkv[2]);
  return Apply(layer.out, attended.transpose(1, 2).reshape(
                              {batch, tokens, int64_t{config.heads} * config.head_dim}));
}

// Fewer or more would be dealt out over the tokens all the same.
void CheckOneAPicture(const at::Tensor& given, const at::Tensor& pictures, const char* what) {
  TORCH_CHECK(!given.defined() || given.size(0) == pictures.size(0), given.size(0), " ", what,
              " for ", pictures.size(0), " pictures");
}

at::Tensor ApplyBlock(const ModelConfig& config, const Block& block, int layer, at::Tensor x,
                      const PassOptions& options, std::vector<Gates>& gates) {
  x = x + Attend(config, block.attention, x);  // [B,n,D]
  const at::Tensor tokens = x.flatten(0, 1);   // [N,D]
  Gates routed;
  if (config.routed()) {
    RECORD_USER_SCOPE("router");
    routed = Route(config, block.experts.router, tokens, layer, options);
    gates.push_back(routed);
  }
  return x + ApplyExperts(config, block.experts, tokens, routed).view_as(x);
}

at::Tensor ApplyHead(const Network& network, const at::Tensor& pictures) {
  RECORD_USER_SCOPE("head");
  const at::Tensor scaled = (pictures * 2 - 1)
                                .to(network.head_conv.weight.scalar_type())
                                .contiguous(at::MemoryFormat::ChannelsLast);
  return Apply(network.head_block1,
               Apply(network.head_block0, Apply(network.head_conv, scaled)));  // [B,Ch,H,W]
}

// Pictures to tokens, [B,Ch,H,W] -> [B,n,D], row-major.
at::Tensor Embed(const Network& network, const at::Tensor& features) {
  RECORD_USER_SCOPE("embed");
  const at::Tensor patches = at::conv2d(features, network.embed_conv.weight,
                                        network.embed_conv.bias, network.config.patch);
  return Apply(network.embed_norm, patches.permute({0, 2, 3, 1}).flatten(1, 2));
}

// Tokens to pictures: channel (p1,p2,c) of token (h,w) is channel c of pixel (h p + p1, w p + p2).
// The result is channels-last without a copy more than the one that interleaves the patches.
at::Tensor Expand(const Network& network, const at::Tensor& x, int64_t rows, int64_t columns) {
  RECORD_USER_SCOPE("expand");
  const int64_t p = network.config.patch;
  const int64_t channels = network.config.channels * network.config.tail_scale;  // Ct
  return Apply(network.expand, x)
      .view({x.size(0), rows, columns, p, p, channels})
      .permute({0, 1, 3, 2, 4, 5})  // [B,h,p1,w,p2,Ct]
      .reshape({x.size(0), rows * p, columns * p, channels})
      .permute({0, 3, 1, 2});  // [B,Ct,H,W]
}

// All between head and tail: [B,Ch,H,W] -> [B,Ct,H,W].
at::Tensor ApplyBlocks(const Network& network, const at::Tensor& features,
                       const PassOptions& options, std::vector<Gates>& gates) {
  const ModelConfig& config = network.config;
  at::Tensor x = Embed(network, features);  // [B,n,D]
  for (int layer = 0; layer < config.depth; ++layer) {
    x = ApplyBlock(config, network.blocks[layer], layer, x, options, gates);
  }
  return Expand(network, x, features.size(2) / config.patch, features.size(3) / config.patch);
}

at::Tensor ApplyTail(const Network& network, const at::Tensor& features) {
  RECORD_USER_SCOPE("tail");
  const at::Tensor narrowed =
      Apply(network.tail_conv0, Apply(network.tail_block0, features));  // [B,Ct/2,H,W]
  return Apply(network.tail_conv1, Apply(network.tail_block1, narrowed));
}

}  // namespace

Parameters InitialParameters(const ModelConfig& config, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  Parameters parameters;
  for (const ParameterSpec& spec : ListParameters(config)) {
    parameters[spec.name] = Draw(spec, generator);
  }
  return parameters;
}

Parameters CastParameters(const Parameters& parameters, at::ScalarType dtype) {
  Parameters cast;
  for (const auto& [name, tensor] : parameters) {
    at::Tensor out = absl::StrContains(name, ".router.") ? tensor : tensor.to(dtype);
    if (out.dim() == 4) out = out.contiguous(at::MemoryFormat::ChannelsLast);
    cast[name] = out;
  }
  return cast;
}

Network BindNetwork(const ModelConfig& config, const Parameters& parameters) {
  const Binder bind(parameters);
  Network network{.config = config,
                  .head_conv = bind.Get<Conv>("head.conv"),
                  .head_block0 = bind.GetResBlock("head.block0"),
                  .head_block1 = bind.GetResBlock("head.block1"),
                  .embed_conv = bind.Get<Conv>("embed.conv"),
                  .embed_norm = bind.Get<Norm>("embed.norm"),
                  .blocks = {},
                  .expand = bind.Get<Linear>("expand"),
                  .tail_block0 = bind.GetResBlock("tail.block0"),
                  .tail_conv0 = bind.Get<Conv>("tail.conv0"),
                  .tail_block1 = bind.GetResBlock("tail.block1"),
                  .tail_conv1 = bind.Get<Conv>("tail.conv1")};
  for (int block = 0; block < config.depth; ++block) {
    network.blocks.push_back(bind.GetBlock(absl::StrCat("blocks.", block)));
  }
  return network;
}

void Pack(Network& network) {
  for (Conv* conv : {&network.head_conv, &network.tail_conv0, &network.tail_conv1}) Pack(*conv);
  for (ResBlock* block :
       {&network.head_block0, &network.head_block1, &network.tail_block0, &network.tail_block1}) {
    Pack(*block);
  }
  if (!CanPack(network)) return;
  network.transformer = std::make_shared<const PackedTransformer>(PackTransformer(network));
  network.blocks.clear();
  network.expand = {};
  network.embed_conv = {};
}

NetworkOutput Forward(const Network& network, const at::Tensor& pictures,
                      const PassOptions& options) {
  const ModelConfig& config = network.config;
  TORCH_CHECK(!network.head_conv.packed.defined() || !at::GradMode::is_enabled() ||
                  !pictures.requires_grad(),
              "a packed network has no gradients");
  CheckOneAPicture(options.keys, pictures, "keys");
  CheckOneAPicture(options.tasks, pictures, "tasks");
  NetworkOutput output;
  const at::Tensor seen = ApplyHead(network, pictures);  // [B,Ch,H,W]
  const at::Tensor features =
      network.transformer == nullptr
          ? ApplyBlocks(network, seen, options, output.gates)
          : ApplyTransformer(config, *network.transformer, seen, options, output.gates);
  const at::Tensor tail = ApplyTail(network, features).to(pictures.scalar_type());  // [B,3,H,W]
  output.pictures = config.residual ? pictures + tail : at::sigmoid(tail);
  return output;
}

}  // namespace deweather
