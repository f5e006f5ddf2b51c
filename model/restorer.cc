#include "model/restorer.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/cpu/Utils.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "model/base/status_macros.h"
#include "model/checkpoint.h"
#include "model/cuda_graph.h"
#include "model/device.h"
#include "model/experts.h"
#include "model/host_tensor.h"
#include "model/kernels/packed_linear.h"
#include "model/network.h"
#include "model/recorded_passes.h"
#include "model/torch_errors.h"

namespace deweather {
namespace {

at::ScalarType ResolveDtype(Precision precision, at::Device device) {
  if (precision == Precision::kF32) return at::kFloat;
  if (precision == Precision::kBf16) return at::kBFloat16;
  return device.is_cuda() || HasCpuKernels() ? at::kBFloat16 : at::kFloat;
}

absl::Status CheckShape(const at::Tensor& tiles, int multiple) {
  if (tiles.dim() == 4 && tiles.size(0) > 0 && tiles.size(1) == 3 && tiles.size(2) > 0 &&
      tiles.size(3) > 0 && tiles.size(2) % multiple == 0 && tiles.size(3) % multiple == 0 &&
      tiles.scalar_type() == at::kFloat) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("tiles are [%s]; they must be [B,3,H,W] f32 with H and W multiples of %d",
                      absl::StrJoin(tiles.sizes(), ","), multiple));
}

// Whether the options hold what a network of this spec needs for that many tiles.
absl::Status CheckOptions(const RestorerSpec& spec, const ForwardOptions& options, int64_t tiles) {
  const size_t batch = static_cast<size_t>(tiles);
  const bool routed = spec.routing.layers > 0;
  if (options.uncertainty && !routed) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "model '%s' routes nothing: it has no router whose uncertainty could be shown", spec.name));
  }
  if (routed && (options.uncertainty || options.calibrated) && options.keys.size() != batch) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%d keys for a batch of %d; uncertainty needs one a tile", options.keys.size(), batch));
  }
  const size_t tasks = spec.tasks.empty() ? 0 : batch;
  if (options.tasks.size() != tasks) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d tasks for a batch of %d; model '%s' takes %d", options.tasks.size(),
                        batch, spec.name, tasks));
  }
  for (const int task : options.tasks) {
    if (task >= 0 && static_cast<size_t>(task) < spec.tasks.size()) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("task %d of model '%s'; it must be in [0, %d]: %s", task, spec.name,
                        spec.tasks.size() - 1, absl::StrJoin(spec.tasks, ", ")));
  }
  return absl::OkStatus();
}

// [B] i64 with the bits of `values`; undefined without any.
template <typename T>
at::Tensor ToTensor(const std::vector<T>& values, at::Device device) {
  if (values.empty()) return {};
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::transform(values.begin(), values.end(), tensor.mutable_data_ptr<int64_t>(),
                 [](T value) { return static_cast<int64_t>(value); });
  return tensor.to(device);
}

PassOptions ToPassOptions(const ForwardOptions& options, at::Device device) {
  PassOptions pass;
  pass.tasks = ToTensor(options.tasks, device);
  if (!options.uncertainty && !options.calibrated) return pass;
  pass.keys = ToTensor(options.keys, device);
  pass.calibrate = options.calibrated;
  return pass;
}

// Per tile, of one layer's gates over B tiles of n tokens.
struct LayerRouting {
  at::Tensor tokens;   // [B,E] i64, E of the largest layer: zeros after this one's
  at::Tensor gate;     // [B,E] f64
  at::Tensor entropy;  // [B] f64
};

LayerRouting Summarize(const Gates& gates, int64_t batch, int64_t most_experts) {
  const at::Tensor kept = gates.kept.reshape({batch, -1});  // [B,nK]
  const at::Tensor weights = gates.weights.reshape({batch, -1}).to(at::kDouble);
  LayerRouting routing;
  routing.tokens =
      at::zeros({batch, most_experts}, kept.options()).scatter_add_(1, kept, at::ones_like(kept));
  routing.gate = at::zeros({batch, most_experts}, weights.options()).scatter_add_(1, kept, weights);
  const at::Tensor log_p = at::log_softmax(gates.logits, -1);                 // [N,E]
  const at::Tensor entropy = -(log_p.exp() * log_p).sum(-1).to(at::kDouble);  // [N]
  const int64_t experts = gates.logits.size(1);
  const double most = std::log(static_cast<double>(std::max<int64_t>(experts, 2)));
  routing.entropy = entropy.view({batch, -1}).mean(1) / most;
  return routing;
}

void FillRouting(const std::vector<Gates>& layers, int64_t batch, int64_t most_experts,
                 Restored& restored) {
  std::vector<at::Tensor> tokens, gate, entropy;
  for (const Gates& gates : layers) {
    const LayerRouting routing = Summarize(gates, batch, most_experts);
    tokens.push_back(routing.tokens);
    gate.push_back(routing.gate);
    entropy.push_back(routing.entropy);
  }
  if (tokens.empty()) {
    restored.tokens = at::zeros({batch, 0, 0}, at::kLong);
    restored.gate = at::zeros({batch, 0, 0}, at::kDouble);
    restored.entropy = at::zeros({batch, 0}, at::kDouble);
    return;
  }
  restored.tokens = at::stack(tokens, 1);    // [B,L,E]
  restored.gate = at::stack(gate, 1);        // [B,L,E]
  restored.entropy = at::stack(entropy, 1);  // [B,L]
}

// Of each token the sum of its kept experts' sigma, [B,L,h,w]. The kept ones are looked up again:
// calibrated gates may keep others than the pass without dropout.
at::Tensor Uncertainty(const std::vector<Gates>& layers, at::IntArrayRef map) {
  std::vector<at::Tensor> sums;
  for (const Gates& gates : layers) {
    const at::Tensor kept = KeepLargest(gates.logits, gates.kept.size(1)).index;  // [N,K]
    sums.push_back(gates.variance.gather(1, kept).sqrt().sum(1).view(map));
  }
  return at::stack(sums, 1);
}

// How far a replay may be from what was recorded: sums are added up in any order on a GPU.
double ReplayTolerance(at::ScalarType dtype) { return dtype == at::kFloat ? 1e-5 : 1e-3; }

// A loaded network, ready on its device. Run() is what a Restorer's forward calls.
struct LoadedNetwork {
  Network network;
  at::Device device;
  int experts;  // E of the largest layer
  RecordedPasses recorded;

  // What it returns is on the device.
  Restored Compute(const at::Tensor& tiles, const ForwardOptions& options) const {
    const at::Tensor there = tiles.to(device, tiles.scalar_type(), /*non_blocking=*/true);
    const NetworkOutput output = Forward(network, there, ToPassOptions(options, device));
    Restored restored;
    restored.tiles = output.pictures.clamp(0, 1).contiguous();
    FillRouting(output.gates, tiles.size(0), experts, restored);
    const int64_t patch = network.config.patch;
    const std::vector<int64_t> map = {tiles.size(0), tiles.size(2) / patch, tiles.size(3) / patch};
    if (options.expert_map && !output.gates.empty()) {
      // topk lists the heaviest first.
      restored.expert_map = output.gates.back().kept.select(1, 0).view(map).to(at::kByte);
    }
    if (options.uncertainty) restored.uncertainty = Uncertainty(output.gates, map);
    return restored;
  }

  // Null: this is to be computed.
  const ComputePass* FindReplay(const at::Tensor& tiles, const ForwardOptions& options) const {
    const bool plain = !options.uncertainty && !options.calibrated && options.tasks.empty();
    return plain ? recorded.Find(tiles.sizes()) : nullptr;
  }

  Restored Run(const at::Tensor& tiles, const ForwardOptions& options) const {
    const c10::InferenceMode inference;
    const ComputePass* const replay = FindReplay(tiles, options);
    if (replay == nullptr) {
      const Restored restored = Compute(tiles, options);
      return device.is_cpu() ? restored : CopyToHost(restored);
    }
    Restored restored = (*replay)(tiles);
    if (!options.expert_map) restored.expert_map.reset();
    return CopyToHost(restored);
  }

  absl::Status Record(const at::Tensor& tiles) {
    const c10::InferenceMode inference;
    if (!network.config.tasks.empty()) {
      return absl::FailedPreconditionError("a network with tasks is not recorded");
    }
    const auto waits = [this](const Block& block) {
      return WaitsForRows(network.config, block.experts);
    };
    if (device.is_cuda() && std::ranges::any_of(network.blocks, waits)) {
      return absl::FailedPreconditionError(
          "its experts wait for the GPU in this precision, or on this GPU");
    }
    const auto compute = [this](const at::Tensor& input) {
      return Compute(input, {.expert_map = true});
    };
    return recorded.Add(compute, tiles);
  }
};

std::shared_ptr<LoadedNetwork> Ready(const Checkpoint& checkpoint, at::Device device,
                                     at::ScalarType dtype, RecordPass record) {
  const c10::InferenceMode inference;
  Parameters parameters = CastParameters(checkpoint.parameters, dtype);
  for (auto& [name, tensor] : parameters) tensor = tensor.to(device);
  Network network = BindNetwork(checkpoint.config, parameters);
  Pack(network);
  return std::make_shared<LoadedNetwork>(
      LoadedNetwork{std::move(network), device, checkpoint.config.experts,
                    RecordedPasses(std::move(record), ReplayTolerance(dtype))});
}

RestorerSpec SpecOf(const Checkpoint& checkpoint, at::Device device, at::ScalarType dtype) {
  const ModelConfig& config = checkpoint.config;
  return {.name = config.name,
          .version = checkpoint.version,
          .tile = config.tile(),
          .routing = {RoutingUnit::kToken, config.routed() ? config.depth : 0, config.experts,
                      config.kept, config.experts_by_block},
          .device = device.str(),
          .precision = dtype == at::kFloat ? "f32" : "bf16",
          .tasks = config.tasks};
}

}  // namespace

absl::StatusOr<Restorer> MakeRestorer(const Checkpoint& checkpoint, const LoadOptions& options) {
  return MakeRestorer(checkpoint, options, GraphRecorder);
}

absl::StatusOr<Restorer> MakeRestorer(const Checkpoint& checkpoint, const LoadOptions& options,
                                      const std::function<RecordPass(at::Device)>& recorder) {
  DW_ASSIGN_OR_RETURN(const at::Device device, ResolveDevice(options.device));
  const at::ScalarType dtype = ResolveDtype(options.precision, device);
  using Loaded = std::shared_ptr<LoadedNetwork>;
  DW_ASSIGN_OR_RETURN(const Loaded loaded,
                      CatchTorch("cannot ready the model", [&]() -> absl::StatusOr<Loaded> {
                        return Ready(checkpoint, device, dtype, recorder(device));
                      }));
  Restorer restorer;
  restorer.spec = SpecOf(checkpoint, device, dtype);
  restorer.forward = [loaded, spec = restorer.spec](const at::Tensor& tiles,
                                                    const ForwardOptions& forward) {
    return CatchTorch("the model failed", [&]() -> absl::StatusOr<Restored> {
      DW_RETURN_IF_ERROR(CheckShape(tiles, spec.tile.multiple_px));
      DW_RETURN_IF_ERROR(CheckOptions(spec, forward, tiles.size(0)));
      return loaded->Run(tiles, forward);
    });
  };
  if (!loaded->recorded.can_record()) return restorer;
  restorer.record = [loaded, multiple = restorer.spec.tile.multiple_px](const at::Tensor& tiles) {
    return CatchTorch("the model failed", [&]() -> absl::Status {
      DW_RETURN_IF_ERROR(CheckShape(tiles, multiple));
      return loaded->Record(tiles);
    });
  };
  return restorer;
}

absl::StatusOr<Restorer> LoadRestorer(const std::string& path, const LoadOptions& options) {
  DW_ASSIGN_OR_RETURN(const Checkpoint checkpoint, LoadCheckpoint(path));
  return MakeRestorer(checkpoint, options);
}

Restorer IdentityRestorer(const TileSpec& tile) {
  Restorer restorer;
  restorer.spec = {.name = "identity", .version = "builtin", .tile = tile, .routing = {}};
  restorer.forward = [spec = restorer.spec](
                         const at::Tensor& tiles,
                         const ForwardOptions& forward) -> absl::StatusOr<Restored> {
    DW_RETURN_IF_ERROR(CheckShape(tiles, spec.tile.multiple_px));
    DW_RETURN_IF_ERROR(CheckOptions(spec, forward, tiles.size(0)));
    Restored restored;
    restored.tiles = tiles;
    FillRouting({}, tiles.size(0), 0, restored);
    return restored;
  };
  return restorer;
}

}  // namespace deweather
