#include "training/bench.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "model/base/file.h"
#include "model/base/process_memory.h"
#include "model/base/processors.h"
#include "model/base/status_macros.h"
#include "model/checkpoint.h"
#include "model/device.h"
#include "model/network.h"
#include "model/parameters.h"
#include "model/restorer.h"
#include "model/safetensors.h"
#include "model/torch_errors.h"
#include "training/dataset.h"
#include "training/learn.h"
#include "training/loader.h"
#include "training/ranks.h"
#include "training/stage_clock.h"
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
  if (options.runs < 1 || options.runs > 100'000) {
    return absl::InvalidArgumentError(
        absl::StrFormat("runs is %d; it must be in [1, 100000]", options.runs));
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
  at::Device device;
  std::string precision;
  double distance = 0;
};

// Of BenchResult::distance. In bf16 a network of random weights comes to 0.005.
constexpr double kMostDistance[] = {1e-4, 0.03};  // f32, bf16

at::Tensor ComputedAsInTraining(const Checkpoint& checkpoint, const at::Tensor& tile) {
  PassOptions pass;
  if (!checkpoint.config.tasks.empty()) pass.tasks = at::zeros({1}, at::kLong);
  const Network network =
      BindNetwork(checkpoint.config, CastParameters(checkpoint.parameters, at::kFloat));
  return Forward(network, tile, pass).pictures.clamp(0, 1);
}

absl::StatusOr<double> Verify(const Checkpoint& checkpoint, bool bf16, const at::Tensor& tiles,
                              const at::Tensor& restored) {
  const at::Tensor wanted = ComputedAsInTraining(checkpoint, tiles.narrow(0, 0, 1));
  const at::Tensor found = restored.narrow(0, 0, 1);
  const double spread = (wanted - wanted.mean()).norm().item<double>();
  const double distance = (found - wanted).norm().item<double>() / std::max(spread, 1e-12);
  if (distance <= kMostDistance[bf16 ? 1 : 0]) return distance;
  return absl::InternalError(absl::StrFormat(
      "inference computes something else than training: relative distance %.2g", distance));
}

absl::Status Save(const std::string& path, const Parameters& weights, const at::Tensor& tiles,
                  const at::Tensor& restored) {
  Safetensors content;
  for (const auto& [name, tensor] : weights) content.tensors[name] = ToView(tensor);
  content.tensors["tiles"] = ToView(tiles);
  content.tensors["restored"] = ToView(restored);
  return WriteFileAtomically(path, SerializeSafetensors(content));
}

absl::StatusOr<Timed> Inference(const BenchOptions& options, const Checkpoint& checkpoint) {
  DW_ASSIGN_OR_RETURN(const Restorer restorer, MakeRestorer(checkpoint, options.load));
  ForwardOptions forward;
  if (!checkpoint.config.tasks.empty()) forward.tasks.resize(options.batch);  // the first gate
  const at::Tensor tiles = RandomTiles(options);
  // As a server does; what cannot be recorded is timed as it is. A replay has no stages.
  if (restorer.record != nullptr && !options.stages) restorer.record(tiles).IgnoreError();
  DW_ASSIGN_OR_RETURN(const Restored restored, restorer.forward(tiles, forward));
  if (!options.save.empty()) {
    DW_RETURN_IF_ERROR(Save(options.save, checkpoint.parameters, tiles, restored.tiles));
  }
  Timed timed{[restorer, forward, tiles] { return restorer.forward(tiles, forward).status(); },
              at::Device(restorer.spec.device), restorer.spec.precision};
  if (!options.verify) return timed;
  DW_ASSIGN_OR_RETURN(timed.distance, CatchTorch("cannot verify", [&] {
                        return Verify(checkpoint, timed.precision == "bf16", tiles, restored.tiles);
                      }));
  return timed;
}

// The run whose step is timed.
TrainOptions RunOf(const BenchOptions& options, const ModelConfig& model) {
  TrainOptions run = options.run.value_or(TrainOptions{});
  run.model = model;
  run.init_from.clear();
  run.distill = {};
  run.batch = options.batch;
  run.accumulate = 1;
  run.data.crop_px = options.size_px;
  if (options.load.precision == Precision::kF32) run.precision = TrainPrecision::kF32;
  if (options.load.precision == Precision::kBf16) run.precision = TrainPrecision::kBf16;
  return run;
}

// Whose truth is its input: a step takes as long.
Batch RandomBatch(const BenchOptions& options, const ModelConfig& model) {
  const at::Tensor tiles = RandomTiles(options);
  const float* begin = tiles.const_data_ptr<float>();
  const std::vector<float> values(begin, begin + tiles.numel());
  CropNote note;
  if (!model.tasks.empty()) note.gate = model.tasks.front();
  return {values, values, std::vector<CropNote>(static_cast<size_t>(options.batch), note)};
}

// A rate at which nothing is learned that could change the time.
constexpr double kLearningRate = 1e-6;

absl::StatusOr<Timed> Training(const BenchOptions& options, const ModelConfig& model) {
  const TrainOptions run = RunOf(options, model);
  DW_ASSIGN_OR_RETURN(const at::Device device,
                      ResolveDevice(options.load.device, options.place.local_rank));
  DW_ASSIGN_OR_RETURN(std::shared_ptr<Ranks> ranks,
                      Ranks::Join(options.place, device, run.rank_timeout));
  DW_ASSIGN_OR_RETURN(TrainState begin, BeginState(run));
  auto state = std::make_shared<TrainState>(std::move(begin));
  MoveTo(device, *state);
  ranks->AverageGradientsOf(InOrderOfGradients(model, state->weights));
  UseDevice(device);
  const auto step = [=, batch = RandomBatch(options, model)]() -> absl::Status {
    LearnFrom(run, batch, *state, /*teacher=*/nullptr, ranks.get());
    ApplyGradients(run, kLearningRate, *state);
    return absl::OkStatus();
  };
  return Timed{[step] { return CatchTorch("training failed", step); }, device,
               run.precision == TrainPrecision::kBf16 ? "bf16" : "f32"};
}

// Times the runs, and counts what memory they take.
absl::Status Time(const Timed& timed, int runs, BenchResult& result) {
  for (int i = 0; i < kWarmUps; ++i) DW_RETURN_IF_ERROR(timed.run());
  result.run_ms.reserve(static_cast<size_t>(runs));
  const int64_t faults = MinorFaults();
  for (int i = 0; i < runs; ++i) {
    const absl::Time begin = absl::Now();
    DW_RETURN_IF_ERROR(timed.run());
    result.run_ms.push_back(absl::ToDoubleMilliseconds(absl::Now() - begin));
    if (i == 0) result.resident_bytes_first = ResidentBytes();
  }
  result.minor_faults_per_run = static_cast<double>(MinorFaults() - faults) / runs;
  result.resident_bytes_last = ResidentBytes();
  result.peak_resident_bytes = PeakResidentBytes();
  result.peak_device_bytes = PeakBytesOf(timed.device);
  return absl::OkStatus();
}

// As many runs again, with a watch on each stage.
absl::StatusOr<std::vector<TimedStage>> TimeStages(const BenchOptions& options, const Timed& timed,
                                                   const ModelConfig& config) {
  const StageClock clock(timed.device);
  for (int i = 0; i < options.runs; ++i) DW_RETURN_IF_ERROR(timed.run());
  std::vector<TimedStage> stages;
  const int bytes = timed.precision == "bf16" ? 2 : 4;
  for (const StageCost& cost : CountStages(config, options.size_px, options.batch, bytes)) {
    const auto found = clock.milliseconds().find(cost.stage);
    if (found == clock.milliseconds().end()) continue;
    stages.push_back({cost, found->second / options.runs});
  }
  return stages;
}

// The network, the sizes and, unless given, the threads of `run`, if there is one.
BenchOptions Resolved(BenchOptions options) {
  if (!options.run) return options;
  options.train = true;
  options.config = options.run->model;
  options.size_px = options.run->data.crop_px;
  options.batch = options.run->batch;
  if (options.threads == 0) options.threads = options.run->threads;
  return options;
}

// Takes batches from the loader or keeps to the one it has.
class LoadingBench {
 public:
  LoadingBench(const TrainOptions& options, Loader& loader, TrainState state)
      : options_(options), loader_(loader), state_(std::move(state)) {}

  absl::Status Go(int rounds, int steps, std::vector<LoadingRound>& out) {
    DW_ASSIGN_OR_RETURN(const Batch* first, loader_.Next());
    cached_ = *first;
    for (int round = 0; round < rounds; ++round) {
      DW_ASSIGN_OR_RETURN(const double loading, StepsPerSecond(steps, /*load=*/true));
      DW_ASSIGN_OR_RETURN(const double cached, StepsPerSecond(steps, /*load=*/false));
      out.push_back({loading, cached});
    }
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<double> StepsPerSecond(int steps, bool load) {
    const int uncounted = options_.data.prefetch_batches + 1;
    for (int i = 0; i < uncounted; ++i) DW_RETURN_IF_ERROR(Step(load));
    const absl::Time begin = absl::Now();
    for (int i = 0; i < steps; ++i) DW_RETURN_IF_ERROR(Step(load));
    return steps / absl::ToDoubleSeconds(absl::Now() - begin);
  }

  absl::Status Step(bool load) {
    for (int pass = 0; pass < options_.accumulate; ++pass) {
      const Batch* batch = &cached_;
      if (load) {
        DW_ASSIGN_OR_RETURN(batch, loader_.Next());
      }
      LearnFrom(options_, *batch, state_);
    }
    ApplyGradients(options_, kLearningRate, state_);
    return absl::OkStatus();
  }

  const TrainOptions& options_;
  Loader& loader_;
  TrainState state_;
  Batch cached_;
};

}  // namespace

absl::StatusOr<BenchResult> RunBench(const BenchOptions& given) {
  const BenchOptions options = Resolved(given);
  DW_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Weights(options));
  DW_RETURN_IF_ERROR(CheckOptions(options, checkpoint.config.patch));
  at::set_num_threads(options.threads > 0 ? options.threads : UsableProcessors());
  DW_ASSIGN_OR_RETURN(const Timed timed, options.train ? Training(options, checkpoint.config)
                                                       : Inference(options, checkpoint));
  const Macs macs = CountMacs(checkpoint.config, options.size_px, options.size_px);
  BenchResult result{.parameters = CountParameters(checkpoint.config),
                     .macs_per_tile = macs.layers + macs.attention,
                     .device = timed.device.str(),
                     .precision = timed.precision,
                     .threads = at::get_num_threads(),
                     .batch = options.batch,
                     .size_px = options.size_px,
                     .distance = timed.distance};
  DW_RETURN_IF_ERROR(Time(timed, options.runs, result));
  std::vector<double> times = result.run_ms;
  std::sort(times.begin(), times.end());
  result.median_ms_per_tile = times[times.size() / 2] / options.batch;
  result.min_ms_per_tile = times.front() / options.batch;
  if (!options.stages) return result;
  result.peak = MeasurePeak(result.device, result.precision);
  DW_ASSIGN_OR_RETURN(result.stages, TimeStages(options, timed, checkpoint.config));
  return result;
}

absl::StatusOr<std::vector<LoadingRound>> RunLoadingBench(const TrainOptions& given, int rounds,
                                                          int steps) {
  if (rounds < 1 || steps < 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("rounds are %d, steps %d; both must be at least 1", rounds, steps));
  }
  TrainOptions options = given;
  options.steps = int64_t{1} << 40;  // the loader must not come to an end
  options.init_from.clear();
  options.distill = {};
  at::set_num_threads(options.threads > 0 ? options.threads : UsableProcessors());
  DW_ASSIGN_OR_RETURN(const std::unique_ptr<Dataset> dataset,
                      Dataset::Open(options.data, options.seed));
  DW_ASSIGN_OR_RETURN(TrainState state, BeginState(options));
  std::vector<LoadingRound> out;
  DW_RETURN_IF_ERROR(CatchTorch("training failed", [&] {
    Loader loader(options, *dataset, /*first_step=*/0);
    return LoadingBench(options, loader, std::move(state)).Go(rounds, steps, out);
  }));
  return out;
}

}  // namespace deweather
