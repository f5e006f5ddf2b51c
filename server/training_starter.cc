#include "server/training_starter.h"

#include <spdlog/spdlog.h>

#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/time/clock.h"
#include "model/base/error_reason.h"
#include "model/base/status_macros.h"
#include "server/repeat.h"

namespace deweather {
namespace {

// Between two looks at whether the jobs are to be had.
constexpr absl::Duration kAwaitJobs = absl::Milliseconds(500);

// A reason for good.
absl::Status RunsNone(const ServerOptions& options) {
  if (options.data_dir.empty()) {
    return WithReason(
        absl::FailedPreconditionError("this server runs no jobs: it has no data folder (data_dir)"),
        "NO_DATA_FOLDER");
  }
  if (options.training.enabled) return absl::OkStatus();
  return WithReason(absl::FailedPreconditionError(
                        "this server runs no jobs: training.enabled is false (--no-jobs)"),
                    "JOBS_OFF");
}

bool IsElsewhere(const absl::Status& why) { return ErrorReason(why) == "JOBS_ELSEWHERE"; }

bool MayPass(const absl::Status& why) {
  return IsElsewhere(why) || ErrorReason(why) == "DISK_FULL";
}

}  // namespace

TrainingStarter::TrainingStarter(const ServerOptions& options, LiveModels& models)
    : options_(options),
      models_(models),
      patience_(absl::Now() + options.drain.delay + options.drain.timeout),
      why_not_(RunsNone(options)) {}

absl::StatusOr<std::unique_ptr<TrainingStarter>> TrainingStarter::Start(
    const ServerOptions& options, LiveModels& models) {
  auto starter = absl::WrapUnique(new TrainingStarter(options, models));
  if (!RunsNone(options).ok()) return starter;
  const absl::Status first = starter->Try();
  if (first.ok()) return starter;
  if (!MayPass(first)) return first;
  spdlog::warn("this server runs no jobs yet: {}", std::string(first.message()));
  starter->waiting_ = Repeat(
      kAwaitJobs, [&starter = *starter](const std::stop_token&) { return starter.TryAgain(); });
  return starter;
}

absl::Status TrainingStarter::Try() {
  absl::StatusOr<std::unique_ptr<Training>> training = Training::Start(options_, models_);
  MutexLock lock(mutex_);
  why_not_ = training.status();
  if (training.ok()) training_ = *std::move(training);
  return why_not_;
}

// Whether it is to be tried once more.
bool TrainingStarter::TryAgain() {
  const absl::Status status = Try();
  if (MayPass(status)) return true;
  if (status.ok()) {
    spdlog::info("this server runs the jobs of '{}' now", options_.data_dir);
  } else {
    spdlog::error("this server runs no jobs: {}", status.ToString());
  }
  return false;
}

absl::StatusOr<Training*> TrainingStarter::training() const {
  MutexLock lock(mutex_);
  if (training_ != nullptr) return training_.get();
  if (!IsElsewhere(why_not_) || absl::Now() >= patience_) return why_not_;
  return WithReason(absl::UnavailableError(why_not_.message()), "JOBS_ELSEWHERE");
}

void TrainingStarter::BeginStop() {
  waiting_ = {};
  const absl::StatusOr<Training*> started = training();
  if (started.ok()) (*started)->BeginStop();
}

}  // namespace deweather
