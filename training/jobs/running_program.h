// The program of a job: how it is started, and what the runner may do with it. A test's needs no process.
//
// Marks    DEWEATHER_JOB=ID and DEWEATHER_JOBS=JOBS stand in the environment of all its processes, so that
//          they are found in whatever group or session: torchrun gives each worker a session. Without them
//          a process is its program's while it is in its group
// Threads  a RunningProgram is thread-compatible; the functions are thread-safe

#ifndef DEWEATHER_TRAINING_JOBS_RUNNING_PROGRAM_H_
#define DEWEATHER_TRAINING_JOBS_RUNNING_PROGRAM_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "model/base/server_options.h"
#include "training/jobs/child_process.h"

namespace deweather {

inline constexpr char kJobVariable[] = "DEWEATHER_JOB";
inline constexpr char kJobsVariable[] = "DEWEATHER_JOBS";
inline constexpr char kTraceVariable[] = "TRACEPARENT";  // W3C Trace Context of who asked for it

struct RunningProgram {
  ProcessIdentity identity = {};
  // Whether the process that was started has ended, and how.
  std::function<std::optional<ChildExit>()> poll = {};
  // SIGTERM: to its group, or to what is left when it has ended; SIGKILL: to all of its processes.
  std::function<void(int signal)> signal = {};
  std::function<int64_t()> resident_bytes = {};
  std::function<std::string()> output = {};  // what it printed since; at most 64 KiB a call
  // Whether any of its processes is left when that one has ended, or nobody can tell; empty: none ever is.
  std::function<bool()> left = {};
};

// OK, or NOT_FOUND: the deweather-train beside this program is not there.
absl::Status CheckTrainProgram();

// The deweather-train beside this program, without arguments, with the marks of job `id` and the limits of
// `training`.
ChildOptions TrainProgram(const std::string& id, const std::string& jobs,
                          const TrainingServiceOptions& training);

// What is started for the job `id` of JOBS: training.launch, or the deweather-train beside this program.
ChildOptions ProgramOf(const std::string& id, const std::string& jobs,
                       const TrainingServiceOptions& training);

// Has it take part in that trace; an empty one is none.
void SetTrace(const std::string& trace_parent, ChildOptions* child);

absl::StatusOr<RunningProgram> StartProgram(const std::string& id, const ChildOptions& options);

// To that process, if it is still that one.
void SignalProcess(const ProcessIdentity& process, int signal);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_JOBS_RUNNING_PROGRAM_H_
