#include "model/parameters.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"

namespace deweather {
namespace {

// Collects specs under a common prefix.
class Collector {
 public:
  void Linear(const std::string& name, int64_t out, int64_t in, bool bias = true) {
    Weight(name, {out, in}, in);
    if (bias) Bias(name, {out}, in);
  }
  // `count` linear layers of one shape, stacked.
  void StackedLinear(const std::string& name, int64_t count, int64_t out, int64_t in) {
    Weight(name, {count, out, in}, in);
    Bias(name, {count, out}, in);
  }
  void Conv(const std::string& name, int64_t out, int64_t in, int64_t side) {
    Weight(name, {out, in, side, side}, in * side * side);
    Bias(name, {out}, in * side * side);
  }
  void ResBlock(const std::string& name, int64_t channels) {
    Conv(name + ".conv0", channels, channels, 3);
    Conv(name + ".conv1", channels, channels, 3);
  }
  void Norm(const std::string& name, std::vector<int64_t> shape) {
    specs_.push_back({name + ".weight", shape, Initial::kOnes, 1});
    specs_.push_back({name + ".bias", std::move(shape), Initial::kZeros, 1});
  }
  void ZeroLast(int count) {
    for (auto spec = specs_.end() - count; spec != specs_.end(); ++spec) {
      spec->initial = Initial::kZeros;
    }
  }
  std::vector<ParameterSpec> Take() { return std::move(specs_); }

 private:
  void Weight(const std::string& name, std::vector<int64_t> shape, int64_t fan_in) {
    specs_.push_back({name + ".weight", std::move(shape), Initial::kUniform, fan_in});
  }
  void Bias(const std::string& name, std::vector<int64_t> shape, int64_t fan_in) {
    specs_.push_back({name + ".bias", std::move(shape), Initial::kUniform, fan_in});
  }

  std::vector<ParameterSpec> specs_;
};

void CollectFeedForward(const ModelConfig& config, const std::string& block, Collector& out) {
  const int64_t width = config.embed_dim;
  out.Linear(block + ".ffn.up", width * config.mlp_ratio, width);
  out.Linear(block + ".ffn.down", width, width * config.mlp_ratio);
}

// With tasks, a gate for each.
void CollectRouter(const ModelConfig& config, const std::string& block, int64_t experts,
                   Collector& out) {
  const std::string name = block + ".router";
  if (config.tasks.empty()) return out.Linear(name, experts, config.embed_dim);
  out.StackedLinear(name, std::ssize(config.tasks), experts, config.embed_dim);
}

void CollectFfn(const ModelConfig& config, const std::string& block, int64_t experts,
                Collector& out) {
  const int64_t width = config.embed_dim;
  const int64_t hidden = width * config.mlp_ratio;
  out.Norm(block + ".experts.norm", {experts, width});
  out.StackedLinear(block + ".experts.up", experts, hidden, width);
  out.StackedLinear(block + ".experts.down", experts, width, hidden);
  if (!config.residual_ffn) return;
  out.Norm(block + ".ffn_norm", {width});
  CollectFeedForward(config, block, out);
}

void CollectFme(const ModelConfig& config, const std::string& block, int64_t experts,
                Collector& out) {
  const int64_t width = config.embed_dim;
  out.Norm(block + ".ffn_norm", {width});
  if (config.stem == Stem::kStar) {
    out.Linear(block + ".stem.a", width, width);
    out.Linear(block + ".stem.b", width, width);
  }
  const int64_t modulating = experts - (config.first_expert == FirstExpert::kGelu ? 1 : 0);
  out.StackedLinear(block + ".experts.modulate", modulating, 2 * width, width);
  CollectFeedForward(config, block, out);
}

void CollectExperts(const ModelConfig& config, const std::string& block, int64_t experts,
                    Collector& out) {
  if (config.routed()) CollectRouter(config, block, experts, out);
  switch (config.kind) {
    case ExpertKind::kDense:
      out.Norm(block + ".ffn_norm", {config.embed_dim});
      return CollectFeedForward(config, block, out);
    case ExpertKind::kFfn:
      return CollectFfn(config, block, experts, out);
    case ExpertKind::kFme:
      return CollectFme(config, block, experts, out);
  }
}

void CollectBlock(const ModelConfig& config, int index, Collector& out) {
  const std::string block = absl::StrCat("blocks.", index);
  const int64_t inner = int64_t{config.heads} * config.head_dim;
  out.Norm(block + ".attention_norm", {config.embed_dim});
  out.Linear(block + ".attention.qkv", 3 * inner, config.embed_dim, /*bias=*/false);
  out.Linear(block + ".attention.out", config.embed_dim, inner);
  CollectExperts(config, block, config.experts_of(index), out);
}

// How many multiply-accumulates a token or pixel costs: of stacked experts the kept ones work on it, of the
// tasks' gates one.
int64_t MacsOfOne(const ModelConfig& config, const ParameterSpec& spec) {
  if (spec.shape.size() != 3) return spec.elements();
  const bool router = spec.name.ends_with(".router.weight");
  const int64_t used = router ? 1 : std::min<int64_t>(config.kept, spec.shape[0]);
  return used * spec.shape[1] * spec.shape[2];
}

}  // namespace

int64_t ParameterSpec::elements() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

std::vector<ParameterSpec> ListParameters(const ModelConfig& config) {
  const int64_t head = config.channels;                      // Ch
  const int64_t tail = config.channels * config.tail_scale;  // Ct
  Collector out;
  out.Conv("head.conv", head, 3, 3);
  out.ResBlock("head.block0", head);
  out.ResBlock("head.block1", head);
  out.Conv("embed.conv", config.embed_dim, head, config.patch);
  out.Norm("embed.norm", {config.embed_dim});
  for (int block = 0; block < config.depth; ++block) {
    CollectBlock(config, block, out);
  }
  out.Linear("expand", tail * config.patch * config.patch, config.embed_dim);
  out.ResBlock("tail.block0", tail);
  out.Conv("tail.conv0", tail / 2, tail, 3);
  out.ResBlock("tail.block1", tail / 2);
  out.Conv("tail.conv1", 3, tail / 2, 3);
  if (config.residual) out.ZeroLast(2);  // the network starts as the identity
  return out.Take();
}

int64_t CountParameters(const ModelConfig& config) {
  int64_t count = 0;
  for (const ParameterSpec& spec : ListParameters(config)) count += spec.elements();
  return count;
}

Macs CountMacs(const ModelConfig& config, int64_t height, int64_t width) {
  const int64_t pixels = height * width;
  const int64_t tokens = pixels / (config.patch * config.patch);
  Macs macs;
  for (const ParameterSpec& spec : ListParameters(config)) {
    const bool weight = spec.name.ends_with(".weight") && !spec.name.ends_with("norm.weight");
    if (!weight) continue;
    const bool per_pixel = spec.shape.size() == 4 && spec.name != "embed.conv.weight";
    macs.layers += MacsOfOne(config, spec) * (per_pixel ? pixels : tokens);
  }
  macs.attention = 2 * int64_t{config.depth} * config.heads * config.head_dim * tokens * tokens;
  return macs;
}

}  // namespace deweather
