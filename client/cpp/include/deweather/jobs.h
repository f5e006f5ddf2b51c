// Training jobs on the server.

#ifndef DEWEATHER_JOBS_H_
#define DEWEATHER_JOBS_H_

#include <deweather/export.h>
#include <deweather/models.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace deweather {

enum class JobState {
  kQueued = 1,
  kRunning = 2,
  kCancelling = 3,
  kSucceeded = 4,
  kFailed = 5,
  kCancelled = 6,
};

// "RUNNING".
DEWEATHER_EXPORT const char* StateName(JobState state) noexcept;

// Whether nothing follows.
constexpr bool IsEnd(JobState state) { return state >= JobState::kSucceeded; }

struct JobProgress {
  std::int64_t step = 0;  // done
  std::int64_t steps = 0;
  double loss = 0;                      // NaN: all steps since the last one were skipped
  std::map<std::string, double> terms;  // the loss by term and task
  double images_per_second = 0;
  double learning_rate = 0;
  std::optional<std::chrono::milliseconds> remaining;
};

// A measurement on the sets of the configuration.
struct JobEvaluation {
  std::int64_t step = 0;
  std::map<std::string, double> figures;  // "rain/psnr_y"
};

struct Job {
  std::string id;
  std::string model;  // that it makes
  JobState state = JobState::kQueued;
  std::string reason;  // why it is in that state, for people
  std::map<std::string, std::string> labels;
  int priority = 0;
  std::string resumed_from;  // id of a job; empty: none
  Time create_time;
  std::optional<Time> start_time;
  std::optional<Time> end_time;
  int attempts = 0;
  int failures = 0;
  std::optional<JobProgress> progress;
  std::optional<JobEvaluation> evaluation;
  std::string model_version;    // that it left, to be promoted; empty: none
  std::int64_t last_event = 0;  // its number
};

// What happened: exactly one of the optional members is set.
struct JobEvent {
  struct StateChange {
    JobState state = JobState::kQueued;
    std::string reason;
    int attempt = 0;
  };
  std::int64_t number = 0;  // counts up from 1
  Time time;
  std::optional<StateChange> state_change;
  std::optional<JobProgress> progress;
  std::optional<JobEvaluation> evaluation;
  std::optional<std::int64_t> checkpoint_step;
  std::optional<std::string> warning;
};

// A file of a job.
struct Artifact {
  std::string name;  // a path of plain names: "run/comparison.png"
  std::int64_t bytes = 0;
  Time update_time;
};

struct Submission {
  // A TrainConfig in protobuf's text format, or in its JSON if the first character is '{': what deweather-train reads,
  // with names of data sets in place of folders.
  std::string config = {};
  std::map<std::string, std::string> labels = {};
  int priority = 0;             // -100 to 100
  std::string request_id = {};  // the same one again is the same job; empty: a new one
  bool validate_only = false;   // the job that would be made, without an id
};

struct JobFilter {
  std::vector<JobState> states = {};               // empty: all
  std::map<std::string, std::string> labels = {};  // that the jobs have, each with that value
  std::string model = {};                          // empty: all
  std::size_t limit = 0;                           // 0: all
};

}  // namespace deweather

#endif  // DEWEATHER_JOBS_H_
