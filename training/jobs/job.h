// A training job: what it is, where it stands, and which way it may go from there.
//
// Threads  thread-safe: values and pure functions

#ifndef DEWEATHER_TRAINING_JOBS_JOB_H_
#define DEWEATHER_TRAINING_JOBS_JOB_H_

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace deweather {

// --- states ---

enum class JobState { kQueued, kRunning, kCancelling, kSucceeded, kFailed, kCancelled };

inline constexpr std::array kJobStates = {JobState::kQueued,     JobState::kRunning,
                                          JobState::kCancelling, JobState::kSucceeded,
                                          JobState::kFailed,     JobState::kCancelled};

// What moves a job from one state to the next.
enum class JobAction {
  kStart,    // its program is about to be started
  kRequeue,  // its program is gone without a result, and may be started again
  kCancel,   // a caller wants it to end
  kStopped,  // the program of a cancelled job is gone
  kSucceed,  // the model is there
  kFail,     // it cannot go on
};

inline constexpr std::array kJobActions = {JobAction::kStart,   JobAction::kRequeue,
                                           JobAction::kCancel,  JobAction::kStopped,
                                           JobAction::kSucceed, JobAction::kFail};

// "QUEUED", "RUNNING", ... as in deweather.v1.Job.State.
std::string_view Name(JobState state);
std::string_view Name(JobAction action);
absl::StatusOr<JobState> ParseJobState(std::string_view name);

bool IsTerminal(JobState state);

// The state that follows; nothing: the step is illegal. Terminal states have no successor.
std::optional<JobState> Next(JobState state, JobAction action);

// --- what a job is ---

// 12 lower-case letters and digits.
bool IsJobId(std::string_view text);

// What a caller submits, checked by whoever knows configurations.
struct NewJob {
  std::string model = {};   // name of the model that it makes
  std::string config = {};  // a TrainConfig in text format, as submitted: data sets by name
  std::map<std::string, std::string> labels = {};
  int priority = 0;                 // [-100, 100]
  std::string resumed_from = {};    // id of the job that it goes on from; empty: none
  std::string request_id = {};      // empty: none; the same id is the same job
  std::string request_digest = {};  // of the request, to tell a repetition from another request
  std::string trace_parent = {};    // W3C Trace Context of the request; empty: it had none
};

// INVALID_ARGUMENT, naming the field, its value and its limit: labels, priority, request_id.
absl::Status Validate(const NewJob& job);

struct JobProgress {
  int64_t step = 0;
  int64_t steps = 0;
  double loss = 0;                           // NaN: all steps since the line before were skipped
  std::map<std::string, double> terms = {};  // "loss/rain", "balance"
  double images_per_second = 0;
  double learning_rate = 0;
  int64_t bad_steps = 0;
  std::optional<absl::Duration> remaining = {};
};

struct JobEvaluation {
  int64_t step = 0;
  std::map<std::string, double> figures = {};  // "rain/psnr_y"
};

struct Job {
  int64_t sequence = 0;  // of submission, grows
  std::string id = {};
  NewJob submitted = {};
  JobState state = JobState::kQueued;
  std::string reason = {};  // why it is in that state, for people
  absl::Time create_time = absl::InfinitePast();
  std::optional<absl::Time> start_time = {};  // of the first attempt
  std::optional<absl::Time> end_time = {};
  int attempts = 0;                           // how often its program was started
  int failures = 0;                           // how often it crashed
  std::optional<absl::Time> retry_time = {};  // before which it is not started again
  std::optional<JobProgress> progress = {};
  std::optional<JobEvaluation> evaluation = {};
  std::string model_version = {};  // that it left in the model store; empty: none
  int64_t last_event = 0;
  int64_t disk_bytes = 0;  // of its folder when last looked at
};

// --- what happens to it ---

enum class JobEventKind { kState, kProgress, kEvaluation, kCheckpoint, kWarning };

// One of the values is set, that of its kind.
struct JobEvent {
  int64_t number = 0;  // within the job, from 1, without gaps
  absl::Time time = absl::InfinitePast();
  JobEventKind kind = JobEventKind::kState;
  JobState state = JobState::kQueued;  // kState
  std::string text = {};               // kState: the reason; kWarning: the line
  int attempt = 0;                     // kState
  int64_t step = 0;                    // kCheckpoint
  JobProgress progress = {};           // kProgress
  JobEvaluation evaluation = {};       // kEvaluation
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_JOBS_JOB_H_
