#include "model/checkpoint.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <functional>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "model/base/annotate.h"
#include "model/base/file.h"
#include "model/base/name.h"
#include "model/base/sha256.h"
#include "model/base/status_macros.h"
#include "model/parameters.h"
#include "model/torch_errors.h"

namespace deweather {
namespace {

constexpr std::string_view kFormat = "deweather-1";
using Metadata = std::map<std::string, std::string>;

struct IntegerField {
  const char* name;
  int ModelConfig::*member;
};
constexpr std::array<IntegerField, 12> kIntegerFields = {{
    {"embed_dim", &ModelConfig::embed_dim},
    {"depth", &ModelConfig::depth},
    {"n_heads", &ModelConfig::heads},
    {"dim_head", &ModelConfig::head_dim},
    {"patch", &ModelConfig::patch},
    {"out_ch", &ModelConfig::channels},
    {"out_ch_scale", &ModelConfig::tail_scale},
    {"mlp_ratio", &ModelConfig::mlp_ratio},
    {"experts", &ModelConfig::experts},
    {"top_k", &ModelConfig::kept},
    {"tile", &ModelConfig::tile_px},
    {"overlap", &ModelConfig::overlap_px},
}};

// What came later stands only in the files of networks that have it: those of the others are what they were.
constexpr char kExpertsByBlock[] = "experts_by_block";
constexpr char kResidualFfn[] = "residual_ffn";
constexpr char kTasks[] = "tasks";
constexpr char kCalibration[] = "calibration";
constexpr char kRouterPasses[] = "router_passes";
constexpr char kRouterDropout[] = "router_dropout";

// The shortest text that reads back as the same number.
std::string Shortest(double value) {
  std::array<char, 32> text;
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr};
}

void AddLater(const ModelConfig& config, Metadata& metadata) {
  const ModelConfig plain;
  if (!config.experts_by_block.empty()) {
    metadata[kExpertsByBlock] = absl::StrJoin(config.experts_by_block, ",");
  }
  if (config.residual_ffn) metadata[kResidualFfn] = "true";
  if (!config.tasks.empty()) metadata[kTasks] = absl::StrJoin(config.tasks, ",");
  if (config.calibration != plain.calibration) metadata[kCalibration] = Name(config.calibration);
  if (config.router_passes != plain.router_passes) {
    metadata[kRouterPasses] = absl::StrCat(config.router_passes);
  }
  if (config.router_dropout != plain.router_dropout) {
    metadata[kRouterDropout] = Shortest(config.router_dropout);
  }
}

Metadata ToMetadata(const ModelConfig& config) {
  Metadata metadata = {{"format", std::string(kFormat)},
                       {"name", config.name},
                       {"family", std::string(Name(config.kind))},
                       {"stem", std::string(Name(config.stem))},
                       {"first_expert", std::string(Name(config.first_expert))},
                       {"gate", std::string(Name(config.gate))},
                       {"residual", config.residual ? "true" : "false"}};
  for (const IntegerField& field : kIntegerFields) {
    metadata[field.name] = absl::StrCat(config.*field.member);
  }
  AddLater(config, metadata);
  return metadata;
}

absl::StatusOr<std::string> Field(const Metadata& metadata, const std::string& name) {
  const auto found = metadata.find(name);
  if (found != metadata.end()) return found->second;
  return absl::InvalidArgumentError(absl::StrFormat("the metadata has no '%s'", name));
}

absl::Status Unreadable(const std::string& name, const std::string& text, std::string_view wanted) {
  return absl::InvalidArgumentError(
      absl::StrFormat("metadata '%s' is '%s'; it must be %s", name, ShownText(text), wanted));
}

absl::StatusOr<bool> BoolField(const Metadata& metadata, const std::string& name) {
  DW_ASSIGN_OR_RETURN(const std::string text, Field(metadata, name));
  bool value = false;
  if (absl::SimpleAtob(text, &value)) return value;
  return Unreadable(name, text, "true or false");
}

absl::Status ReadIntegers(const Metadata& metadata, ModelConfig& config) {
  for (const IntegerField& field : kIntegerFields) {
    DW_ASSIGN_OR_RETURN(const std::string text, Field(metadata, field.name));
    if (!absl::SimpleAtoi(text, &(config.*field.member))) {
      return Unreadable(field.name, text, "an integer");
    }
  }
  return absl::OkStatus();
}

// What stands between commas. A header may be 100 MB long: entries are counted before they are taken apart.
absl::StatusOr<std::vector<std::string>> ListField(const std::string& name,
                                                   const std::string& text) {
  constexpr std::ptrdiff_t kMaxEntries = 64;  // blocks, tasks
  constexpr size_t kMaxBytes = kMaxEntries * (kMaxNameBytes + 1);
  const std::ptrdiff_t entries = 1 + std::count(text.begin(), text.end(), ',');
  if (entries > kMaxEntries || text.size() > kMaxBytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("metadata '%s' has %d entries in %d bytes; it may have %d in %d", name,
                        entries, text.size(), kMaxEntries, kMaxBytes));
  }
  return absl::StrSplit(text, ',');
}

absl::Status ReadExpertsByBlock(const std::string& text, ModelConfig& config) {
  DW_ASSIGN_OR_RETURN(const std::vector<std::string> numbers, ListField(kExpertsByBlock, text));
  for (const std::string& number : numbers) {
    if (!absl::SimpleAtoi(number, &config.experts_by_block.emplace_back())) {
      return Unreadable(kExpertsByBlock, text, "integers with commas between them");
    }
  }
  return absl::OkStatus();
}

// What is absent stays at its default.
absl::Status ReadLater(const Metadata& metadata, ModelConfig& config) {
  const auto has = [&metadata](const char* name) { return metadata.contains(name); };
  if (has(kExpertsByBlock)) {
    DW_RETURN_IF_ERROR(ReadExpertsByBlock(metadata.at(kExpertsByBlock), config));
  }
  if (has(kResidualFfn)) {
    DW_ASSIGN_OR_RETURN(config.residual_ffn, BoolField(metadata, kResidualFfn));
  }
  if (has(kTasks)) {
    DW_ASSIGN_OR_RETURN(config.tasks, ListField(kTasks, metadata.at(kTasks)));
  }
  if (has(kCalibration)) {
    DW_ASSIGN_OR_RETURN(config.calibration, ParseCalibration(metadata.at(kCalibration)));
  }
  if (has(kRouterPasses) && !absl::SimpleAtoi(metadata.at(kRouterPasses), &config.router_passes)) {
    return Unreadable(kRouterPasses, metadata.at(kRouterPasses), "an integer");
  }
  if (has(kRouterDropout) &&
      !absl::SimpleAtod(metadata.at(kRouterDropout), &config.router_dropout)) {
    return Unreadable(kRouterDropout, metadata.at(kRouterDropout), "a number");
  }
  return absl::OkStatus();
}

absl::Status CheckAgainst(const ParameterSpec& spec, const SafetensorView& view) {
  if (view.shape == spec.shape) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("tensor '%s' has shape [%s]; the configuration needs [%s]", spec.name,
                      absl::StrJoin(view.shape, ","), absl::StrJoin(spec.shape, ",")));
}

absl::Status Missing(const std::string& name, const ModelConfig& config,
                     const Safetensors& content) {
  if (!content.tensors.contains("weights." + name)) {
    return absl::InvalidArgumentError(absl::StrFormat("tensor '%s' is missing", name));
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "this is the state of a training run; its model is %s.safetensors, beside checkpoints/",
      config.name));
}

absl::StatusOr<Parameters> ReadParameters(const ModelConfig& config, const Safetensors& content) {
  Parameters parameters;
  for (const ParameterSpec& spec : ListParameters(config)) {
    const auto found = content.tensors.find(spec.name);
    if (found == content.tensors.end()) return Missing(spec.name, config, content);
    DW_RETURN_IF_ERROR(CheckAgainst(spec, found->second));
    DW_ASSIGN_OR_RETURN(parameters[spec.name], ToTensor(spec.name, found->second));
  }
  for (const auto& [name, view] : content.tensors) {
    if (!parameters.contains(name)) {
      return absl::InvalidArgumentError(
          absl::StrFormat("tensor '%s' is not part of the configured network", name));
    }
  }
  return parameters;
}

absl::StatusOr<Checkpoint> Parse(std::string_view file) {
  DW_ASSIGN_OR_RETURN(Safetensors content, ParseSafetensors(file));
  Checkpoint checkpoint;
  DW_ASSIGN_OR_RETURN(checkpoint.config, ConfigFromMetadata(content.metadata));
  DW_ASSIGN_OR_RETURN(checkpoint.parameters, ReadParameters(checkpoint.config, content));
  checkpoint.metadata = std::move(content.metadata);
  checkpoint.version = Sha256Hex(file).substr(0, 12);
  return checkpoint;
}

absl::StatusOr<at::ScalarType> TorchDtype(std::string_view name, std::string_view dtype) {
  if (dtype == "F32") return at::kFloat;
  if (dtype == "BF16") return at::kBFloat16;
  if (dtype == "F16") return at::kHalf;
  if (dtype == "F64") return at::kDouble;
  return absl::InvalidArgumentError(
      absl::StrFormat("tensor '%s' has dtype %s; weights are F32, BF16, F16 or F64", name, dtype));
}

}  // namespace

absl::StatusOr<ModelConfig> ConfigFromMetadata(const Metadata& metadata) {
  DW_ASSIGN_OR_RETURN(const std::string format, Field(metadata, "format"));
  if (format != kFormat) {
    return absl::InvalidArgumentError(
        absl::StrFormat("format is '%s'; this program reads '%s'", ShownText(format), kFormat));
  }
  ModelConfig config;
  DW_RETURN_IF_ERROR(ReadIntegers(metadata, config));
  DW_ASSIGN_OR_RETURN(config.name, Field(metadata, "name"));
  DW_ASSIGN_OR_RETURN(const std::string kind, Field(metadata, "family"));
  DW_ASSIGN_OR_RETURN(config.kind, ParseExpertKind(kind));
  DW_ASSIGN_OR_RETURN(const std::string stem, Field(metadata, "stem"));
  DW_ASSIGN_OR_RETURN(config.stem, ParseStem(stem));
  DW_ASSIGN_OR_RETURN(const std::string first, Field(metadata, "first_expert"));
  DW_ASSIGN_OR_RETURN(config.first_expert, ParseFirstExpert(first));
  DW_ASSIGN_OR_RETURN(const std::string gate, Field(metadata, "gate"));
  DW_ASSIGN_OR_RETURN(config.gate, ParseGate(gate));
  DW_ASSIGN_OR_RETURN(config.residual, BoolField(metadata, "residual"));
  DW_RETURN_IF_ERROR(ReadLater(metadata, config));
  DW_RETURN_IF_ERROR(Validate(config));
  return config;
}

absl::StatusOr<Checkpoint> ParseCheckpoint(std::string_view file) {
  return CatchTorch("cannot read the weights", [&] { return Parse(file); });
}

absl::StatusOr<Checkpoint> LoadCheckpoint(const std::string& path) {
  DW_ASSIGN_OR_RETURN(const std::string file, ReadFile(path));
  absl::StatusOr<Checkpoint> checkpoint = ParseCheckpoint(file);
  if (!checkpoint.ok()) return Annotate(checkpoint.status(), path);
  return checkpoint;
}

absl::StatusOr<std::string> SerializeCheckpoint(const ModelConfig& config,
                                                const Parameters& parameters,
                                                const Metadata& provenance) {
  return CatchTorch("cannot write the weights", [&]() -> absl::StatusOr<std::string> {
    Safetensors content;
    content.metadata = ToMetadata(config);
    content.metadata.insert(provenance.begin(), provenance.end());
    Parameters contiguous;  // keeps what the views point at
    for (const auto& [name, tensor] : parameters) {
      contiguous[name] = tensor.detach().cpu().contiguous();
      content.tensors[name] = ToView(contiguous[name]);
    }
    return SerializeSafetensors(content);
  });
}

absl::Status SaveCheckpoint(const std::string& path, const ModelConfig& config,
                            const Parameters& parameters, const Metadata& provenance) {
  DW_ASSIGN_OR_RETURN(const std::string file, SerializeCheckpoint(config, parameters, provenance));
  return WriteFileAtomically(path, file);
}

absl::StatusOr<at::Tensor> ToTensor(std::string_view name, const SafetensorView& view) {
  DW_ASSIGN_OR_RETURN(const at::ScalarType dtype, TorchDtype(name, view.dtype));
  at::Tensor tensor = at::empty(view.shape, dtype);
  if (!view.bytes.empty()) {  // an empty tensor has no address
    std::memcpy(tensor.mutable_data_ptr(), view.bytes.data(), view.bytes.size());
  }
  tensor = tensor.to(at::kFloat);
  if (at::isfinite(tensor).all().item<bool>()) return tensor;
  return absl::InvalidArgumentError(
      absl::StrFormat("tensor '%s' holds a value that is not finite", name));
}

SafetensorView ToView(const at::Tensor& tensor) {
  const char* dtype = tensor.scalar_type() == at::kFloat      ? "F32"
                      : tensor.scalar_type() == at::kBFloat16 ? "BF16"
                      : tensor.scalar_type() == at::kDouble   ? "F64"
                                                              : "I64";
  return {dtype,
          tensor.sizes().vec(),
          {static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()}};
}

}  // namespace deweather
