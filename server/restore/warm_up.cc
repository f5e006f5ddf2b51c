#include "server/restore/warm_up.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linspace.h>

#include <functional>
#include <future>
#include <memory>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "model/base/device_failure.h"
#include "model/base/error_reason.h"
#include "model/base/status_macros.h"
#include "model/restorer.h"
#include "model/torch_errors.h"

namespace deweather {
namespace {

// From black to white, so that every weight has something to work on.
at::Tensor Ramps(int batch, int side) {
  const at::Tensor ramp = at::linspace(0, 1, int64_t{3} * side * side, at::kFloat);
  return ramp.view({1, 3, side, side}).repeat({batch, 1, 1, 1});
}

// What one run is of.
struct Trial {
  int batch = 1;
  int first_task = 0;  // of the first tile; the next has the next, and so on
  bool uncertainty = false;
};

ForwardOptions OptionsOf(const RestorerSpec& spec, const Trial& trial) {
  ForwardOptions options;
  options.uncertainty = trial.uncertainty;
  if (trial.uncertainty) options.keys.resize(static_cast<size_t>(trial.batch));
  const auto tasks = static_cast<int>(spec.tasks.size());
  for (int i = 0; i < trial.batch && tasks > 0; ++i) {
    options.tasks.push_back((trial.first_task + i) % tasks);
  }
  return options;
}

// Its routing counts nowhere.
absl::Status RunOnce(const Restorer& model, const Trial& trial) {
  return CatchTorch(model.spec.name, [&]() -> absl::Status {
    const at::Tensor tiles = Ramps(trial.batch, model.spec.tile.tile_px);
    DW_ASSIGN_OR_RETURN(const Restored restored,
                        model.forward(tiles, OptionsOf(model.spec, trial)));
    if (restored.tiles.sizes() != tiles.sizes()) {
      return absl::InternalError(
          absl::StrFormat("%s changes the shape of its tiles", model.spec.name));
    }
    if (at::isfinite(restored.tiles).all().item<bool>()) return absl::OkStatus();
    return absl::InternalError(absl::StrFormat("%s version %s gives pixels that are not finite",
                                               model.spec.name, model.spec.version));
  });
}

// What `run` returns on the executor.
absl::Status RunThere(const Executor& executor, std::function<absl::Status()> run) {
  auto done = std::make_shared<std::promise<absl::Status>>();
  std::future<absl::Status> status = done->get_future();
  executor([done = std::move(done), run = std::move(run)] { done->set_value(run()); });
  try {
    return status.get();
  } catch (const std::future_error&) {  // the task was thrown away
    return absl::UnavailableError("the executor has stopped");
  }
}

absl::Status RunMeasured(const Restorer& model, const Trial& trial, const WarmUpOptions& options,
                         BatchCost* cost) {
  if (options.stop.stop_requested()) return absl::CancelledError("the warm-up was stopped");
  const int64_t side = model.spec.tile.tile_px;
  return RunThere(options.executor, [&model, trial, side, cost]() -> absl::Status {
    const absl::Time start = absl::Now();
    DW_RETURN_IF_ERROR(RunOnce(model, trial));
    if (cost != nullptr) cost->Add(trial.batch * side * side, absl::Now() - start);
    return absl::OkStatus();
  });
}

// A size that cannot be recorded is computed as it was before: only a broken device is an error.
absl::Status RecordAll(const Restorer& model, const WarmUpOptions& options) {
  if (model.record == nullptr) return absl::OkStatus();
  std::vector<int> without;
  absl::Status why;
  for (auto size = options.batch_sizes.rbegin(); size != options.batch_sizes.rend(); ++size) {
    if (options.stop.stop_requested()) return absl::CancelledError("the warm-up was stopped");
    const absl::Status status = RunThere(options.executor, [&model, batch = *size] {
      return CatchTorch(model.spec.name, [&]() -> absl::Status {
        return model.record(Ramps(batch, model.spec.tile.tile_px));
      });
    });
    if (absl::IsUnavailable(status) || IsDeviceFailure(status)) return status;
    if (status.ok()) continue;
    without.push_back(*size);
    why.Update(status);
  }
  if (without.empty() || !options.log) return absl::OkStatus();
  options.log(absl::StrFormat("model %s version %s runs batches of %s without CUDA graphs: %s",
                              model.spec.name, model.spec.version, absl::StrJoin(without, ", "),
                              std::string(why.message())));
  return absl::OkStatus();
}

absl::Status RunAll(const Restorer& model, const WarmUpOptions& options, BatchCost& cost,
                    BatchCost& map_cost) {
  if (options.batch_sizes.empty()) return absl::OkStatus();
  const int least = options.batch_sizes.front();
  const int most = options.batch_sizes.back();
  DW_RETURN_IF_ERROR(RunMeasured(model, {.batch = least}, options, nullptr));
  DW_RETURN_IF_ERROR(RecordAll(model, options));
  for (const int size : options.batch_sizes) {
    DW_RETURN_IF_ERROR(RunMeasured(model, {.batch = size}, options, &cost));
  }
  const auto tasks = static_cast<int>(model.spec.tasks.size());
  for (int task = most; task < tasks; task += most) {
    const Trial trial{.batch = most, .first_task = task};
    DW_RETURN_IF_ERROR(RunMeasured(model, trial, options, &cost));
  }
  const RoutingSpec& routing = model.spec.routing;
  if (routing.layers == 0 || routing.unit != RoutingUnit::kToken) return absl::OkStatus();
  return RunMeasured(model, {.batch = least, .uncertainty = true}, options, &map_cost);
}

}  // namespace

absl::Status WarmUp(const Restorer& model, const WarmUpOptions& options, BatchCost& cost,
                    BatchCost& map_cost) {
  const absl::Status status = RunAll(model, options, cost, map_cost);
  return absl::IsInternal(status) ? WithReason(status, "MODEL_FAILED") : status;
}

}  // namespace deweather
