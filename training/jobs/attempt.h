// One attempt at a job: a program from its start until the last of its processes is gone. What it prints goes
// to the job's log, what it tells becomes events, and it is ended when it is told to or is beyond a limit.
//
// Bounds   a look reads at most kMaxOutputBytes of what it prints and kMaxLookBytes of what it tells: a
//          program that talks faster has to wait
// Owns     the program until it is gone; destroyed earlier it leaves it alone
// Threads  thread-compatible
// Errors   what cannot be logged is counted, and told of in its place once it can

#ifndef DEWEATHER_TRAINING_JOBS_ATTEMPT_H_
#define DEWEATHER_TRAINING_JOBS_ATTEMPT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/base/server_options.h"
#include "training/jobs/job.h"
#include "training/jobs/job_log.h"
#include "training/jobs/outcome.h"
#include "training/jobs/progress_tail.h"
#include "training/jobs/running_program.h"

namespace deweather {

inline constexpr int64_t kMaxOutputBytes = 1 << 20;

struct AttemptOptions {
  std::string id = {};    // of the job
  std::string jobs = {};  // JOBS, see job_folder.h
  TrainingServiceOptions training = {};
  Told told = {};
  std::function<void(const std::string& line)> log = {};
};

class Attempt {
 public:
  // `steady`, here and below, is SteadyNow's: all that is a matter of durations goes by it.
  Attempt(AttemptOptions options, RunningProgram program, absl::Time now, absl::Time steady);

  // Looks at the program, and does what is due; returns what it told.
  std::vector<JobEvent> Look(absl::Time now, absl::Time steady);

  // Ends it: the first reason counts.
  void Stop(StopRequest request, absl::Time steady);

  // None of its processes is left, and the last look read all that it told.
  bool gone() const { return gone_; }
  // REQUIRES: gone().
  ProgramEnd end() const;

  absl::Time start_steady() const { return start_steady_; }
  int64_t images() const { return tail_.images(); }  // that it learnt from

 private:
  void StopWithin(absl::Duration grace, StopRequest request, absl::Time steady);
  void CheckLimits(absl::Time steady);
  void ReadOutput();
  void Keep(std::string_view text);
  absl::Status AppendToLog(std::string_view text);
  void RememberLines(std::string_view text);

  const AttemptOptions options_;
  const RunningProgram program_;
  const absl::Time start_time_;
  const absl::Time start_steady_;
  std::optional<JobLog> log_;
  int64_t lost_ = 0;  // bytes before what it prints next
  ProgressTail tail_;
  std::string line_;       // that it has printed no end of yet
  std::string last_line_;  // before it that says something
  absl::Time check_time_;  // of the limits
  StopLadder ladder_;
  std::optional<StopRequest> told_;
  std::optional<ChildExit> exit_;
  bool gone_ = false;
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_JOBS_ATTEMPT_H_
