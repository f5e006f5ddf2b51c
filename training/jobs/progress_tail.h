// What a run tells in its log.jsonl (training/report/json_lines.h) while it goes on, as events of its job.
// A run that goes on from a checkpoint replaces the log by a shorter one; no record is told twice for it.
//
// Bounds   a progress event a second: the last counts, and what comes after it finds it told; kMaxWarnings
//          warnings and kMaxOthers evaluations and checkpoints a run of the program
// Skips    whatever is no record: a program may write anything
// Threads  thread-compatible

#ifndef DEWEATHER_TRAINING_JOBS_PROGRESS_TAIL_H_
#define DEWEATHER_TRAINING_JOBS_PROGRESS_TAIL_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "training/jobs/job.h"
#include "training/jobs/line_tail.h"

namespace deweather {

inline constexpr int kMaxWarnings = 1000;
inline constexpr int kMaxOthers = 10'000;

// Up to where a job's log was told already.
struct Told {
  int64_t step = -1;
  absl::Time time = absl::InfinitePast();
};

// By the job's last events. What a job took over of another's log is not its own.
Told ToldOf(const Job& job, const std::vector<JobEvent>& events);

// The log of a job's run.
std::string ProgressPath(const std::string& jobs, const std::string& id);

// How the run says that it ended.
struct RunEnd {
  absl::Time time = absl::InfinitePast();
  bool finished = false;     // all of its steps
  int exit_status = 0;       // otherwise, as no launcher tells it; 0: not told
  std::string message = {};  // why
};

class ProgressTail {
 public:
  ProgressTail(const std::string& path, Told told) : tail_(path), told_(told) {}

  // What is to be told now, in order.
  std::vector<JobEvent> Look(absl::Time now);

  // All that is left. REQUIRES: nobody appends any more.
  std::vector<JobEvent> Finish(absl::Time now);

  // That the run learnt from since the first look.
  int64_t images() const { return images_; }

  // Of the newest life that the log tells of.
  const std::optional<RunEnd>& end() const { return end_; }
  // Whether it saved a checkpoint further than where it began.
  bool saved() const { return saved_; }

 private:
  struct Record;

  bool ReadMore(absl::Time now, std::vector<JobEvent>& events);
  static std::optional<Record> Parse(std::string_view line, absl::Time now);
  bool IsNew(const Record& record);
  std::optional<JobEvent> ToEvent(const Record& record);
  void BeginLife(const Record& record);
  void EndLife(const Record& record);
  JobProgress ToProgress(const Record& record);
  JobEvaluation ToEvaluation(const Record& record);
  std::optional<absl::Duration> Remaining(const Record& record) const;
  void CountImages(const Record& record, bool fresh);
  void Tell(JobEvent event, std::vector<JobEvent>& events);
  bool MayTell(JobEvent& event);
  void TellProgress(std::vector<JobEvent>& events);

  LineTail tail_;
  Told told_;
  bool catching_up_ = true;  // with what was told of the file

  // Of the run, in this life of it.
  int64_t steps_ = 0;  // 0: not known
  int64_t images_per_step_ = 0;
  int64_t begin_step_ = 0;
  absl::Time begin_time_ = absl::InfiniteFuture();
  int64_t counted_step_ = 0;
  int64_t images_ = 0;
  bool saved_ = false;
  std::optional<RunEnd> end_;
  JobEvaluation evaluation_;

  std::optional<JobEvent> held_;  // progress, until it is due
  absl::Time progress_time_ = absl::InfinitePast();
  int warnings_ = 0;
  int others_ = 0;
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_JOBS_PROGRESS_TAIL_H_
