// What becomes of a job when its program is gone, and how a program is brought to its end: decisions alone.
//
// Times    of a StopLadder are SteadyNow's
// Threads  values and pure functions; a StopLadder is thread-compatible

#ifndef DEWEATHER_TRAINING_JOBS_OUTCOME_H_
#define DEWEATHER_TRAINING_JOBS_OUTCOME_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/base/server_options.h"
#include "training/jobs/child_process.h"
#include "training/jobs/job.h"
#include "training/jobs/job_store.h"

namespace deweather {

// Time by a clock that nobody sets, for durations.
absl::Time SteadyNow();

// Exit statuses of deweather-train (its --help): what it was told makes no sense; it was told to stop, wrote
// a checkpoint and goes on when it is started again.
inline constexpr int kWrongUsageStatus = 2;
inline constexpr int kStoppedStatus = 3;

// Why we told a program to stop.
enum class StopCause {
  kCancel,    // a caller wants it to end
  kShutdown,  // the server goes down
  kLimit,     // it used more than it may
};
struct StopRequest {
  StopCause cause = StopCause::kCancel;
  std::string reason = {};  // of the job's next state
};

// How the program of an attempt ended.
struct ProgramEnd {
  ChildExit exit = {};
  std::optional<StopRequest> told = {};  // to stop; nothing: nobody did
  bool finished = false;                 // it said that it did all of its steps
  bool saved = false;                    // a checkpoint that is further than where it began
  bool disk_full = false;
  std::string last_line = {};  // that it printed, or why it failed in its own words
};

// Whether it left its result. Who was told to stop and exits with status 0 may just obey.
bool HasResult(const ProgramEnd& end);

// Whether what the job says is wrong, not what it is run with: trying again makes no sense.
bool IsOfTheJob(const absl::Status& status);

// Until the next attempt after `tries` that failed, >= 1: doubled with each, at most 10 minutes.
absl::Duration RetryDelay(int tries, absl::Duration first);

// A crash: another attempt, until max_failures.
JobChange AfterFailure(const Job& job, const std::string& what,
                       const TrainingServiceOptions& options, absl::Time now);
// REQUIRES: !HasResult(end).
JobChange AfterExit(const Job& job, const ProgramEnd& end, const TrainingServiceOptions& options,
                    absl::Time now);
// The program could not be started. What the job says may be wrong: it fails; else it is tried again later,
// as often as need be: a data set is away, a launcher missing.
JobChange AfterFailedStart(const Job& job, const absl::Status& status,
                           const TrainingServiceOptions& options, absl::Time now);
// The program finished; `version` is of its model, or why that cannot be had. A full disk may be emptied.
JobChange AfterSuccess(const Job& job, const absl::StatusOr<std::string>& version, bool disk_full,
                       const TrainingServiceOptions& options, absl::Time now);

// The same for a job that may have been cancelled meanwhile: what has not succeeded is CANCELLED then.
JobChange InState(const Job& job, JobChange change);

// Which limit an attempt is beyond, for people; nothing: none.
std::optional<std::string> BeyondMemory(int64_t bytes, const TrainingServiceOptions& options);
std::optional<std::string> BeyondTime(absl::Duration time, const TrainingServiceOptions& options);
// `grown`: what this attempt added to `all`, the bytes of all jobs' folders. There is a margin, within which
// jobs that were taken before the quota was used up may finish.
std::optional<std::string> BeyondDisk(int64_t grown, int64_t all,
                                      const TrainingServiceOptions& options);

// Which signals bring a program to its end, and when: SIGTERM, after a grace SIGKILL each second. What its
// leader leaves behind is ended in the same way.
class StopLadder {
 public:
  // The second time may make it sooner, never later.
  void Begin(absl::Time now, absl::Duration grace);
  bool begun() const { return kill_time_.has_value(); }

  // What to send now; 0: nothing. REQUIRES: some of its processes are left.
  int Next(bool leader_ended, absl::Time now);

 private:
  std::optional<absl::Time> kill_time_;
  bool told_ = false;
  bool told_rest_ = false;
  absl::Time killed_ = absl::InfinitePast();
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_JOBS_OUTCOME_H_
