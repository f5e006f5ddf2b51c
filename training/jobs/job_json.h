// What a program told of its job, as the job store keeps it: JSON.
// A figure that is no number is null.
//
// Threads  thread-safe: pure functions
// Errors   DATA_LOSS text that ToJson did not write

#ifndef DEWEATHER_TRAINING_JOBS_JOB_JSON_H_
#define DEWEATHER_TRAINING_JOBS_JOB_JSON_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "training/jobs/job.h"

namespace deweather {

std::string ToJson(const JobProgress& progress);
absl::StatusOr<JobProgress> ParseProgress(const std::string& text);

std::string ToJson(const JobEvaluation& evaluation);
absl::StatusOr<JobEvaluation> ParseEvaluation(const std::string& text);

// {"state": ...}, {"progress": ...}, {"evaluation": ...}, {"checkpoint": ...} or {"warning": ...}; without
// number and time.
std::string ToJson(const JobEvent& event);
absl::StatusOr<JobEvent> ParseEvent(const std::string& text);

absl::StatusOr<std::map<std::string, std::string>> ParseLabels(const std::string& text);

// `text` with U+FFFD for what is no UTF-8.
std::string ToUtf8(const std::string& text);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_JOBS_JOB_JSON_H_
