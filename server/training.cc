#include "server/training.h"

#include <spdlog/spdlog.h>

#include <filesystem>
#include <optional>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "model/base/error_reason.h"
#include "model/base/file.h"
#include "model/base/status_macros.h"
#include "proto/config/job_config.h"
#include "server/data_folder.h"
#include "server/log/log.h"
#include "server/restore/import_model.h"
#include "server/rpc/job_requests.h"
#include "training/jobs/job_folder.h"
#include "training/jobs/take_over.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;

// JOBS, made if need be; it has one name, whatever way led there.
absl::StatusOr<std::string> MakeJobsFolder(const std::string& data_dir) {
  const std::string path = JobsFolder(data_dir);
  DW_RETURN_IF_ERROR(MakeFolder(path));
  std::error_code error;
  const fs::path canonical = fs::canonical(path, error);
  if (!error) return canonical.string();
  return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot tell where '", path, "' is"));
}

absl::StatusOr<JobDataset> FindDataset(const Datasets& datasets, const std::string& name) {
  DW_ASSIGN_OR_RETURN(const Dataset found, datasets.Find(name));
  return JobDataset{fs::absolute(found.dir).string(), found.kind == DatasetKind::kPairs};
}

absl::StatusOr<std::string> ResultOf(const JobStore& store, const std::string& jobs,
                                     const std::string& id) {
  DW_ASSIGN_OR_RETURN(const Job job, store.Get(id));
  const std::optional<std::string> path = ResultModel(jobs, id, job.submitted.model);
  if (path.has_value()) return *path;
  return WithReason(absl::FailedPreconditionError(absl::StrFormat(
                        "job '%s' is %s and has left no model", id, Name(job.state))),
                    "JOB_STATE");
}

JobConfigRules RulesOf(const Datasets& datasets, const JobStore& store, const LiveModels& models,
                       const std::string& jobs, int max_threads) {
  JobConfigRules rules;
  rules.dataset = [&datasets](const std::string& name) { return FindDataset(datasets, name); };
  rules.init_from = [&store, &models, jobs](const InitFrom& from) -> absl::StatusOr<std::string> {
    if (!from.job.empty()) return ResultOf(store, jobs, from.job);
    return models.CheckpointPath(from.model, from.version);
  };
  rules.max_threads = max_threads;
  return rules;
}

// What the program of a job reads; its run's folder is ready then.
absl::StatusOr<std::string> PrepareRun(const JobStore& store, const std::string& jobs,
                                       const JobConfigRules& rules, const Job& job) {
  DW_RETURN_IF_ERROR(TakeOver(store, jobs, job));
  DW_ASSIGN_OR_RETURN(v1::TrainConfig config, ParseJobConfig(job.submitted.config, job.id));
  // What a run begins with may be gone when it goes on.
  if (NewestCheckpoint(jobs, job.id).has_value()) config.clear_init_from();
  return JobConfigText(config, rules, JobRunFolder(jobs, job.id));
}

// A file that no budget has room for is not even read.
absl::Status CheckSize(const std::string& path, int64_t max_bytes) {
  std::error_code error;
  const auto bytes = static_cast<int64_t>(fs::file_size(path, error));
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrFormat("cannot stat '%s'", path));
  if (bytes <= max_bytes) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrFormat("it has %d bytes; max_model_bytes is %d", bytes, max_bytes));
}

absl::StatusOr<std::string> StoreResult(const std::string& models, int64_t max_bytes,
                                        const Job& job, const std::string& path) {
  DW_RETURN_IF_ERROR(CheckSize(path, max_bytes));
  DW_ASSIGN_OR_RETURN(std::string file, ReadFile(path));
  DW_ASSIGN_OR_RETURN(const ImportedVersion stored,
                      ImportModel(models, std::move(file), job.submitted.model,
                                  absl::StrCat("job ", job.id), absl::Now()));
  return stored.version;
}

JobRunnerOptions RunnerOptionsOf(const ServerOptions& options, const std::string& jobs,
                                 const JobStore& store, const JobConfigRules& rules,
                                 LiveModels& models) {
  const auto collect =
      [versions = ModelsFolder(options.data_dir), &models, keep = options.training.keep_versions,
       max_bytes = options.limits.max_model_bytes](const Job& job, const std::string& path) {
        absl::StatusOr<std::string> version = StoreResult(versions, max_bytes, job, path);
        if (version.ok() && keep > 0) models.PruneVersions(job.submitted.model, keep);
        return version;
      };
  return {.jobs = jobs,
          .training = options.training,
          .prepare = [&store, jobs,
                      rules](const Job& job) { return PrepareRun(store, jobs, rules, job); },
          .collect = collect,
          .log = [](const std::string& line) { spdlog::warn("{}", line); },
          .tell =
              [](const Job& job, const std::string& line, bool trouble) {
                LogWith(trouble ? spdlog::level::warn : spdlog::level::info, line, FieldsOf(job));
              }};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Training>> Training::Start(const ServerOptions& options,
                                                          LiveModels& models,
                                                          const std::stop_token& stop) {
  std::unique_ptr<Training> training(new Training);
  training->options_ = options.training;
  DW_ASSIGN_OR_RETURN(training->jobs_, MakeJobsFolder(options.data_dir));
  const std::string& jobs = training->jobs_;
  DW_ASSIGN_OR_RETURN(training->store_, JobStore::Open(JobStorePath(jobs)));
  // From here on the folder is ours alone: the store holds its lock.
  JobStore& store = *training->store_;
  DW_RETURN_IF_ERROR(SweepDeleted(store, jobs, stop));
  DatasetOptions sets = options.datasets;
  sets.max_image_pixels = options.limits.max_image_pixels;
  DW_ASSIGN_OR_RETURN(training->datasets_, Datasets::Open(DatasetsFolder(options.data_dir), sets));
  if (stop.stop_requested()) return absl::CancelledError("the server stops");
  training->feed_ = std::make_unique<JobFeed>();
  store.OnChange([&feed = *training->feed_](const std::string& job) { feed.Notify(job); });
  training->rules_ = RulesOf(*training->datasets_, store, models, jobs, options.training.threads);
  training->runner_ = std::make_unique<JobRunner>(
      store, RunnerOptionsOf(options, jobs, store, training->rules_, models));
  training->parts_ = std::make_unique<const TrainingParts>(
      TrainingParts{.store = store,
                    .datasets = *training->datasets_,
                    .feed = *training->feed_,
                    .wake_runner = [&runner = *training->runner_] { runner.Wake(); },
                    .rules = training->rules_,
                    .jobs = jobs,
                    .options = training->options_});
  return training;
}

}  // namespace deweather
