#include "model/import.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>

#include <array>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "model/base/status_macros.h"
#include "model/checkpoint.h"
#include "model/parameters.h"
#include "model/torch_errors.h"

namespace deweather {
namespace {

constexpr absl::string_view kTransformer = "model.Img_Encoder.vision_transformer.";

using Renaming = std::pair<absl::string_view, absl::string_view>;  // our prefix, theirs

constexpr std::array<Renaming, 14> kOutside = {{
    {"head.conv", "model.head.0"},
    {"head.block0.conv0", "model.head.1.body.0"},
    {"head.block0.conv1", "model.head.1.body.2"},
    {"head.block1.conv0", "model.head.2.body.0"},
    {"head.block1.conv1", "model.head.2.body.2"},
    {"embed.conv", "model.Img_Encoder.vision_transformer.to_patch_embedding.proj"},
    {"embed.norm", "model.Img_Encoder.vision_transformer.to_patch_embedding.norm"},
    {"expand", "model.patch_embed_to_img_feature.0"},
    {"tail.block0.conv0", "model.tail.1.body.0"},
    {"tail.block0.conv1", "model.tail.1.body.2"},
    {"tail.conv0", "model.tail.2"},
    {"tail.block1.conv0", "model.tail.3.body.0"},
    {"tail.block1.conv1", "model.tail.3.body.2"},
    {"tail.conv1", "model.tail.4"},
}};

// Within `transformer.layers.<block>.`; what is one tensor for us and for them.
constexpr std::array<Renaming, 3> kAttention = {{{"attention_norm", "0.norm"},
                                                 {"attention.qkv", "0.fn.to_qkv"},
                                                 {"attention.out", "0.fn.to_out.0"}}};
constexpr std::array<Renaming, 3> kDense = {
    {{"ffn_norm", "1.norm"}, {"ffn.up", "1.fn.net.0"}, {"ffn.down", "1.fn.net.3"}}};
constexpr std::array<Renaming, 6> kFme = {{{"router", "1.0"},
                                           {"ffn_norm", "3.0"},
                                           {"stem.a", "3.1.0.0"},
                                           {"stem.b", "3.1.1.0"},
                                           {"ffn.up", "2.0"},
                                           {"ffn.down", "2.3"}}};
constexpr std::array<Renaming, 1> kFfn = {{{"router", "1.0"}}};

// Hands the source's tensors out, each once.
class Source {
 public:
  explicit Source(const Safetensors& content) {
    for (const auto& [name, view] : content.tensors) {
      if (absl::StartsWith(name, "model.")) left_.emplace(name, view);
    }
  }
  absl::StatusOr<at::Tensor> Take(const std::string& name) {
    const auto found = left_.find(name);
    if (found == left_.end()) {
      return absl::InvalidArgumentError(absl::StrFormat("tensor '%s' is missing", name));
    }
    DW_ASSIGN_OR_RETURN(at::Tensor tensor, ToTensor(name, found->second));
    left_.erase(found);
    return tensor;
  }
  const std::map<std::string, SafetensorView>& left() const { return left_; }

 private:
  std::map<std::string, SafetensorView> left_;
};

template <size_t N>
absl::string_view Renamed(const std::array<Renaming, N>& renamings, absl::string_view ours) {
  for (const auto& [from, to] : renamings) {
    if (from == ours) return to;
  }
  return {};
}

absl::string_view RenamedInBlock(const ModelConfig& config, absl::string_view ours) {
  if (const auto name = Renamed(kAttention, ours); !name.empty()) return name;
  if (config.kind == ExpertKind::kDense) return Renamed(kDense, ours);
  if (config.kind == ExpertKind::kFme) return Renamed(kFme, ours);
  return Renamed(kFfn, ours);
}

// The modulations of every fme expert that has one, gamma over beta: [E,2D,D] or [E,2D].
// The authors number the experts of a block from 3; with `gelu` their first is expert 1.
absl::StatusOr<at::Tensor> TakeModulations(Source& source, const std::string& layer, int64_t count,
                                           absl::string_view leaf) {
  std::vector<at::Tensor> experts;
  for (int64_t e = 0; e < count; ++e) {
    const std::string expert = absl::StrCat(layer, "3.", 3 + e, ".expert.");
    DW_ASSIGN_OR_RETURN(const at::Tensor gamma, source.Take(absl::StrCat(expert, "0.", leaf)));
    DW_ASSIGN_OR_RETURN(const at::Tensor beta, source.Take(absl::StrCat(expert, "1.", leaf)));
    experts.push_back(at::cat({gamma, beta}));
  }
  return at::stack(experts);
}

// One tensor of each conventional expert, stacked.
absl::StatusOr<at::Tensor> TakeFfnExperts(Source& source, const std::string& layer, int64_t count,
                                          absl::string_view part, absl::string_view leaf) {
  const absl::string_view theirs = part == "norm" ? "norm" : part == "up" ? "fn.net.0" : "fn.net.3";
  std::vector<at::Tensor> experts;
  for (int64_t e = 0; e < count; ++e) {
    DW_ASSIGN_OR_RETURN(experts.emplace_back(),
                        source.Take(absl::StrCat(layer, "2.", e, ".", theirs, ".", leaf)));
  }
  return at::stack(experts);
}

// "blocks.<i>.<part>.<leaf>", where the caller has split off the leaf.
absl::StatusOr<at::Tensor> TakeFromBlock(Source& source, const ModelConfig& config,
                                         const ParameterSpec& spec, absl::string_view prefix,
                                         absl::string_view leaf) {
  absl::ConsumePrefix(&prefix, "blocks.");
  const absl::string_view block = prefix.substr(0, prefix.find('.'));
  absl::string_view part = prefix.substr(block.size() + 1);
  const std::string layer = absl::StrCat(kTransformer, "transformer.layers.", block, ".");
  if (absl::ConsumePrefix(&part, "experts.")) {
    if (part == "modulate") return TakeModulations(source, layer, spec.shape[0], leaf);
    return TakeFfnExperts(source, layer, spec.shape[0], part, leaf);
  }
  return source.Take(absl::StrCat(layer, RenamedInBlock(config, part), ".", leaf));
}

absl::StatusOr<at::Tensor> TakeParameter(Source& source, const ModelConfig& config,
                                         const ParameterSpec& spec) {
  const size_t dot = spec.name.rfind('.');
  const absl::string_view prefix = absl::string_view(spec.name).substr(0, dot);
  const absl::string_view leaf = absl::string_view(spec.name).substr(dot + 1);
  if (absl::StartsWith(prefix, "blocks.")) {
    return TakeFromBlock(source, config, spec, prefix, leaf);
  }
  return source.Take(absl::StrCat(Renamed(kOutside, prefix), ".", leaf));
}

// What came after their release: their tensors have no names for it.
constexpr std::array<const char*, 6> kOnlyOurs = {
    "experts_by_block", "residual_ffn", "tasks", "calibration", "router_passes", "router_dropout"};

// Their metadata in our words: `moe` is ffn; a kind without a choice says `none`, which is our default.
absl::StatusOr<ModelConfig> ReadConfig(std::map<std::string, std::string> metadata) {
  for (const char* field : kOnlyOurs) {
    if (metadata.contains(field)) {
      return absl::InvalidArgumentError(
          absl::StrFormat("metadata has '%s', which the authors' networks have not", field));
    }
  }
  metadata["format"] = "deweather-1";
  if (metadata["family"] == "moe") metadata["family"] = "ffn";
  if (metadata["first_expert"] == "none") metadata["first_expert"] = "modulate";
  metadata.insert({{"gate", "released"},
                   {"residual", "false"},
                   {"tile", "256"},
                   {"overlap", "32"},
                   {"name", "imported"}});
  return ConfigFromMetadata(metadata);
}

// What their code allocates and never uses: a positional embedding, a normalisation per fme expert,
// and with `gelu` the last fme expert.
absl::StatusOr<std::vector<std::string>> UnusedNames(const ModelConfig& config,
                                                     const Source& source) {
  std::vector<std::string> unused;
  const std::string last = absl::StrCat(".3.", 2 + config.experts, ".expert.");
  for (const auto& [name, view] : source.left()) {
    const bool fme = config.kind == ExpertKind::kFme;
    const bool expert_norm =
        fme && (absl::EndsWith(name, ".norm.weight") || absl::EndsWith(name, ".norm.bias"));
    const bool last_expert =
        fme && config.first_expert == FirstExpert::kGelu && absl::StrContains(name, last);
    if (!expert_norm && !last_expert && !absl::StrContains(name, "pos_embed")) {
      return absl::InvalidArgumentError(
          absl::StrFormat("tensor '%s' is not part of the configured network", name));
    }
    unused.push_back(name);
  }
  return unused;
}

absl::StatusOr<Imported> Import(const Safetensors& content) {
  Imported imported;
  DW_ASSIGN_OR_RETURN(imported.config, ReadConfig(content.metadata));
  Source source(content);
  for (const ParameterSpec& spec : ListParameters(imported.config)) {
    DW_ASSIGN_OR_RETURN(at::Tensor tensor, TakeParameter(source, imported.config, spec));
    if (tensor.sizes() != at::IntArrayRef(spec.shape)) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "tensor '%s' would have shape [%s]; the configuration needs [%s]", spec.name,
          absl::StrJoin(tensor.sizes(), ","), absl::StrJoin(spec.shape, ",")));
    }
    imported.parameters[spec.name] = std::move(tensor);
  }
  DW_ASSIGN_OR_RETURN(imported.unused, UnusedNames(imported.config, source));
  return imported;
}

absl::StatusOr<CheckpointFile> Rename(std::string file, Safetensors content,
                                      const std::string& name) {
  if (name.empty() || content.metadata["name"] == name) return CheckpointFile{std::move(file), {}};
  content.metadata["name"] = name;
  return CheckpointFile{SerializeSafetensors(content), {}};
}

}  // namespace

absl::StatusOr<Imported> ImportAuthors(const Safetensors& source) {
  return CatchTorch("cannot import the weights", [&] { return Import(source); });
}

absl::StatusOr<CheckpointFile> ToCheckpoint(std::string file, const std::string& name) {
  DW_ASSIGN_OR_RETURN(Safetensors content, ParseSafetensors(file));
  if (content.metadata.contains("format")) return Rename(std::move(file), content, name);
  DW_ASSIGN_OR_RETURN(Imported imported, ImportAuthors(content));
  content = {};  // the weights are copied: no third time beside what is written
  std::string().swap(file);
  if (!name.empty()) imported.config.name = name;
  CheckpointFile ours{"", std::move(imported.unused)};
  DW_ASSIGN_OR_RETURN(ours.bytes, SerializeCheckpoint(imported.config, imported.parameters, {}));
  return ours;
}

}  // namespace deweather
