// What an earlier life of the server left: programs that still run, and jobs that seem to.
// The programs are ended, not taken over: nobody else knows how they will exit or reads what they print, and
// with SIGTERM they write a checkpoint that the next attempt goes on from. So there is one rule for all, also
// for those of jobs that are deleted or were never recorded as started.
//
// Threads  thread-compatible
// Errors   the store's; Look is to be tried again then

#ifndef DEWEATHER_TRAINING_JOBS_EARLIER_LIFE_H_
#define DEWEATHER_TRAINING_JOBS_EARLIER_LIFE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "training/jobs/child_process.h"
#include "training/jobs/job_store.h"
#include "training/jobs/outcome.h"

namespace deweather {

class EarlierLife {
 public:
  // `jobs`: JOBS as the programs' environment says it.
  EarlierLife(JobStore& store, std::string jobs, absl::Duration stop_grace)
      : store_(store), jobs_(std::move(jobs)), stop_grace_(stop_grace) {}

  // Does what is due. True: no program is left, and jobs that ran are QUEUED, those that were being cancelled
  // CANCELLED. REQUIRES: no program of this life runs.
  absl::StatusOr<bool> Look(absl::Time now);

 private:
  absl::StatusOr<std::vector<ProcessIdentity>> Left() const;
  absl::Status SettleJobs(absl::Time now);

  JobStore& store_;
  const std::string jobs_;
  const absl::Duration stop_grace_;
  StopLadder ladder_;
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_JOBS_EARLIER_LIFE_H_
