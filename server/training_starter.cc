#include "server/training_starter.h"

#include <spdlog/spdlog.h>

#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "model/base/error_reason.h"
#include "model/base/status_macros.h"
#include "server/repeat.h"

namespace deweather {
namespace {

// Between two looks at whether another server still has the jobs, and between two tries that cost more than a
// look.
constexpr absl::Duration kAwaitJobs = absl::Milliseconds(500);
constexpr absl::Duration kAwaitMending = absl::Seconds(2);

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

TrainingStarter::TrainingStarter(const ServerOptions& options, OpenTraining open, absl::Time now)
    : data_dir_(options.data_dir),
      open_(std::move(open)),
      patience_(now + options.drain.delay + options.drain.timeout),
      why_not_(RunsNone(options)) {}

absl::StatusOr<std::unique_ptr<TrainingStarter>> TrainingStarter::Start(
    const ServerOptions& options, OpenTraining open, absl::Time now) {
  auto starter = absl::WrapUnique(new TrainingStarter(options, std::move(open), now));
  if (!RunsNone(options).ok()) return starter;
  starter->told_ = starter->Try({});
  if (starter->told_.ok()) return starter;
  if (!MayPass(starter->told_)) return starter->told_;
  spdlog::warn("this server runs no jobs yet: {}", std::string(starter->told_.message()));
  starter->waiting_ =
      Repeat([&starter = *starter](const std::stop_token& stop) { return starter.TryAgain(stop); });
  return starter;
}

absl::Status TrainingStarter::Try(const std::stop_token& stop) {
  absl::StatusOr<std::unique_ptr<Training>> training = open_(stop);
  MutexLock lock(mutex_);
  why_not_ = training.status();
  if (training.ok()) training_ = *std::move(training);
  if (training_ != nullptr && stop.stop_requested()) training_->BeginStop();
  return why_not_;
}

// How long until it is to be tried once more.
absl::Duration TrainingStarter::TryAgain(const std::stop_token& stop) {
  const absl::Status status = Try(stop);
  if (status.ok()) {
    spdlog::info("this server runs the jobs of '{}' now", data_dir_);
    return absl::InfiniteDuration();
  }
  if (status != told_ && !stop.stop_requested()) {
    spdlog::error("this server runs no jobs, and tries again: {}", std::string(status.message()));
  }
  told_ = status;
  return IsElsewhere(status) ? kAwaitJobs : kAwaitMending;
}

absl::StatusOr<Training*> TrainingStarter::training(absl::Time now) const {
  MutexLock lock(mutex_);
  if (training_ != nullptr) return training_.get();
  if (!IsElsewhere(why_not_) || now >= patience_) return why_not_;
  return WithReason(absl::UnavailableError(why_not_.message()), "JOBS_ELSEWHERE");
}

void TrainingStarter::BeginStop() {
  waiting_.request_stop();
  MutexLock lock(mutex_);
  if (training_ != nullptr) training_->BeginStop();
}

}  // namespace deweather
