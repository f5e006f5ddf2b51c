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
#include "model/base/file.h"
#include "model/base/status_macros.h"
#include "model/checkpoint.h"
#include "model/parameters.h"
#include "model/torch_errors.h"

namespace deweather {
namespace {

constexpr std::array<std::pair<const char*, Parameters TrainState::*>, 4> kParts = {
    {{"weights.", &TrainState::weights},
     {"average.", &TrainState::average},
     {"first_moment.", &TrainState::first_moment},
     {"second_moment.", &TrainState::second_moment}}};

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

// The same network, whatever its name and the tiles it prefers.
bool SameNetwork(ModelConfig a, const ModelConfig& b) {
  a.name = b.name;
  a.tile_px = b.tile_px;
  a.overlap_px = b.overlap_px;
  return a == b;
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

absl::StatusOr<TrainState> ParseState(const std::string& file, const ModelConfig& config) {
  DW_ASSIGN_OR_RETURN(Safetensors content, ParseSafetensors(file));
  DW_ASSIGN_OR_RETURN(const ModelConfig saved, ConfigFromMetadata(content.metadata));
  if (!SameNetwork(saved, config)) {
    return absl::InvalidArgumentError("it holds another network than the configuration's");
  }
  TrainState state;
  double seconds = 0;
  if (!absl::SimpleAtoi(content.metadata["step"], &state.step) || state.step < 0 ||
      !absl::SimpleAtod(content.metadata["elapsed_seconds"], &seconds)) {
    return absl::InvalidArgumentError("the metadata has no step and elapsed_seconds");
  }
  state.elapsed = absl::Seconds(seconds);
  for (const auto& [prefix, part] : kParts) {
    for (const ParameterSpec& spec : ListParameters(config)) {
      const auto found = content.tensors.find(prefix + spec.name);
      if (found == content.tensors.end() || found->second.shape != spec.shape) {
        return absl::InvalidArgumentError(
            absl::StrFormat("tensor '%s%s' is missing or misshapen", prefix, spec.name));
      }
      DW_ASSIGN_OR_RETURN((state.*part)[spec.name], ToTensor(spec.name, found->second));
    }
  }
  MakeLeaves(state.weights);
  return state;
}

}  // namespace

absl::StatusOr<TrainState> BeginState(const TrainOptions& options) {
  if (options.init_from.empty()) {
    return FromWeights(InitialParameters(options.model, options.seed));
  }
  DW_ASSIGN_OR_RETURN(Checkpoint checkpoint, LoadCheckpoint(options.init_from));
  if (!SameNetwork(checkpoint.config, options.model)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "init_from '%s' holds another network than `model` describes", options.init_from));
  }
  return FromWeights(std::move(checkpoint.parameters));
}

double ApplyGradients(const TrainOptions& options, double learning_rate, TrainState& state) {
  const at::NoGradGuard no_grad;
  const OptimizerOptions& optimizer = options.optimizer;
  const std::vector<at::Tensor> weights = Values(state.weights);
  const std::vector<at::Tensor> gradients = Gradients(weights);
  const double norm = ClipNorm(optimizer.clip_norm, gradients);
  if (!std::isfinite(norm)) return norm;

  const std::vector<at::Tensor> steps(
      weights.size(), at::full({}, static_cast<double>(state.step + 1), at::kFloat));
  at::_fused_adamw_(weights, gradients, Values(state.first_moment), Values(state.second_moment),
                    /*max_exp_avg_sqs=*/{}, steps, learning_rate, optimizer.beta1, optimizer.beta2,
                    optimizer.weight_decay, /*eps=*/1e-8, /*amsgrad=*/false, /*maximize=*/false);
  ++state.step;

  // A young average follows closely: the random first weights are soon forgotten.
  const auto age = static_cast<double>(state.step);
  const double decay = std::min(options.ema_decay, (1 + age) / (10 + age));
  at::_foreach_lerp_(Values(state.average), weights, options.ema_decay > 0 ? 1 - decay : 1.0);
  for (const at::Tensor& weight : weights) weight.mutable_grad() = at::Tensor();
  return norm;
}

absl::Status SaveState(const std::string& path, const ModelConfig& config,
                       const TrainState& state) {
  Parameters all;
  for (const auto& [prefix, part] : kParts) {
    for (const auto& [name, tensor] : state.*part) all[prefix + name] = tensor;
  }
  return SaveCheckpoint(
      path, config, all,
      {{"step", absl::StrCat(state.step)},
       {"elapsed_seconds", absl::StrFormat("%.3f", absl::ToDoubleSeconds(state.elapsed))}});
}

absl::StatusOr<TrainState> LoadState(const std::string& path, const ModelConfig& config) {
  DW_ASSIGN_OR_RETURN(const std::string file, ReadFile(path));
  absl::StatusOr<TrainState> state =
      CatchTorch("cannot read the training state", [&] { return ParseState(file, config); });
  if (!state.ok()) {
    return absl::Status(state.status().code(),
                        absl::StrFormat("'%s': %s", path, state.status().message()));
  }
  return state;
}

}  // namespace deweather
