// The training side of a server with a data folder: data sets, jobs and what runs them.
//
// Owns     DATA/jobs and DATA/datasets, for as long as it lives
// Threads  thread-compatible; its parts are thread-safe

#ifndef DEWEATHER_SERVER_TRAINING_H_
#define DEWEATHER_SERVER_TRAINING_H_

#include <memory>
#include <stop_token>
#include <string>

#include "absl/status/statusor.h"
#include "model/base/server_options.h"
#include "server/restore/live_models.h"
#include "server/rpc/job_feed.h"
#include "server/rpc/job_requests.h"
#include "training/datasets/datasets.h"
#include "training/jobs/job_runner.h"
#include "training/jobs/job_store.h"

namespace deweather {

class Training {
 public:
  // Opens what lies in options.data_dir, and goes on with its jobs. `models` must outlive the result.
  // JobStore::Open's errors; CANCELLED where `stop` came before its jobs went on.
  static absl::StatusOr<std::unique_ptr<Training>> Start(const ServerOptions& options,
                                                         LiveModels& models,
                                                         const std::stop_token& stop);

  const TrainingParts& parts() const { return *parts_; }
  JobStore& store() { return *store_; }
  Datasets& datasets() { return *datasets_; }
  const JobRunner& runner() const { return *runner_; }

  // Tells programs to stop, and starts none; the destructor waits for them.
  void BeginStop() { runner_->BeginStop(); }

 private:
  Training() = default;

  TrainingServiceOptions options_;
  std::string jobs_;  // JOBS
  std::unique_ptr<Datasets> datasets_;
  std::unique_ptr<JobFeed> feed_;
  std::unique_ptr<JobStore> store_;
  JobConfigRules rules_;
  std::unique_ptr<JobRunner> runner_;  // it uses all of the above
  std::unique_ptr<const TrainingParts> parts_;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_TRAINING_H_
