// Runs the jobs of a store, each as a program of its own, and sees them through crashes: of the program, and
// of this one.
//
// Start        Programs of an earlier life are found (recorded, or by their environment), told to stop, and
//              killed if they do not; their jobs are queued again (earlier_life.h). None is ever run twice at
//              once: the run's folder is locked besides.
// Attempt      kStart is committed, then the program is started, then recorded. It reads
//              JOBS/ID/config.textproto, which says `resume: true`: each attempt goes on from the newest
//              whole checkpoint (attempt.h).
// Progress     from run/log.jsonl (progress_tail.h)
// Stop         SIGTERM, after stop_grace SIGKILL, to all that the program started; no state follows before
//              the last of it is gone
// End          status 0: `collect` stores the model, on a thread of its own, then SUCCEEDED. A crash: another
//              attempt after a growing delay, until max_failures. What is no crash (exit status 2: wrong
//              configuration) fails at once, as does what is beyond a limit (outcome.h).
// No start     a launcher that is missing, a store that fails: nothing is started for a while, and no job
//              fails; a data set that is away holds up its own job alone
// Full disk    nothing is started below min_free_bytes, and no crash counts; what a running program tells is
//              kept for a while
// Clocks       durations go by one that nobody sets; what the store gets is `now`
// Owns         its thread, the programs while they run
// Threads      thread-safe; Wake and the destructor may be called on any thread, under no lock of the store
// Errors       what goes wrong with a job is in its reason; what goes wrong with the store is logged, and tried
//              again

#ifndef DEWEATHER_TRAINING_JOBS_JOB_RUNNER_H_
#define DEWEATHER_TRAINING_JOBS_JOB_RUNNER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/base/mutex.h"
#include "model/base/server_options.h"
#include "training/jobs/child_process.h"
#include "training/jobs/earlier_life.h"
#include "training/jobs/job.h"
#include "training/jobs/job_store.h"
#include "training/jobs/running_program.h"

namespace deweather {

struct JobRunnerOptions {
  std::string jobs = {};  // JOBS, see job_folder.h
  TrainingServiceOptions training = {};
  // The text of config.textproto for that job: data sets resolved, `output_dir` and `resume` set. Its error
  // fails the job.
  std::function<absl::StatusOr<std::string>(const Job& job)> prepare = {};
  // Puts a finished model, by path, where it can be promoted; returns its version. Called on a thread of its
  // own, which the runner waits for; what it throws is an error.
  std::function<absl::StatusOr<std::string>(const Job& job, const std::string& path)> collect = {};
  // Starts the program of a job; empty: StartProgram.
  std::function<absl::StatusOr<RunningProgram>(const Job& job, const ChildOptions& child)> launch =
      {};
  std::function<void(const std::string& line)> log = {};  // trouble that is no single job's
  // What becomes of a job; trouble: it crashed, failed, or its log is lost.
  std::function<void(const Job& job, const std::string& line, bool trouble)> tell = {};
  std::function<absl::Time()> now = {};  // empty: absl::Now
  // That may be written where the jobs are; an error: nobody knows. Empty: asks the file system.
  std::function<absl::StatusOr<int64_t>()> free_bytes = {};
  absl::Duration kill_patience = absl::Seconds(10);  // with what even SIGKILL does not end
};

// What metrics ask for.
struct RunnerStats {
  int64_t images = 0;                        // that all programs of this life learnt from
  double images_per_second = 0;              // of all that run now
  std::map<std::string, double> losses;      // by term, of the job that told last
  std::map<std::string, double> evaluation;  // by figure, of the job that was measured last
  absl::Duration queue_wait_sum;             // of attempts that were started in this life
  absl::Duration run_time_sum;               // of attempts that ended in this life
  int64_t started = 0;
  int64_t crashed = 0;
};

class JobRunner {
 public:
  // `store` must outlive the runner. The first thing its thread does is to end the programs of an earlier
  // life.
  JobRunner(JobStore& store, JobRunnerOptions options);

  // Tells the programs to stop, waits for their checkpoints for at most stop_grace, kills what is left; the
  // jobs are QUEUED then, and go on in the next life. What is there kill_patience later is left to that. A
  // model that is being collected is waited for.
  ~JobRunner();

  JobRunner(const JobRunner&) = delete;
  JobRunner& operator=(const JobRunner&) = delete;

  // Looks at the store soon: a job was submitted or cancelled.
  void Wake();

  // Begins what the destructor waits for. Idempotent.
  void BeginStop();

  RunnerStats stats() const;

 private:
  struct Active;  // a job from kStart until the store has what follows
  struct Turn {
    bool woken = false;
    bool stopping = false;
    bool late = false;  // it took too long
    absl::Time now;
    absl::Time steady;  // SteadyNow's
  };

  void Loop();
  Turn Wait();
  absl::Duration UntilNextRound();
  void Round(const Turn& turn);
  void EndEarlierLife(const Turn& turn);

  void StartDue(const Turn& turn);
  bool Start(const Job& due, const Turn& turn);
  absl::Status CheckRoom() const;
  absl::Status Prepare(const Job& job) const;
  bool Launch(Active& active, const Turn& turn);
  bool Hold(const absl::Status& status, absl::Time steady);
  bool HoldFor(absl::Duration time, absl::Time steady);

  bool TryLookAt(Active& active, const Turn& turn);
  bool LookAt(Active& active, const Turn& turn);
  bool FollowProgram(Active& active, const Turn& turn);
  void FollowCancel(Active& active, absl::Time steady);
  void CheckDisk(Active& active, const Turn& turn);
  int64_t Measure(const Active& active);
  void Hear(Active& active, std::vector<JobEvent> events);
  absl::Status TellStore(Active& active);

  void Conclude(Active& active, const Turn& turn);
  absl::StatusOr<std::string> Collect(const Job& job) const;
  bool TakeModel(Active& active, absl::Time now);
  bool Settle(Active& active, const Turn& turn);
  absl::Status Commit(Active& active, absl::Time now);
  absl::StatusOr<Job> Apply(const std::string& id, JobChange change, absl::Time now);

  void Count(Active& active, const std::vector<JobEvent>& events);
  void CountPace();
  void TellOf(const Job& job, bool crashed) const;
  void Note(const std::string& what, const absl::Status& status);

  JobStore& store_;
  const JobRunnerOptions options_;

  mutable Mutex mutex_;
  CondVar wake_;
  bool woken_ ABSL_GUARDED_BY(mutex_) = true;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time late_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  RunnerStats stats_ ABSL_GUARDED_BY(mutex_);

  // The thread's own. Times are SteadyNow's.
  EarlierLife earlier_life_;
  bool earlier_life_ended_ = false;
  std::map<std::string, std::unique_ptr<Active>> active_;  // by job
  absl::Time hold_until_ = absl::InfinitePast();           // nothing is started before
  std::string noted_;                                      // the last trouble that was logged
  absl::Time noted_time_ = absl::InfinitePast();

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_JOBS_JOB_RUNNER_H_
