#include "model/restorer.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/cpu/Utils.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "model/base/status_macros.h"
#include "model/checkpoint.h"
#include "model/network.h"
#include "model/torch_errors.h"

#ifdef DEWEATHER_CUDA
#include <ATen/cuda/CUDAContext.h>
#endif

namespace deweather {
namespace {

int CudaDeviceCount() {
#ifdef DEWEATHER_CUDA
  return static_cast<int>(at::cuda::device_count());
#else
  return 0;
#endif
}

absl::StatusOr<at::Device> ResolveDevice(const std::string& name) {
  if (name == "cpu") return at::Device(at::kCPU);
  const int devices = CudaDeviceCount();
  if (name == "auto") return devices > 0 ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  int index = 0;
  absl::string_view number = name;
  const bool cuda = name == "cuda" || (absl::ConsumePrefix(&number, "cuda:") &&
                                       absl::SimpleAtoi(number, &index) && index >= 0);
  if (!cuda) {
    return absl::InvalidArgumentError(
        absl::StrFormat("unknown device '%s'; known: auto, cpu, cuda, cuda:N", name));
  }
  if (index >= devices) {
    return absl::InvalidArgumentError(
        absl::StrFormat("device '%s' is not there; CUDA devices: %d", name, devices));
  }
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
}

bool CpuComputesBf16() {
#ifdef __x86_64__
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

at::ScalarType ResolveDtype(Precision precision, at::Device device) {
  if (precision == Precision::kF32) return at::kFloat;
  if (precision == Precision::kBf16) return at::kBFloat16;
  return device.is_cuda() || CpuComputesBf16() ? at::kBFloat16 : at::kFloat;
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

// Per tile, of one layer's gates over B tiles of n tokens.
struct LayerRouting {
  at::Tensor tokens;   // [B,E] i64
  at::Tensor gate;     // [B,E] f64
  at::Tensor entropy;  // [B] f64
};

LayerRouting Summarize(const Gates& gates, int64_t batch) {
  const int64_t experts = gates.logits.size(1);
  const at::Tensor kept = gates.kept.reshape({batch, -1});  // [B,nK]
  const at::Tensor weights = gates.weights.reshape({batch, -1}).to(at::kDouble);
  LayerRouting routing;
  routing.tokens =
      at::zeros({batch, experts}, kept.options()).scatter_add_(1, kept, at::ones_like(kept));
  routing.gate = at::zeros({batch, experts}, weights.options()).scatter_add_(1, kept, weights);
  const at::Tensor log_p = at::log_softmax(gates.logits, -1);                 // [N,E]
  const at::Tensor entropy = -(log_p.exp() * log_p).sum(-1).to(at::kDouble);  // [N]
  const double most = std::log(static_cast<double>(std::max<int64_t>(experts, 2)));
  routing.entropy = entropy.view({batch, -1}).mean(1) / most;
  return routing;
}

void FillRouting(const NetworkOutput& output, int64_t batch, Restored& restored) {
  std::vector<at::Tensor> tokens, gate, entropy;
  for (const Gates& gates : output.gates) {
    const LayerRouting routing = Summarize(gates, batch);
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
  restored.tokens = at::stack(tokens, 1).cpu();    // [B,L,E]
  restored.gate = at::stack(gate, 1).cpu();        // [B,L,E]
  restored.entropy = at::stack(entropy, 1).cpu();  // [B,L]
}

// A loaded network, ready on its device. forward() is what a Restorer calls.
struct LoadedNetwork {
  Network network;
  at::Device device;
  int multiple;

  Restored Run(const at::Tensor& tiles, const ForwardOptions& options) const {
    const c10::InferenceMode inference;
    const NetworkOutput output = Forward(network, tiles.to(device));
    Restored restored;
    restored.tiles = output.pictures.clamp(0, 1).cpu().contiguous();
    FillRouting(output, tiles.size(0), restored);
    if (options.expert_map && !output.gates.empty()) {
      // topk lists the heaviest first.
      restored.expert_map =
          output.gates.back()
              .kept.select(1, 0)
              .view({tiles.size(0), tiles.size(2) / multiple, tiles.size(3) / multiple})
              .to(at::kByte)
              .cpu();
    }
    return restored;
  }
};

std::shared_ptr<const LoadedNetwork> Ready(const Checkpoint& checkpoint, at::Device device,
                                           at::ScalarType dtype) {
  const c10::InferenceMode inference;
  Parameters parameters = CastParameters(checkpoint.parameters, dtype);
  for (auto& [name, tensor] : parameters) tensor = tensor.to(device);
  return std::make_shared<const LoadedNetwork>(
      LoadedNetwork{BindNetwork(checkpoint.config, parameters), device, checkpoint.config.patch});
}

}  // namespace

absl::StatusOr<Restorer> MakeRestorer(const Checkpoint& checkpoint, const LoadOptions& options) {
  const ModelConfig& config = checkpoint.config;
  DW_ASSIGN_OR_RETURN(const at::Device device, ResolveDevice(options.device));
  const at::ScalarType dtype = ResolveDtype(options.precision, device);
  using Loaded = std::shared_ptr<const LoadedNetwork>;
  DW_ASSIGN_OR_RETURN(const Loaded loaded,
                      CatchTorch("cannot ready the model", [&]() -> absl::StatusOr<Loaded> {
                        return Ready(checkpoint, device, dtype);
                      }));
  Restorer restorer;
  restorer.spec.name = config.name;
  restorer.spec.version = checkpoint.version;
  restorer.spec.tile = config.tile();
  restorer.spec.routing = {RoutingUnit::kToken, config.routed() ? config.depth : 0, config.experts,
                           config.kept, config.experts_by_block};
  restorer.spec.device = device.str();
  restorer.spec.precision = dtype == at::kFloat ? "f32" : "bf16";
  restorer.spec.tasks = config.tasks;
  restorer.forward = [loaded](const at::Tensor& tiles, const ForwardOptions& forward) {
    return CatchTorch("the model failed", [&]() -> absl::StatusOr<Restored> {
      DW_RETURN_IF_ERROR(CheckShape(tiles, loaded->multiple));
      return loaded->Run(tiles, forward);
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
  restorer.forward = [tile](const at::Tensor& tiles,
                            const ForwardOptions&) -> absl::StatusOr<Restored> {
    DW_RETURN_IF_ERROR(CheckShape(tiles, tile.multiple_px));
    Restored restored;
    restored.tiles = tiles;
    FillRouting({}, tiles.size(0), restored);
    return restored;
  };
  return restorer;
}

}  // namespace deweather
