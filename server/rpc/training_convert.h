// Between messages of TrainingService and what jobs and data sets are.
//
// Threads  thread-safe: pure functions
// Errors   INVALID_ARGUMENT; the message begins with the field

#ifndef DEWEATHER_SERVER_RPC_TRAINING_CONVERT_H_
#define DEWEATHER_SERVER_RPC_TRAINING_CONVERT_H_

#include <string>

#include "absl/status/statusor.h"
#include "deweather/v1/training.pb.h"
#include "training/datasets/datasets.h"
#include "training/jobs/job.h"
#include "training/jobs/job_folder.h"
#include "training/jobs/job_store.h"

namespace deweather {

// Without `config` where it cannot be read any more.
v1::Job ToMessage(const Job& job);
v1::JobEvent ToMessage(const JobEvent& event);
v1::Artifact ToMessage(const Artifact& artifact);
v1::Dataset ToMessage(const Dataset& dataset);

absl::StatusOr<JobState> ToState(v1::Job::State state);
absl::StatusOr<DatasetKind> ToKind(v1::Dataset::Kind kind);

// The filter of a list; not its page.
absl::StatusOr<JobQuery> ToQuery(const v1::ListJobsRequest& request);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_TRAINING_CONVERT_H_
