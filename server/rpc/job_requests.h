// What TrainingService does for one request, without gRPC.
//
// Threads  thread-safe, but for Submit and Resume, which run one at a time: their quotas are exact then. All
//          may wait for the disk
// Errors   see TrainingService

#ifndef DEWEATHER_SERVER_RPC_JOB_REQUESTS_H_
#define DEWEATHER_SERVER_RPC_JOB_REQUESTS_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "deweather/v1/training.pb.h"
#include "model/base/server_options.h"
#include "proto/config/job_config.h"
#include "server/log/log_line.h"
#include "server/rpc/job_feed.h"
#include "training/datasets/datasets.h"
#include "training/jobs/job_store.h"

namespace deweather {

// What a server with a data folder has.
struct TrainingParts {
  JobStore& store;
  Datasets& datasets;
  JobFeed& feed;                      // is told what JobStore::OnChange tells
  std::function<void()> wake_runner;  // a job was submitted or cancelled
  JobConfigRules rules;
  std::string jobs;  // JOBS, see training/jobs/job_folder.h
  TrainingServiceOptions options;
};

// What is there at this moment; an error: why there are no jobs here. What was there once stays.
using FindTraining = std::function<absl::StatusOr<const TrainingParts*>()>;

// Whether the request is well formed; may walk through the folders of data sets. A job that is there already
// is neither checked again nor refused for want of room.
absl::Status CheckSubmit(const TrainingParts& parts, const v1::SubmitJobRequest& request);
// REQUIRES: CheckSubmit was OK. `trace_parent` is the request's, here and below.
absl::StatusOr<v1::Job> Submit(const TrainingParts& parts, const v1::SubmitJobRequest& request,
                               const std::string& trace_parent, absl::Time now);
absl::StatusOr<v1::Job> Resume(const TrainingParts& parts, const v1::ResumeJobRequest& request,
                               const std::string& trace_parent, absl::Time now);
absl::StatusOr<v1::Job> Cancel(const TrainingParts& parts, const v1::CancelJobRequest& request,
                               absl::Time now);
// The folder that is left to be removed.
absl::StatusOr<std::string> Delete(const TrainingParts& parts, const v1::DeleteJobRequest& request);

absl::StatusOr<v1::Job> Get(const TrainingParts& parts, const std::string& id);
absl::StatusOr<v1::ListJobsResponse> List(const TrainingParts& parts,
                                          const v1::ListJobsRequest& request);
absl::StatusOr<v1::ListCheckpointsResponse> List(const TrainingParts& parts,
                                                 const v1::ListCheckpointsRequest& request);
absl::StatusOr<v1::ListDatasetsResponse> List(const TrainingParts& parts,
                                              const v1::ListDatasetsRequest& request);

// What a line about a job tells beside its message.
LogFields FieldsOf(const Job& job);

// The job of an id; NOT_FOUND UNKNOWN_JOB.
absl::StatusOr<Job> FindJob(const TrainingParts& parts, const std::string& id);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_JOB_REQUESTS_H_
