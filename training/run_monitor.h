// Tells of a run while it goes on: to whoever looks at stdout, and in the run's folder (run_log.h).
//
// Owns     the run's log, from the first word of the run on: before it the folder may be another's
// Threads  thread-compatible; the run's own

#ifndef DEWEATHER_TRAINING_RUN_MONITOR_H_
#define DEWEATHER_TRAINING_RUN_MONITOR_H_

#include <cstdint>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/base/progress_bar.h"
#include "model/base/train_options.h"
#include "training/report/record.h"
#include "training/report/run_log.h"
#include "training/train.h"

namespace deweather {

// What stdout gets.
enum class ProgressStyle {
  kBar,    // a progress bar, and lines for what is rare
  kLines,  // a line for every log_every_steps
  kJson,   // the lines of log.jsonl
};

// "bar", "lines" or "json"; "auto" is a bar on a terminal and lines elsewhere.
ProgressStyle ParseProgressStyle(const std::string& name, std::FILE* out);

// The figures of a line, under the names that they have in the log.
ScalarRecord ToRecord(const TrainProgress& at, absl::Time now);
ScalarRecord ToRecord(int64_t step, const Evaluation& evaluation, absl::Time now);

class RunMonitor {
 public:
  // Of a run of so many ranks, whose first this process is.
  RunMonitor(const TrainOptions& options, ProgressStyle style, std::FILE* out, std::FILE* err,
             int ranks = 1);

  // What to give to Train; it refers to this monitor.
  TrainSink Sink(std::function<bool()> stop);

  // Whether a step was done or a checkpoint read: what was wrong from the start would have been told.
  bool begun() const { return log_.has_value(); }

  // The run is over: tells and logs how. `exit_status` is what the program will end with: a launcher may
  // make another of it.
  void Finish(const absl::StatusOr<std::string>& model, int exit_status);

 private:
  void Progress(const TrainProgress& at);
  void Evaluated(int64_t step, const Evaluation& evaluation);
  void Saved(int64_t step, const std::string& checkpoint);
  void Resumed(int64_t step, const std::string& checkpoint);
  void Warned(const std::string& message);
  void StepDone(int64_t step);

  void LogFailedStart(const std::string& line) const;

  // Begins the log unless it is begun; `steps` are done.
  void Begin(int64_t steps);
  template <typename Record>
  void Log(const Record& record);
  void Say(const std::string& line);

  const TrainOptions& options_;
  const ProgressStyle style_;
  std::FILE* const out_;
  std::FILE* const err_;
  const int ranks_;
  ProgressBar progress_bar_;
  BarState bar_;
  std::optional<absl::Time> first_step_;  // when this life's was done
  absl::Time drawn_ = absl::InfinitePast();
  std::optional<RunLog> log_;
  std::vector<EventRecord> waiting_;  // for the log to begin
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_RUN_MONITOR_H_
