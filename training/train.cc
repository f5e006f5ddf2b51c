#include "training/train.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <cmath>
#include <filesystem>
#include <future>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "model/base/file.h"
#include "model/base/processors.h"
#include "model/base/status_macros.h"
#include "model/checkpoint.h"
#include "model/network.h"
#include "model/restorer.h"
#include "model/torch_errors.h"
#include "training/dataset.h"
#include "training/loss.h"
#include "training/schedule.h"
#include "training/train_state.h"

namespace deweather {
namespace {

struct Batch {
  at::Tensor input;  // [B,3,c,c] f32 in [0,1]
  at::Tensor truth;
};

absl::StatusOr<Batch> LoadBatch(const TrainOptions& options, Dataset& dataset, int64_t step) {
  const int64_t side = options.data.crop_px;
  Batch batch{at::empty({options.batch, 3, side, side}, at::kFloat),
              at::empty({options.batch, 3, side, side}, at::kFloat)};
  const int64_t stride = dataset.crop_elements();
  for (int64_t i = 0; i < options.batch; ++i) {
    DW_RETURN_IF_ERROR(dataset.Load(step, i, batch.input.mutable_data_ptr<float>() + i * stride,
                                    batch.truth.mutable_data_ptr<float>() + i * stride));
  }
  return batch;
}

// Loads the next batch while the network learns from this one.
class Prefetcher {
 public:
  Prefetcher(const TrainOptions& options, Dataset& dataset, int64_t first_step)
      : options_(options), dataset_(dataset) {
    Begin(first_step);
  }
  absl::StatusOr<Batch> Take(int64_t step) {
    absl::StatusOr<Batch> batch = next_.get();
    if (batch.ok() && step + 1 < options_.steps) Begin(step + 1);
    return batch;
  }

 private:
  void Begin(int64_t step) {
    next_ = std::async(std::launch::async,
                       [this, step] { return LoadBatch(options_, dataset_, step); });
  }

  const TrainOptions& options_;
  Dataset& dataset_;
  std::future<absl::StatusOr<Batch>> next_;
};

// Sums between two progress lines.
struct Window {
  int64_t steps = 0;
  double loss = 0;
  double balance = 0;
  double gradient_norm = 0;
  absl::Time begin = absl::Now();
};

class Run {
 public:
  Run(const TrainOptions& options, const TrainSink& sink, Dataset& dataset, TrainState state)
      : options_(options), sink_(sink), dataset_(dataset), state_(std::move(state)) {
    earlier_ = state_.elapsed;
  }

  absl::Status Go() {
    if (state_.step >= options_.steps) return Save();  // resumed after its last step
    Prefetcher batches(options_, dataset_, state_.step);
    while (state_.step < options_.steps) {
      const absl::StatusOr<Batch> batch = batches.Take(state_.step);
      if (!batch.ok()) return SaveAfter(batch.status());
      DW_RETURN_IF_ERROR(Step(*batch));
      const bool late = state_.elapsed >= options_.max_time;
      const bool stopped = sink_.stop && sink_.stop();
      const bool last = late || stopped || state_.step == options_.steps;
      if (last || state_.step % options_.log_every_steps == 0) Report();
      const bool measured = !stopped && Measures() && (last || Due(options_.evaluate.every_steps));
      if (last || measured || Due(options_.checkpoint_every_steps)) DW_RETURN_IF_ERROR(Save());
      if (measured) DW_RETURN_IF_ERROR(Measure());
      if (stopped) return absl::CancelledError(absl::StrCat("stopped at step ", state_.step));
      if (late) break;
    }
    return absl::OkStatus();
  }

  std::string ModelPath() const {
    return absl::StrCat(options_.output_dir, "/", options_.name, ".safetensors");
  }

 private:
  bool Due(int64_t every) const { return every > 0 && state_.step % every == 0; }

  absl::Status Step(const Batch& batch) {
    const double progress =
        Progress(state_.step, options_.steps, state_.elapsed, options_.max_time);
    rate_ = LearningRate(options_.optimizer, state_.step, progress);
    const at::ScalarType dtype =
        options_.precision == TrainPrecision::kBf16 ? at::kBFloat16 : at::kFloat;
    const Network network = BindNetwork(options_.model, CastParameters(state_.weights, dtype));
    const NetworkOutput output = Forward(network, batch.input);
    at::Tensor task = TaskLoss(options_.loss, output.pictures, batch.truth).mean();
    if (options_.frequency_weight > 0) {
      task = task + options_.frequency_weight * FrequencyLoss(output.pictures, batch.truth).mean();
    }
    const at::Tensor balance = BalanceLoss(output.gates);
    const double value = task.item<double>();
    if (!std::isfinite(value)) return Diverged("loss", value);
    (task + options_.balance_weight * balance).backward();
    const double norm = ApplyGradients(options_, rate_, state_);
    if (!std::isfinite(norm)) return Diverged("gradient's norm", norm);
    window_.gradient_norm += norm;
    window_.loss += value;
    window_.balance += balance.item<double>();
    ++window_.steps;
    state_.elapsed = earlier_ + (absl::Now() - begin_);
    return absl::OkStatus();
  }

  absl::Status Diverged(const char* what, double value) const {
    return absl::InternalError(
        absl::StrFormat("the %s is %g at step %d; %s holds the last checkpoint", what, value,
                        state_.step, StatePath()));
  }

  void Report() {
    const auto steps = static_cast<double>(std::max<int64_t>(window_.steps, 1));
    const double seconds = absl::ToDoubleSeconds(absl::Now() - window_.begin);
    if (sink_.progress) {
      sink_.progress({.step = state_.step,
                      .steps = options_.steps,
                      .loss = window_.loss / steps,
                      .balance = window_.balance / steps,
                      .learning_rate = rate_,
                      .gradient_norm = window_.gradient_norm / steps,
                      .images_per_second = steps * options_.batch / seconds,
                      .elapsed = state_.elapsed});
    }
    window_ = Window{};
  }

  // The model first: where the state says that a step is done, the model of that step is there.
  absl::Status Save() {
    DW_RETURN_IF_ERROR(SaveCheckpoint(
        ModelPath(), options_.model, state_.average,
        {{"steps", absl::StrCat(state_.step)}, {"seed", absl::StrCat(options_.seed)}}));
    return SaveState(StatePath(), options_.model, state_);
  }

  // What was learned so far outlives a picture that cannot be read.
  absl::Status SaveAfter(const absl::Status& failure) {
    if (state_.step > 0) DW_RETURN_IF_ERROR(Save());
    return failure;
  }

  bool Measures() const { return !options_.evaluate.pairs_dirs.empty() && sink_.evaluated; }

  absl::Status Measure() {
    for (const std::string& dir : options_.evaluate.pairs_dirs) {
      DW_ASSIGN_OR_RETURN(const Evaluation evaluation, Evaluate(ModelPath(), dir, {}));
      sink_.evaluated(state_.step, evaluation);
    }
    return absl::OkStatus();
  }

  std::string StatePath() const { return options_.output_dir + "/state.safetensors"; }

  const TrainOptions& options_;
  const TrainSink& sink_;
  Dataset& dataset_;
  TrainState state_;
  Window window_;
  absl::Duration earlier_;  // spent by earlier attempts
  const absl::Time begin_ = absl::Now();
  double rate_ = 0;
};

absl::StatusOr<TrainState> FirstState(const TrainOptions& options) {
  const std::string path = options.output_dir + "/state.safetensors";
  if (!std::filesystem::exists(path)) return BeginState(options);
  if (options.resume) return LoadState(path, options.model);
  return absl::AlreadyExistsError(
      absl::StrFormat("'%s' is of an earlier run: set resume, or name another output_dir", path));
}

// What would fail only after hours, tried at the start.
absl::Status CheckPlaces(const TrainOptions& options) {
  std::error_code error;
  std::filesystem::create_directories(options.output_dir, error);
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrFormat("cannot make output_dir '%s': %s", options.output_dir, error.message()));
  }
  const std::string probe = options.output_dir + "/.probe";
  DW_RETURN_IF_ERROR(WriteFileAtomically(probe, ""));
  std::filesystem::remove(probe, error);
  for (const std::string& pairs : options.evaluate.pairs_dirs) {
    DW_RETURN_IF_ERROR(ListPairs(pairs + "/input", pairs + "/gt").status());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> TrainFrom(const TrainOptions& options, const TrainSink& sink,
                                      Dataset& dataset) {
  DW_ASSIGN_OR_RETURN(TrainState state, FirstState(options));
  Run run(options, sink, dataset, std::move(state));
  DW_RETURN_IF_ERROR(run.Go());
  return run.ModelPath();
}

}  // namespace

absl::StatusOr<std::string> Train(const TrainOptions& given, const TrainSink& sink) {
  TrainOptions options = given;
  options.model.name = options.name;
  DW_RETURN_IF_ERROR(Validate(options));
  DW_RETURN_IF_ERROR(CheckPlaces(options));
  at::set_num_threads(options.threads > 0 ? options.threads : UsableProcessors());
  DW_ASSIGN_OR_RETURN(const std::unique_ptr<Dataset> dataset,
                      Dataset::Open(options.data, options.seed));
  return CatchTorch("training failed", [&] { return TrainFrom(options, sink, *dataset); });
}

}  // namespace deweather
