#include "model/base/train_options.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/str_format.h"
#include "model/base/device_name.h"
#include "model/base/name.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

absl::Status CheckRange(std::string_view field, double value, double low, double high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("%s is %.10g; it must be in [%.10g, %.10g]", field, value, low, high));
}

// The log has figures of these names beside the tasks'.
absl::Status CheckTask(const std::string& field, std::string_view task) {
  for (const std::string_view taken : {"all", "balance", "uncertainty", "distill"}) {
    if (task == taken) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "%s is '%s', which has a meaning of its own; it must be another name", field, task));
    }
  }
  return absl::OkStatus();
}

// A gate of a task learns from its own pictures alone.
absl::Status CheckGate(const std::string& field, const std::string& task,
                       const std::vector<std::string>& tasks) {
  if (tasks.empty() || std::find(tasks.begin(), tasks.end(), task) != tasks.end()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrFormat("%s is '%s'; it must be one of model.tasks: %s",
                                                    field, task, ShownNames(tasks)));
}

absl::Status ValidateGates(const DataOptions& data, const std::vector<std::string>& tasks) {
  for (size_t i = 0; i < data.pairs.size(); ++i) {
    const std::string field = absl::StrFormat("data.pairs[%d].task", i);
    DW_RETURN_IF_ERROR(CheckGate(field, data.pairs[i].task, tasks));
  }
  for (size_t i = 0; i < data.clean.size(); ++i) {
    const std::string field = absl::StrFormat("data.clean[%d].weather", i);
    DW_RETURN_IF_ERROR(CheckGate(field, data.clean[i].weather, tasks));
  }
  return absl::OkStatus();
}

absl::Status CheckWeather(const std::string& field, std::string_view weather) {
  for (const std::string_view known : {"rain", "drops", "snow", "haze", "mixed"}) {
    if (weather == known) return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("%s is '%s'; it must be rain, drops, snow, haze or mixed", field, weather));
}

absl::Status Validate(const PairedSource& source, const std::string& field) {
  DW_RETURN_IF_ERROR(CheckTask(field + ".task", source.task));
  DW_RETURN_IF_ERROR(CheckRange(field + ".weight", source.weight, 1e-6, 1e6));
  return CheckRange(field + ".loss_weight", source.loss_weight, 1e-6, 1e6);
}

absl::Status Validate(const CleanSource& source, const std::string& field) {
  DW_RETURN_IF_ERROR(CheckRange(field + ".weight", source.weight, 1e-6, 1e6));
  DW_RETURN_IF_ERROR(CheckRange(field + ".loss_weight", source.loss_weight, 1e-6, 1e6));
  DW_RETURN_IF_ERROR(CheckWeather(field + ".weather", source.weather));
  return CheckRange(field + ".untouched_share", source.untouched_share, 0, 1);
}

absl::Status ValidateData(const DataOptions& data, int patch) {
  if (data.pairs.empty() && data.clean.empty()) {
    return absl::InvalidArgumentError("data names no pairs and no clean pictures");
  }
  for (size_t i = 0; i < data.pairs.size(); ++i) {
    DW_RETURN_IF_ERROR(Validate(data.pairs[i], absl::StrFormat("data.pairs[%d]", i)));
  }
  for (size_t i = 0; i < data.clean.size(); ++i) {
    DW_RETURN_IF_ERROR(Validate(data.clean[i], absl::StrFormat("data.clean[%d]", i)));
  }
  DW_RETURN_IF_ERROR(CheckRange("data.loader_threads", data.loader_threads, 1, 256));
  DW_RETURN_IF_ERROR(CheckRange("data.prefetch_batches", data.prefetch_batches, 1, 1024));
  DW_RETURN_IF_ERROR(
      CheckRange("data.cache_mebibytes", static_cast<double>(data.cache_mebibytes), 0, 1 << 24));
  DW_RETURN_IF_ERROR(CheckRange("data.max_unreadable", data.max_unreadable, 0, 1e9));
  DW_RETURN_IF_ERROR(CheckRange("data.crop_px", data.crop_px, patch, 1024));
  if (data.crop_px % patch != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "data.crop_px is %d; it must be a multiple of the patch, %d", data.crop_px, patch));
  }
  return absl::OkStatus();
}

absl::Status ValidateOptimizer(const OptimizerOptions& optimizer) {
  DW_RETURN_IF_ERROR(CheckRange("optimizer.learning_rate", optimizer.learning_rate, 1e-9, 1));
  DW_RETURN_IF_ERROR(CheckRange("optimizer.min_learning_rate", optimizer.min_learning_rate, 0,
                                optimizer.learning_rate));
  DW_RETURN_IF_ERROR(
      CheckRange("optimizer.warmup_steps", static_cast<double>(optimizer.warmup_steps), 0, 1e9));
  DW_RETURN_IF_ERROR(CheckRange("optimizer.weight_decay", optimizer.weight_decay, 0, 1));
  DW_RETURN_IF_ERROR(CheckRange("optimizer.beta1", optimizer.beta1, 0, 0.999999));
  DW_RETURN_IF_ERROR(CheckRange("optimizer.beta2", optimizer.beta2, 0, 0.999999));
  return CheckRange("optimizer.clip_norm", optimizer.clip_norm, 0, 1e6);
}

// The weights of the terms of the loss.
absl::Status ValidateTerms(const TrainOptions& options) {
  DW_RETURN_IF_ERROR(CheckRange("frequency_weight", options.frequency_weight, 0, 1000));
  DW_RETURN_IF_ERROR(CheckRange("balance_weight", options.balance_weight, 0, 1000));
  DW_RETURN_IF_ERROR(CheckRange("uncertainty_weight", options.uncertainty_weight, 0, 1000));
  DW_RETURN_IF_ERROR(CheckRange("distill.weight", options.distill.weight, 0, 1000));
  if (options.uncertainty_weight == 0 || options.model.routed()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("uncertainty_weight is %.10g; it must be 0: a dense network has no router "
                      "whose passes could differ",
                      options.uncertainty_weight));
}

absl::Status ValidateTimes(const TrainOptions& options) {
  if (options.max_time <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrFormat("max_time is %s; it must be positive",
                                                      absl::FormatDuration(options.max_time)));
  }
  const absl::Duration wait = options.rank_timeout;
  if (wait >= absl::Seconds(1) && wait <= absl::Hours(24)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("rank_timeout is %s; it must be in [1s, 24h]", absl::FormatDuration(wait)));
}

absl::Status CheckName(const std::string& name) {
  DW_RETURN_IF_ERROR(ValidateName("name", name));
  for (const std::string_view reserved : {"default", "identity", "state"}) {
    if (name == reserved) {
      return absl::InvalidArgumentError(
          absl::StrFormat("name is '%s', which has a meaning of its own", name));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const TrainOptions& options) {
  DW_RETURN_IF_ERROR(CheckName(options.name));
  DW_RETURN_IF_ERROR(Validate(options.model));
  DW_RETURN_IF_ERROR(ValidateData(options.data, options.model.patch));
  DW_RETURN_IF_ERROR(ValidateGates(options.data, options.model.tasks));
  DW_RETURN_IF_ERROR(ValidateOptimizer(options.optimizer));
  DW_RETURN_IF_ERROR(ValidateTerms(options));
  DW_RETURN_IF_ERROR(CheckRange("batch", options.batch, 1, 4096));
  DW_RETURN_IF_ERROR(CheckRange("accumulate", options.accumulate, 1, 4096));
  DW_RETURN_IF_ERROR(CheckRange("steps", static_cast<double>(options.steps), 1, 1e9));
  DW_RETURN_IF_ERROR(CheckRange("keep_checkpoints", options.keep_checkpoints, 1, 1000));
  DW_RETURN_IF_ERROR(CheckRange("max_bad_steps", options.max_bad_steps, 0, 1e9));
  DW_RETURN_IF_ERROR(CheckRange("evaluate.every_steps",
                                static_cast<double>(options.evaluate.every_steps), 0, 1e9));
  DW_RETURN_IF_ERROR(CheckRange("evaluate.patience", options.evaluate.patience, 0, 1e9));
  DW_RETURN_IF_ERROR(CheckRange("ema_decay", options.ema_decay, 0, 0.9999999));
  DW_RETURN_IF_ERROR(CheckRange("threads", options.threads, 0, 1024));
  DW_RETURN_IF_ERROR(CheckRange("checkpoint_every_steps",
                                static_cast<double>(options.checkpoint_every_steps), 1, 1e9));
  DW_RETURN_IF_ERROR(
      CheckRange("log_every_steps", static_cast<double>(options.log_every_steps), 1, 1e9));
  DW_RETURN_IF_ERROR(ValidateDeviceName(options.device));
  DW_RETURN_IF_ERROR(ValidateTimes(options));
  if (options.output_dir.empty()) return absl::InvalidArgumentError("output_dir is empty");
  return absl::OkStatus();
}

}  // namespace deweather
