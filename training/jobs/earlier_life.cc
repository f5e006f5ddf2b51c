#include "training/jobs/earlier_life.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "model/base/status_macros.h"
#include "training/jobs/running_program.h"

namespace deweather {
namespace {

constexpr int kEventsBack = 1000;  // that are looked through for what was told

}  // namespace

Told ToldTo(const JobStore& store, const Job& job) {
  const absl::StatusOr<std::vector<JobEvent>> told =
      store.Events(job.id, std::max<int64_t>(job.last_event - kEventsBack, 0), kEventsBack);
  return ToldOf(job, told.value_or(std::vector<JobEvent>{}));
}

absl::StatusOr<bool> EarlierLife::Look(absl::Time now, absl::Time steady) {
  DW_ASSIGN_OR_RETURN(const std::vector<ProcessIdentity> left, Left());
  if (left.empty()) {
    DW_RETURN_IF_ERROR(SettleJobs(now));
    return true;
  }
  ladder_.Begin(steady, stop_grace_);
  const int signal = ladder_.Next(/*leader_ended=*/true, steady);
  for (const ProcessIdentity& process : left) {
    if (signal != 0) SignalProcess(process, signal);
  }
  return false;
}

// What is recorded, and what says itself that it is of these jobs.
absl::StatusOr<std::vector<ProcessIdentity>> EarlierLife::Left() const {
  DW_ASSIGN_OR_RETURN(std::vector<ProcessIdentity> left, ProcessesWith(kJobsVariable, jobs_));
  std::erase_if(left, [](const ProcessIdentity& process) { return process.pid == getpid(); });
  DW_ASSIGN_OR_RETURN(const std::vector<JobProcess> recorded, store_.Processes());
  for (const JobProcess& process : recorded) {
    const ProcessIdentity identity{process.pid, process.start_ticks, process.boot_id};
    if (!IsGone(identity)) left.push_back(identity);
  }
  return left;
}

absl::Status EarlierLife::SettleJobs(absl::Time now) {
  JobQuery running{.states = {JobState::kRunning, JobState::kCancelling}};
  for (;;) {
    DW_ASSIGN_OR_RETURN(const std::vector<Job> jobs, store_.List(running));
    if (jobs.empty()) break;
    for (const Job& job : jobs) DW_RETURN_IF_ERROR(Settle(job, now));
  }
  DW_ASSIGN_OR_RETURN(const std::vector<JobProcess> recorded, store_.Processes());
  for (const JobProcess& process : recorded) {
    DW_RETURN_IF_ERROR(store_.ClearProcess(process.job_id));
  }
  return absl::OkStatus();
}

absl::Status EarlierLife::Settle(const Job& job, absl::Time now) {
  ProgressTail tail(ProgressPath(jobs_, job.id), ToldTo(store_, job));
  std::vector<JobEvent> untold = tail.Finish(now);
  if (!untold.empty()) DW_RETURN_IF_ERROR(store_.AddEvents(job.id, std::move(untold)));
  const JobChange change{.action = JobAction::kRequeue, .reason = "the server was restarted"};
  DW_ASSIGN_OR_RETURN(const Job settled, store_.Apply(job.id, InState(job, change), now));
  changed_(settled);
  return absl::OkStatus();
}

}  // namespace deweather
