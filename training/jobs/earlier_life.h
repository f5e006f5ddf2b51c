// What an earlier life of the server left: programs that still run, and jobs that seem to.
// The programs are ended, not taken over: nobody else knows how they will exit or reads what they print, and
// with SIGTERM they write a checkpoint that the next attempt goes on from. So there is one rule for all, also
// for those of jobs that are deleted or were never recorded as started.
//
// What a run told before its end belongs to the attempt that ended: it comes before the job's next state.
//
// Threads  thread-compatible
// Errors   the store's; Look is to be tried again then

#ifndef DEWEATHER_TRAINING_JOBS_EARLIER_LIFE_H_
#define DEWEATHER_TRAINING_JOBS_EARLIER_LIFE_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "training/jobs/child_process.h"
#include "training/jobs/job_store.h"
#include "training/jobs/outcome.h"
#include "training/jobs/progress_tail.h"

namespace deweather {

// Up to where the store has what the run of a job told.
Told ToldTo(const JobStore& store, const Job& job);

class EarlierLife {
 public:
  // `jobs`: JOBS as the programs' environment says it. `changed` gets each job that is settled.
  EarlierLife(JobStore& store, std::string jobs, absl::Duration stop_grace,
              std::function<void(const Job&)> changed)
      : store_(store),
        jobs_(std::move(jobs)),
        stop_grace_(stop_grace),
        changed_(std::move(changed)) {}

  // Does what is due; `steady` is SteadyNow's. True: no program is left, and jobs that ran are QUEUED,
  // those that were being cancelled CANCELLED. REQUIRES: no program of this life runs.
  absl::StatusOr<bool> Look(absl::Time now, absl::Time steady);

 private:
  absl::StatusOr<std::vector<ProcessIdentity>> Left() const;
  absl::Status SettleJobs(absl::Time now);
  absl::Status Settle(const Job& job, absl::Time now);

  JobStore& store_;
  const std::string jobs_;
  const absl::Duration stop_grace_;
  const std::function<void(const Job&)> changed_;
  StopLadder ladder_;
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_JOBS_EARLIER_LIFE_H_
