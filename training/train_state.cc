#include "training/train_state.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/sha256.h"
#include "model/base/status_macros.h"
#include "model/checkpoint.h"
#include "model/fuse.h"
#include "model/parameters.h"
#include "model/torch_errors.h"

namespace deweather {
namespace {

constexpr std::array<std::pair<const char*, Parameters TrainState::*>, 4> kParts = {
    {{"weights.", &TrainState::weights},
     {"average.", &TrainState::average},
     {"first_moment.", &TrainState::first_moment},
     {"second_moment.", &TrainState::second_moment}}};

constexpr char kHash[] = "sha256";
constexpr std::string_view kRunPrefix = "run.";
using Metadata = std::map<std::string, std::string>;

std::vector<at::Tensor> Values(const Parameters& parameters) {
  std::vector<at::Tensor> values;
  for (const auto& [name, tensor] : parameters) values.push_back(tensor);
  return values;
}

void MakeLeaves(Parameters& weights) {
  for (auto& [name, tensor] : weights) tensor.requires_grad_();
}

TrainState FromWeights(Parameters weights) {
  TrainState state;
  for (const auto& [name, tensor] : weights) {
    state.average[name] = tensor.clone();
    state.first_moment[name] = at::zeros_like(tensor);
    state.second_moment[name] = at::zeros_like(tensor);
  }
  state.weights = std::move(weights);
  MakeLeaves(state.weights);
  return state;
}

std::vector<at::Tensor> Gradients(const std::vector<at::Tensor>& weights) {
  std::vector<at::Tensor> gradients;
  for (const at::Tensor& weight : weights) {
    // An expert that saw no token all step has none.
    gradients.push_back(weight.grad().defined() ? weight.grad() : at::zeros_like(weight));
  }
  return gradients;
}

double ClipNorm(double limit, const std::vector<at::Tensor>& gradients) {
  const double norm = at::stack(at::_foreach_norm(gradients)).norm().item<double>();
  if (limit > 0 && norm > limit) at::_foreach_mul_(gradients, limit / norm);
  return norm;
}

void ClearGradients(TrainState& state) {
  for (auto& [name, weight] : state.weights) weight.mutable_grad() = at::Tensor();
}

// The figures of a state under their names in the metadata.
struct Figure {
  const char* name;
  int64_t TrainState::*member;
};
constexpr std::array<Figure, 3> kFigures = {{{"step", &TrainState::step},
                                             {"bad_steps", &TrainState::bad_steps},
                                             {"bad_in_row", &TrainState::bad_in_row}}};
struct EvaluationFigure {
  const char* name;
  int64_t EvaluationHistory::*member;
};
constexpr std::array<EvaluationFigure, 3> kEvaluationFigures = {
    {{"evaluations.last_step", &EvaluationHistory::last_step},
     {"evaluations.best_step", &EvaluationHistory::best_step},
     {"evaluations.stale", &EvaluationHistory::stale}}};

Metadata WriteFigures(const TrainState& state) {
  Metadata metadata = {
      {"elapsed_seconds", absl::StrFormat("%.3f", absl::ToDoubleSeconds(state.elapsed))},
      {"evaluations.best_psnr_rgb", absl::StrFormat("%.17g", state.evaluations.best_psnr_rgb)},
      {"evaluations.sets", state.evaluations.sets}};
  for (const auto& [name, member] : kFigures) metadata[name] = absl::StrCat(state.*member);
  for (const auto& [name, member] : kEvaluationFigures) {
    metadata[name] = absl::StrCat(state.evaluations.*member);
  }
  return metadata;
}

absl::Status ReadFigures(Metadata& metadata, TrainState& state) {
  double seconds = 0;
  bool known =
      absl::SimpleAtod(metadata["elapsed_seconds"], &seconds) &&
      absl::SimpleAtod(metadata["evaluations.best_psnr_rgb"], &state.evaluations.best_psnr_rgb);
  for (const auto& [name, member] : kFigures) {
    known = known && absl::SimpleAtoi(metadata[name], &(state.*member));
  }
  for (const auto& [name, member] : kEvaluationFigures) {
    known = known && absl::SimpleAtoi(metadata[name], &(state.evaluations.*member));
  }
  if (!known || state.step < 0) return absl::DataLossError("a figure of the state is missing");
  state.elapsed = absl::Seconds(seconds);
  state.evaluations.sets = metadata["evaluations.sets"];
  return absl::OkStatus();
}

absl::Status ReadTensors(const Safetensors& content, const ModelConfig& config, TrainState& state) {
  for (const auto& [prefix, part] : kParts) {
    for (const ParameterSpec& spec : ListParameters(config)) {
      const auto found = content.tensors.find(prefix + spec.name);
      if (found == content.tensors.end() || found->second.shape != spec.shape) {
        return absl::DataLossError(
            absl::StrFormat("tensor '%s%s' is missing or misshapen", prefix, spec.name));
      }
      DW_ASSIGN_OR_RETURN((state.*part)[spec.name], ToTensor(spec.name, found->second));
    }
  }
  MakeLeaves(state.weights);
  return absl::OkStatus();
}

// Takes `sha256` out of the metadata and holds it against the rest.
absl::Status CheckHash(Safetensors& content) {
  const std::string stated = content.metadata[kHash];
  content.metadata.erase(kHash);
  if (stated.empty()) return absl::DataLossError("it is not the checkpoint of a run");
  const std::string found = Sha256Hex(SerializeSafetensors(content));
  if (found == stated) return absl::OkStatus();
  return absl::DataLossError(absl::StrFormat("its SHA-256 is %s; %s was written", found, stated));
}

absl::StatusOr<SavedState> Parse(std::string_view file) {
  DW_ASSIGN_OR_RETURN(Safetensors content, ParseSafetensors(file));
  DW_RETURN_IF_ERROR(CheckHash(content));
  DW_ASSIGN_OR_RETURN(const ModelConfig config, ConfigFromMetadata(content.metadata));
  SavedState saved;
  DW_RETURN_IF_ERROR(ReadFigures(content.metadata, saved.state));
  DW_RETURN_IF_ERROR(ReadTensors(content, config, saved.state));
  for (const auto& [name, value] : content.metadata) {
    if (name.starts_with(kRunPrefix)) saved.run[name.substr(kRunPrefix.size())] = value;
  }
  return saved;
}

absl::StatusOr<TrainState> FromCheckpoint(const TrainOptions& options) {
  DW_ASSIGN_OR_RETURN(Checkpoint checkpoint, LoadCheckpoint(options.init_from));
  if (!SameNetwork(checkpoint.config, options.model)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("init_from is '%s', which is another network than `model` describes",
                        checkpoint.config.name));
  }
  return FromWeights(std::move(checkpoint.parameters));
}

}  // namespace

absl::StatusOr<TrainState> BeginState(const TrainOptions& options) {
  if (!options.init_from.empty()) return FromCheckpoint(options);
  if (options.distill.teacher.empty()) {
    return FromWeights(InitialParameters(options.model, options.seed));
  }
  const absl::StatusOr<Checkpoint> teacher = LoadCheckpoint(options.distill.teacher);
  if (!teacher.ok()) {
    return absl::Status(teacher.status().code(),
                        absl::StrCat("distill.teacher: ", teacher.status().message()));
  }
  absl::StatusOr<Parameters> weights = FuseExperts(*teacher, options.model);
  if (weights.ok()) return FromWeights(*std::move(weights));
  return absl::Status(weights.status().code(),
                      absl::StrCat(weights.status().message(),
                                   "; init_from can name other weights for it to start from"));
}

void MoveTo(at::Device device, TrainState& state) {
  for (const auto& [prefix, part] : kParts) {
    for (auto& [name, tensor] : state.*part) tensor = tensor.detach().to(device);
  }
  MakeLeaves(state.weights);
}

std::vector<at::Tensor> InOrderOfGradients(const ModelConfig& config, const Parameters& weights) {
  std::vector<at::Tensor> leaves;
  for (const ParameterSpec& spec : ListParameters(config)) leaves.push_back(weights.at(spec.name));
  std::reverse(leaves.begin(), leaves.end());
  return leaves;
}

double ApplyGradients(const TrainOptions& options, double learning_rate, TrainState& state) {
  const at::NoGradGuard no_grad;
  const OptimizerOptions& optimizer = options.optimizer;
  const std::vector<at::Tensor> weights = Values(state.weights);
  const std::vector<at::Tensor> gradients = Gradients(weights);
  ClearGradients(state);
  const double norm = ClipNorm(optimizer.clip_norm, gradients);
  if (!std::isfinite(norm)) return norm;  // in f32: where it is finite, so are the moments

  // Skipped steps moved neither the moments nor the average.
  const auto age = static_cast<double>(state.step - state.bad_steps + 1);
  const at::Tensor age_there = at::full({}, age, weights.front().options());
  const std::vector<at::Tensor> steps(weights.size(), age_there);
  at::_fused_adamw_(weights, gradients, Values(state.first_moment), Values(state.second_moment),
                    /*max_exp_avg_sqs=*/{}, steps, learning_rate, optimizer.beta1, optimizer.beta2,
                    optimizer.weight_decay, /*eps=*/1e-8, /*amsgrad=*/false, /*maximize=*/false);
  ++state.step;
  state.bad_in_row = 0;

  // A young average follows closely: the random first weights are soon forgotten.
  const double decay = std::min(options.ema_decay, (1 + age) / (10 + age));
  at::_foreach_lerp_(Values(state.average), weights, options.ema_decay > 0 ? 1 - decay : 1.0);
  return norm;
}

void SkipStep(TrainState& state) {
  ClearGradients(state);
  ++state.step;
  ++state.bad_steps;
  ++state.bad_in_row;
}

absl::StatusOr<std::string> SerializeState(const ModelConfig& config, const TrainState& state,
                                           const RunFields& run) {
  Parameters all;
  for (const auto& [prefix, part] : kParts) {
    for (const auto& [name, tensor] : state.*part) all[prefix + name] = tensor;
  }
  Metadata metadata = WriteFigures(state);
  for (const auto& [field, value] : run) metadata[std::string(kRunPrefix) + field] = value;
  DW_ASSIGN_OR_RETURN(const std::string file, SerializeCheckpoint(config, all, metadata));
  DW_ASSIGN_OR_RETURN(Safetensors content, ParseSafetensors(file));
  content.metadata[kHash] = Sha256Hex(file);
  return SerializeSafetensors(content);
}

absl::StatusOr<SavedState> ParseState(std::string_view file) {
  absl::StatusOr<SavedState> saved =
      CatchTorch("cannot read the training state", [&] { return Parse(file); });
  // Whatever it is that does not fit: nothing of ours wrote it so.
  if (absl::IsInvalidArgument(saved.status())) {
    return absl::DataLossError(saved.status().message());
  }
  return saved;
}

}  // namespace deweather
