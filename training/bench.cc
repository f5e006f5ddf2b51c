#include "training/bench.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "model/base/processors.h"
#include "model/base/status_macros.h"
#include "model/checkpoint.h"
#include "model/parameters.h"
#include "model/restorer.h"
#include "model/torch_errors.h"
#include "training/loss.h"
#include "training/train_state.h"

namespace deweather {
namespace {

constexpr int kWarmUps = 2;

absl::Status CheckOptions(const BenchOptions& options, int patch) {
  if (options.size_px < patch || options.size_px > 4096 || options.size_px % patch != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "size is %d; it must be a multiple of %d, at most 4096", options.size_px, patch));
  }
  if (options.batch < 1 || options.batch > 256) {
    return absl::InvalidArgumentError(
        absl::StrFormat("batch is %d; it must be in [1, 256]", options.batch));
  }
  if (options.threads < 0 || options.threads > 1024) {
    return absl::InvalidArgumentError(
        absl::StrFormat("threads is %d; it must be in [0, 1024]", options.threads));
  }
  if (options.runs < 1 || options.runs > 1000) {
    return absl::InvalidArgumentError(
        absl::StrFormat("runs is %d; it must be in [1, 1000]", options.runs));
  }
  return absl::OkStatus();
}

absl::StatusOr<Checkpoint> Weights(const BenchOptions& options) {
  if (!options.model.empty()) return LoadCheckpoint(options.model);
  DW_RETURN_IF_ERROR(Validate(options.config));
  return Checkpoint{options.config, InitialParameters(options.config, /*seed=*/0), {}, "random"};
}

at::Tensor RandomTiles(const BenchOptions& options) {
  at::Generator generator = at::detail::createCPUGenerator(0);
  return at::empty({options.batch, 3, options.size_px, options.size_px}, at::kFloat)
      .uniform_(0, 1, generator);
}

// What is timed, and what it computes on and in.
struct Timed {
  std::function<absl::Status()> run;
  std::string device;
  std::string precision;
};

absl::StatusOr<Timed> Inference(const BenchOptions& options, const Checkpoint& checkpoint) {
  DW_ASSIGN_OR_RETURN(const Restorer restorer, MakeRestorer(checkpoint, options.load));
  return Timed{[restorer, tiles = RandomTiles(options)] {
                 return restorer.forward(tiles, ForwardOptions{}).status();
               },
               restorer.spec.device, restorer.spec.precision};
}

absl::StatusOr<Timed> Training(const BenchOptions& options, const Checkpoint& checkpoint) {
  auto train = std::make_shared<TrainOptions>();
  train->model = checkpoint.config;
  DW_ASSIGN_OR_RETURN(TrainState begin, BeginState(*train));
  auto state = std::make_shared<TrainState>(std::move(begin));
  const bool bf16 = options.load.precision == Precision::kBf16;  // auto trains in f32
  const auto step = [=, tiles = RandomTiles(options)]() -> absl::Status {
    const Parameters cast = CastParameters(state->weights, bf16 ? at::kBFloat16 : at::kFloat);
    const NetworkOutput output = Forward(BindNetwork(train->model, cast), tiles);
    TaskLoss(train->loss, output.pictures, tiles).mean().backward();
    ApplyGradients(*train, 1e-6, *state);
    return absl::OkStatus();
  };
  return Timed{[step] { return CatchTorch("training failed", step); }, "cpu",
               bf16 ? "bf16" : "f32"};
}

absl::StatusOr<std::vector<double>> Time(const Timed& timed, int runs) {
  std::vector<double> milliseconds;
  for (int i = 0; i < kWarmUps + runs; ++i) {
    const absl::Time begin = absl::Now();
    DW_RETURN_IF_ERROR(timed.run());
    if (i >= kWarmUps) milliseconds.push_back(absl::ToDoubleMilliseconds(absl::Now() - begin));
  }
  std::sort(milliseconds.begin(), milliseconds.end());
  return milliseconds;
}

}  // namespace

absl::StatusOr<BenchResult> RunBench(const BenchOptions& options) {
  DW_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Weights(options));
  DW_RETURN_IF_ERROR(CheckOptions(options, checkpoint.config.patch));
  at::set_num_threads(options.threads > 0 ? options.threads : UsableProcessors());
  DW_ASSIGN_OR_RETURN(const Timed timed, options.train ? Training(options, checkpoint)
                                                       : Inference(options, checkpoint));
  DW_ASSIGN_OR_RETURN(const std::vector<double> times, Time(timed, options.runs));
  const Macs macs = CountMacs(checkpoint.config, options.size_px, options.size_px);
  return BenchResult{.median_ms_per_tile = times[times.size() / 2] / options.batch,
                     .min_ms_per_tile = times.front() / options.batch,
                     .parameters = CountParameters(checkpoint.config),
                     .macs_per_tile = macs.layers + macs.attention,
                     .device = timed.device,
                     .precision = timed.precision,
                     .threads = at::get_num_threads()};
}

}  // namespace deweather
