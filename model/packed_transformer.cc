#include "model/packed_transformer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/zeros_like.h>
#include <ATen/record_function.h>

#include "model/kernels/packed_attention.h"
#include "model/kernels/token_sort.h"

namespace deweather {
namespace {

RowNorm Ready(const Norm& norm) {
  if (!norm.weight.defined()) return {};
  return {norm.weight.to(at::kFloat).contiguous(), norm.bias.to(at::kFloat).contiguous()};
}

template <typename Layer>
PackedLinear PackIfThere(const Layer& layer) {
  return layer.weight.defined() ? Pack(layer.weight, layer.bias) : PackedLinear();
}

PackedLinear PackStem(const ExpertLayer& layer) {
  if (!layer.stem_a.weight.defined()) return {};
  return PackHalves(at::cat({layer.stem_a.weight, layer.stem_b.weight}),
                    at::cat({layer.stem_a.bias, layer.stem_b.bias}));
}

PackedLinear PackModulate(const StackedLinear& modulate) {
  if (!modulate.weight.defined()) return {};
  return PackHalves(modulate.weight, modulate.bias);
}

// All tasks' gates as one layer.
Linear PackRouter(const Linear& router) {
  if (!router.weight.defined()) return {};
  const at::Tensor weight = router.weight.flatten(0, -2), bias = router.bias.flatten();
  return {router.weight, router.bias, Pack(weight, bias)};
}

PackedBlock PackBlock(const Block& block) {
  const ExpertLayer& experts = block.experts;
  const RowNorm expert_norms = Ready(experts.expert_norms);
  return {.attention_norm = Ready(block.attention.norm),
          .qkv = Pack(block.attention.qkv.weight, block.attention.qkv.bias),
          .out = Pack(block.attention.out.weight, block.attention.out.bias),
          .router = PackRouter(experts.router),
          .norm = Ready(experts.norm),
          .stem = PackStem(experts),
          .modulate = PackModulate(experts.modulate),
          .expert_norms = {expert_norms.weight, expert_norms.bias},
          .expert_up = PackIfThere(experts.up),
          .expert_down = PackIfThere(experts.down),
          .up = PackIfThere(experts.ffn.up),
          .down = PackIfThere(experts.ffn.down)};
}

at::Tensor Normalise(const RowNorm& norm, const at::Tensor& x) {
  return at::layer_norm(x, {x.size(-1)}, norm.weight, norm.bias, 1e-5);
}

// Pictures to tokens, [B,Ch,H,W] -> [N,D].
at::Tensor Embed(const ModelConfig& config, const PackedTransformer& transformer,
                 const at::Tensor& features) {
  RECORD_USER_SCOPE("embed");
  return Normalise(transformer.embed_norm,
                   MultiplyPatches(transformer.embed, features, config.patch));
}

// x += Attention(LN(x))
void AddAttention(const ModelConfig& config, const PackedBlock& block, int64_t pictures,
                  at::Tensor& x) {
  RECORD_USER_SCOPE("attention");
  const at::Tensor qkv = MultiplyNormed(block.attention_norm, block.qkv, x);  // [N,3 heads d]
  AddProduct(block.out, PackedAttention(qkv, pictures, config.heads), x);
}

// s = GELU(A z) * (B z), or z itself, of z = LN(x)
at::Tensor ApplyStem(const ModelConfig& config, const PackedBlock& block, const at::Tensor& x) {
  RECORD_USER_SCOPE("stem");
  if (config.stem == Stem::kStar) return StarStem(block.norm, block.stem, x);
  return Normalise(block.norm, x).to(block.up.dtype);
}

// x += FFN(LN(x))
void AddDense(const PackedBlock& block, at::Tensor& x) {
  RECORD_USER_SCOPE("ffn");
  AddProduct(block.down, MultiplyNormed(block.norm, block.up, x, Activation::kGelu), x);
}

// Every kept expert's modulation of its tokens, weighted, [R,D].
at::Tensor ModulateRows(const ModelConfig& config, const PackedBlock& block, const at::Tensor& s,
                        const Gates& gates, const TokenOrder& order) {
  if (config.first_expert == FirstExpert::kModulate) {
    return Modulate(block.modulate, s, gates.weights, order);
  }
  // The released expert 0 is GELU(s).
  at::Tensor rows = Modulate(block.modulate, s, gates.weights, order, /*first=*/1);
  const int64_t count = order.begin[1];
  const at::Tensor weight =
      gates.weights.flatten().index_select(0, order.source.narrow(0, 0, count)).unsqueeze(1);
  const at::Tensor first = s.index_select(0, order.token.narrow(0, 0, count)).to(at::kFloat);
  rows.narrow(0, 0, count).copy_(weight * at::gelu(first));
  return rows;
}

// x += FFN(sum_k w_k (gamma_k(s) * s + beta_k(s)))                           [Eq. 4-6]
void AddFme(const ModelConfig& config, const PackedBlock& block, const Gates& gates,
            at::Tensor& x) {
  const TokenOrder order = SortTokens(gates.kept, static_cast<int>(gates.logits.size(1)));
  const at::Tensor s = ApplyStem(config, block, x);                      // [N,D]
  const at::Tensor rows = ModulateRows(config, block, s, gates, order);  // [R,D]
  RECORD_USER_SCOPE("ffn");
  AddProduct(block.down, MultiplySums(block.up, rows, order.slot), x);
}

// x += sum_k w_k FFN_k(LN_k(x)), and the network beside them                 [Eq. 1-3]
void AddFfn(const ModelConfig& config, const PackedBlock& block, const Gates& gates,
            at::Tensor& x) {
  const TokenOrder order = SortTokens(gates.kept, static_cast<int>(gates.logits.size(1)));
  const at::Tensor expert = gates.kept.flatten().index_select(0, order.source);  // [R]
  const at::Tensor unit = at::layer_norm(x, {x.size(1)}, {}, {}, 1e-5).index_select(0, order.token);
  at::Tensor rows = unit * block.expert_norms.weight.index_select(0, expert) +
                    block.expert_norms.bias.index_select(0, expert);                 // [R,D]
  rows = MultiplyGroups(block.expert_up, rows, order.begin, Activation::kGelu);      // [R,4D]
  rows = MultiplyGroups(block.expert_down, rows, order.begin);                       // [R,D]
  const at::Tensor weights = gates.weights.flatten().index_select(0, order.source);  // [R]
  rows = rows.to(at::kFloat) * weights.unsqueeze(1);
  const at::Tensor sum = at::zeros_like(x).index_add_(0, order.token, rows);
  if (config.residual_ffn) AddDense(block, x);
  x.add_(sum);
}

void AddExperts(const ModelConfig& config, const PackedBlock& block, const Gates& gates,
                at::Tensor& x) {
  RECORD_USER_SCOPE("experts");
  switch (config.kind) {
    case ExpertKind::kDense:
      return AddDense(block, x);
    case ExpertKind::kFfn:
      return AddFfn(config, block, gates, x);
    case ExpertKind::kFme:
      return AddFme(config, block, gates, x);
  }
}

}  // namespace

bool CanPack(const Network& network) { return HasCpuKernelsFor(network.expand.weight); }

PackedTransformer PackTransformer(const Network& network) {
  const at::Tensor patches = network.embed_conv.weight.permute({0, 2, 3, 1});  // [D,p,p,Ch]
  PackedTransformer packed{.embed = Pack(patches.flatten(1), network.embed_conv.bias),
                           .embed_norm = Ready(network.embed_norm),
                           .blocks = {},
                           .expand = Pack(network.expand.weight, network.expand.bias)};
  for (const Block& block : network.blocks) packed.blocks.push_back(PackBlock(block));
  return packed;
}

at::Tensor ApplyTransformer(const ModelConfig& config, const PackedTransformer& transformer,
                            const at::Tensor& features, const PassOptions& options,
                            std::vector<Gates>& gates) {
  at::Tensor x = Embed(config, transformer, features);  // [N,D]
  for (int layer = 0; layer < config.depth; ++layer) {
    const PackedBlock& block = transformer.blocks[static_cast<size_t>(layer)];
    AddAttention(config, block, features.size(0), x);
    Gates routed;
    if (config.routed()) {
      RECORD_USER_SCOPE("router");
      routed = Route(config, block.router, x, layer, options);
      gates.push_back(routed);
    }
    AddExperts(config, block, routed, x);
  }
  RECORD_USER_SCOPE("expand");
  return ExpandPatches(transformer.expand, x, features.size(2) / config.patch,
                       features.size(3) / config.patch, config.patch);
}

}  // namespace deweather
