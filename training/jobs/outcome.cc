#include "training/jobs/outcome.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/error_reason.h"

namespace deweather {
namespace {

constexpr absl::Duration kLongestRetry = absl::Minutes(10);
constexpr absl::Duration kBetweenKills = absl::Seconds(1);
constexpr double kDiskMargin = 1.1;

std::string TextOf(const absl::Status& status) {
  return absl::StrCat(absl::StatusCodeToString(status.code()), ": ", status.message());
}

JobChange Fail(std::string reason) {
  return {.action = JobAction::kFail, .reason = std::move(reason)};
}

// Another attempt, for what the job cannot help.
JobChange Later(const Job& job, std::string reason, const TrainingServiceOptions& options,
                absl::Time now) {
  return {.action = JobAction::kRequeue,
          .reason = std::move(reason),
          .retry_time = now + RetryDelay(job.attempts, options.first_retry)};
}

// A full disk breaks no job.
JobChange AfterTrouble(const Job& job, const std::string& what, bool disk_full,
                       const TrainingServiceOptions& options, absl::Time now) {
  if (!disk_full) return AfterFailure(job, what, options, now);
  return Later(job, absl::StrCat("the disk of the jobs is full: ", what), options, now);
}

// Somebody else sent SIGTERM: an operator, or a cluster that takes the machine back.
bool WasStopped(const ChildExit& exit) {
  return exit.signal == SIGTERM || (exit.signal == 0 && exit.status == kStoppedStatus);
}

}  // namespace

absl::Time SteadyNow() {
  return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

bool HasResult(const ProgramEnd& end) { return end.exit.ok() && (!end.told || end.finished); }

bool IsOfTheJob(const absl::Status& status) {
  if (ErrorReason(status) == "DATASET_UNUSABLE") return false;  // its folder may come back
  return absl::IsInvalidArgument(status) || absl::IsNotFound(status) ||
         absl::IsFailedPrecondition(status) || absl::IsAlreadyExists(status) ||
         absl::IsOutOfRange(status) || absl::IsDataLoss(status);
}

absl::Duration RetryDelay(int tries, absl::Duration first) {
  absl::Duration delay = first;
  for (int i = 1; i < tries && delay < kLongestRetry; ++i) delay *= 2;
  return std::min(delay, kLongestRetry);
}

JobChange AfterFailure(const Job& job, const std::string& what,
                       const TrainingServiceOptions& options, absl::Time now) {
  const int failures = job.failures + 1;
  JobChange change{.action = JobAction::kRequeue,
                   .reason = absl::StrFormat("%s; failure %d of %d at most", what, failures,
                                             options.max_failures),
                   .failure = true};
  if (failures >= options.max_failures) {
    change.action = JobAction::kFail;
  } else {
    change.retry_time = now + RetryDelay(failures, options.first_retry);
  }
  return change;
}

// Whoever stops it again and again before it has saved anything does not let it get on.
JobChange AfterExit(const Job& job, const ProgramEnd& end, const TrainingServiceOptions& options,
                    absl::Time now) {
  if (end.told && end.told->cause == StopCause::kLimit) return Fail(end.told->reason);
  if (end.told) return {.action = JobAction::kRequeue, .reason = end.told->reason};
  const std::string what =
      absl::StrCat(Describe(end.exit), end.last_line.empty() ? "" : ": ", end.last_line);
  if (end.exit.signal == 0 && end.exit.status == kWrongUsageStatus) return Fail(what);
  if (!WasStopped(end.exit)) return AfterTrouble(job, what, end.disk_full, options, now);
  if (end.saved) return Later(job, "stopped from outside", options, now);
  return AfterTrouble(job, "stopped from outside before a checkpoint", end.disk_full, options, now);
}

JobChange AfterFailedStart(const Job& job, const absl::Status& status,
                           const TrainingServiceOptions& options, absl::Time now) {
  const std::string what = absl::StrCat("cannot be started: ", TextOf(status));
  return IsOfTheJob(status) ? Fail(what) : Later(job, what, options, now);
}

JobChange AfterSuccess(const Job& job, const absl::StatusOr<std::string>& version, bool disk_full,
                       const TrainingServiceOptions& options, absl::Time now) {
  if (version.ok()) {
    return {.action = JobAction::kSucceed, .reason = "finished", .model_version = *version};
  }
  const std::string what = absl::StrCat("its model cannot be stored: ", TextOf(version.status()));
  if (IsOfTheJob(version.status())) return Fail(what);
  return AfterTrouble(job, what, disk_full, options, now);
}

JobChange InState(const Job& job, JobChange change) {
  if (job.state != JobState::kCancelling || change.action == JobAction::kSucceed) return change;
  return {.action = JobAction::kStopped, .reason = job.reason};
}

std::optional<std::string> BeyondMemory(int64_t bytes, const TrainingServiceOptions& options) {
  if (options.max_memory_bytes == 0 || bytes <= options.max_memory_bytes) return std::nullopt;
  return absl::StrFormat("used %d bytes of memory; max_memory_bytes is %d", bytes,
                         options.max_memory_bytes);
}

std::optional<std::string> BeyondTime(absl::Duration time, const TrainingServiceOptions& options) {
  if (time <= options.max_time) return std::nullopt;
  return absl::StrFormat("ran for %s; max_time is %s",
                         absl::FormatDuration(absl::Trunc(time, absl::Milliseconds(1))),
                         absl::FormatDuration(options.max_time));
}

std::optional<std::string> BeyondDisk(int64_t grown, int64_t all,
                                      const TrainingServiceOptions& options) {
  if (grown <= 0 || static_cast<double>(all) <= kDiskMargin * options.max_disk_bytes) {
    return std::nullopt;
  }
  return absl::StrFormat(
      "wrote %d bytes, and the folders of all jobs have %d; max_disk_bytes is %d", grown, all,
      options.max_disk_bytes);
}

void StopLadder::Begin(absl::Time now, absl::Duration grace) {
  kill_time_ = std::min(kill_time_.value_or(absl::InfiniteFuture()), now + grace);
}

int StopLadder::Next(bool leader_ended, absl::Time now) {
  if (!begun()) return 0;
  if (now >= *kill_time_) {
    if (now - killed_ < kBetweenKills) return 0;
    killed_ = now;
    return SIGKILL;
  }
  bool& told = leader_ended ? told_rest_ : told_;
  return std::exchange(told, true) ? 0 : SIGTERM;
}

}  // namespace deweather
