#include "model/base/model_config.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "model/base/name.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

template <typename T>
using Names = std::pair<T, std::string_view>;

constexpr std::array<Names<ExpertKind>, 3> kExpertKinds = {
    {{ExpertKind::kDense, "dense"}, {ExpertKind::kFfn, "ffn"}, {ExpertKind::kFme, "fme"}}};
constexpr std::array<Names<Stem>, 2> kStems = {{{Stem::kStar, "star"}, {Stem::kNone, "none"}}};
constexpr std::array<Names<FirstExpert>, 2> kFirstExperts = {
    {{FirstExpert::kModulate, "modulate"}, {FirstExpert::kGelu, "gelu"}}};
constexpr std::array<Names<Gate>, 2> kGates = {
    {{Gate::kReleased, "released"}, {Gate::kPaper, "paper"}}};
constexpr std::array<Names<Calibration>, 3> kCalibrations = {
    {{Calibration::kNone, "none"},
     {Calibration::kPaper, "paper"},
     {Calibration::kConfidence, "confidence"}}};

template <typename T, size_t N>
std::string_view NameIn(const std::array<Names<T>, N>& names, T value) {
  for (const auto& [known, name] : names) {
    if (known == value) return name;
  }
  return "?";
}

template <typename T, size_t N>
absl::StatusOr<T> ParseIn(const std::array<Names<T>, N>& names, std::string_view field,
                          std::string_view name) {
  for (const auto& [value, known] : names) {
    if (known == name) return value;
  }
  const std::string known = absl::StrJoin(
      names, ", ", [](std::string* out, const auto& entry) { out->append(entry.second); });
  return absl::InvalidArgumentError(
      absl::StrFormat("unknown %s '%s'; known: %s", field, ShownText(name), known));
}

absl::Status CheckRange(std::string_view field, int value, int low, int high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("model.%s is %d; it must be in [%d, %d]", field, value, low, high));
}

absl::Status Refuse(std::string_view field, std::string_view value, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrFormat("model.%s is %s; %s", field, value, why));
}

// What only a router has.
absl::Status ValidateDense(const ModelConfig& config) {
  constexpr std::string_view kWhy = "a dense network has no router";
  const ModelConfig plain;
  if (!config.experts_by_block.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat("model.experts_by_block has %d numbers; %s",
                                                      config.experts_by_block.size(), kWhy));
  }
  if (!config.tasks.empty()) return Refuse("tasks", ShownNames(config.tasks), kWhy);
  if (config.calibration != Calibration::kNone) {
    return Refuse("calibration", Name(config.calibration), kWhy);
  }
  if (config.router_passes != plain.router_passes) {
    return Refuse("router_passes", absl::StrCat(config.router_passes), kWhy);
  }
  if (config.router_dropout != plain.router_dropout) {
    return Refuse("router_dropout", absl::StrFormat("%.10g", config.router_dropout), kWhy);
  }
  DW_RETURN_IF_ERROR(CheckRange("experts of a dense network", config.experts, 0, 0));
  return CheckRange("kept of a dense network", config.kept, 0, 0);
}

absl::Status ValidateExpertsByBlock(const ModelConfig& config) {
  const std::vector<int>& experts = config.experts_by_block;
  if (experts.empty()) return absl::OkStatus();
  if (experts.size() != static_cast<size_t>(config.depth)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "model.experts_by_block has %d numbers; it must have one for each of %d blocks",
        experts.size(), config.depth));
  }
  for (size_t i = 0; i < experts.size(); ++i) {
    DW_RETURN_IF_ERROR(CheckRange(absl::StrFormat("experts_by_block[%d]", i), experts[i],
                                  config.kept, kMaxExperts));
  }
  const int largest = *std::max_element(experts.begin(), experts.end());
  if (largest == config.experts) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("model.experts is %d; it must be the largest of experts_by_block, %d",
                      config.experts, largest));
}

// The logits of every task are made for every token.
constexpr size_t kMaxLogits = 4096;

absl::Status ValidateTasks(const std::vector<std::string>& tasks, int experts) {
  constexpr size_t kMaxTasks = 64;
  if (tasks.size() > kMaxTasks) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "model.tasks has %d names; it must have at most %d", tasks.size(), kMaxTasks));
  }
  if (tasks.size() * static_cast<size_t>(experts) > kMaxLogits) {
    return absl::InvalidArgumentError(
        absl::StrFormat("model.tasks has %d names, each with a gate over %d experts; tasks * "
                        "experts must be at most %d",
                        tasks.size(), experts, kMaxLogits));
  }
  std::set<std::string_view> seen;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const std::string field = absl::StrFormat("model.tasks[%d]", i);
    DW_RETURN_IF_ERROR(ValidateName(field, tasks[i]));
    if (!seen.insert(tasks[i]).second) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s is '%s'; it must be named once", field, tasks[i]));
    }
  }
  return absl::OkStatus();
}

// Training would weigh the kept experts by gates that sum to 1, and use, where no passes are made, by gates
// that sum to less: about K/E at first.
absl::Status ValidateCalibration(const ModelConfig& config) {
  if (config.calibration != Calibration::kConfidence || config.gate != Gate::kPaper) {
    return absl::OkStatus();
  }
  return Refuse(
      "calibration", Name(config.calibration),
      "its gates sum to 1 in training, and those of gate paper to less in use; it goes with "
      "gate released");
}

absl::Status ValidatePasses(const ModelConfig& config) {
  DW_RETURN_IF_ERROR(CheckRange("router_passes", config.router_passes, 2, 64));
  const double dropout = config.router_dropout;
  if (dropout >= 0 && dropout <= 0.9) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("model.router_dropout is %.10g; it must be in [0, 0.9]", dropout));
}

absl::Status ValidateKind(const ModelConfig& config) {
  if (config.residual_ffn && config.kind != ExpertKind::kFfn) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "model.residual_ffn is true, which belongs to ffn experts; model.kind is %s",
        Name(config.kind)));
  }
  if (config.kind == ExpertKind::kFfn && config.first_expert != FirstExpert::kModulate) {
    return absl::InvalidArgumentError(
        "model.first_expert is gelu, which belongs to fme experts; model.kind is ffn");
  }
  return absl::OkStatus();
}

absl::Status ValidateExperts(const ModelConfig& config) {
  DW_RETURN_IF_ERROR(ValidateKind(config));
  DW_RETURN_IF_ERROR(ValidatePasses(config));
  if (!config.routed()) return ValidateDense(config);
  DW_RETURN_IF_ERROR(CheckRange("kept", config.kept, 1, kMaxExperts));
  DW_RETURN_IF_ERROR(ValidateExpertsByBlock(config));
  DW_RETURN_IF_ERROR(CheckRange("experts", config.experts, 1, kMaxExperts));
  DW_RETURN_IF_ERROR(CheckRange("kept", config.kept, 1, config.experts));
  DW_RETURN_IF_ERROR(ValidateCalibration(config));
  return ValidateTasks(config.tasks, config.experts);
}

}  // namespace

absl::Status Validate(const ModelConfig& config) {
  DW_RETURN_IF_ERROR(ValidateName("model name", config.name));
  struct Bound {
    std::string_view field;
    int value, low, high;
  };
  const std::array<Bound, 8> bounds = {{{"embed_dim", config.embed_dim, 1, 4096},
                                        {"depth", config.depth, 1, 64},
                                        {"heads", config.heads, 1, 128},
                                        {"head_dim", config.head_dim, 1, 512},
                                        {"patch", config.patch, 1, 64},
                                        {"channels", config.channels, 1, 512},
                                        {"tail_scale", config.tail_scale, 1, 16},
                                        {"mlp_ratio", config.mlp_ratio, 1, 16}}};
  for (const Bound& bound : bounds) {
    DW_RETURN_IF_ERROR(CheckRange(bound.field, bound.value, bound.low, bound.high));
  }
  if (config.channels * config.tail_scale % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("model.channels * tail_scale is %d; it must be even: the tail halves it",
                        config.channels * config.tail_scale));
  }
  DW_RETURN_IF_ERROR(ValidateExperts(config));
  DW_RETURN_IF_ERROR(CheckRange("tile_px", config.tile_px, config.patch, 4096));
  const absl::Status tile = Validate(config.tile());
  if (tile.ok()) return tile;
  return absl::InvalidArgumentError(absl::StrFormat("model.%s", tile.message()));
}

bool SameNetwork(ModelConfig a, const ModelConfig& b) {
  a.name = b.name;
  a.calibration = b.calibration;
  a.router_passes = b.router_passes;
  a.router_dropout = b.router_dropout;
  a.tile_px = b.tile_px;
  a.overlap_px = b.overlap_px;
  return a == b;
}

std::string_view Name(ExpertKind kind) { return NameIn(kExpertKinds, kind); }
std::string_view Name(Stem stem) { return NameIn(kStems, stem); }
std::string_view Name(FirstExpert first_expert) { return NameIn(kFirstExperts, first_expert); }
std::string_view Name(Gate gate) { return NameIn(kGates, gate); }
std::string_view Name(Calibration calibration) { return NameIn(kCalibrations, calibration); }

absl::StatusOr<ExpertKind> ParseExpertKind(std::string_view name) {
  return ParseIn(kExpertKinds, "expert kind", name);
}
absl::StatusOr<Stem> ParseStem(std::string_view name) { return ParseIn(kStems, "stem", name); }
absl::StatusOr<FirstExpert> ParseFirstExpert(std::string_view name) {
  return ParseIn(kFirstExperts, "first_expert", name);
}
absl::StatusOr<Gate> ParseGate(std::string_view name) { return ParseIn(kGates, "gate", name); }
absl::StatusOr<Calibration> ParseCalibration(std::string_view name) {
  return ParseIn(kCalibrations, "calibration", name);
}

}  // namespace deweather
