#include "server/rpc/job_requests.h"

#include <spdlog/common.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/error_reason.h"
#include "model/base/file.h"
#include "model/base/sha256.h"
#include "model/base/status_macros.h"
#include "model/base/train_options.h"
#include "server/log/log.h"
#include "server/rpc/page.h"
#include "server/rpc/trace_context.h"
#include "server/rpc/training_convert.h"
#include "training/jobs/job_folder.h"
#include "training/jobs/take_over.h"

namespace deweather {
namespace {

constexpr size_t kMaxReasonBytes = 1024;
constexpr char kDatasetList[] = "datasets";

// A page of jobs ends early beyond so many bytes: callers have limits of their own, usually 4 MiB.
constexpr size_t kMaxPageBytes = size_t{1} << 20;
constexpr int kMaxJobsAtOnce = 50;  // in memory, with their configurations

absl::Status Exhausted(const char* reason, const std::string& message) {
  return WithReason(absl::ResourceExhaustedError(message), reason);
}

// --- to submit ---

absl::Status CheckFreeDisk(const TrainingParts& parts) {
  DW_ASSIGN_OR_RETURN(const int64_t free, FreeBytes(parts.jobs));
  if (free >= parts.options.min_free_bytes) return absl::OkStatus();
  return Exhausted("DISK_FULL",
                   absl::StrFormat("the disk has %d free bytes; training.min_free_bytes is %d",
                                   free, parts.options.min_free_bytes));
}

absl::Status CheckRoom(const TrainingParts& parts) {
  DW_ASSIGN_OR_RETURN(auto jobs, parts.store.CountByState());
  const int64_t queued = jobs[JobState::kQueued];
  if (queued >= parts.options.max_queued) {
    return Exhausted("TOO_MANY_JOBS",
                     absl::StrFormat("%d jobs are queued; training.max_queued is %d", queued,
                                     parts.options.max_queued));
  }
  DW_ASSIGN_OR_RETURN(const int64_t bytes, parts.store.DiskBytes());
  if (bytes > parts.options.max_disk_bytes) {
    return Exhausted("DISK_FULL", absl::StrFormat("the folders of all jobs have %d bytes; "
                                                  "training.max_disk_bytes is %d: delete jobs",
                                                  bytes, parts.options.max_disk_bytes));
  }
  return CheckFreeDisk(parts);
}

// Of all of a request but its name.
template <typename Request>
std::string DigestOf(Request request) {
  request.clear_request_id();
  return Sha256Hex(absl::StrCat(request.GetTypeName(), "\n", StableBytes(request)));
}

// A check of a request is one of the same job.
std::string DigestOf(v1::SubmitJobRequest request) {
  request.clear_validate_only();
  return DigestOf<v1::SubmitJobRequest>(std::move(request));
}

NewJob ToJob(const v1::SubmitJobRequest& request) {
  const bool named = request.config().has_name();
  return {.model = named ? request.config().name() : TrainOptions().name,
          .config = ToText(request.config()),
          .labels = {request.labels().begin(), request.labels().end()},
          .priority = request.priority(),
          .request_id = request.request_id(),
          .request_digest = DigestOf(request)};
}

absl::StatusOr<Job> Store(const TrainingParts& parts, const NewJob& job, absl::Time now) {
  absl::StatusOr<Job> stored = parts.store.Submit(job, now);
  if (stored.ok()) parts.wake_runner();
  return stored;
}

// --- to resume ---

absl::Status CheckCanGoOn(const Job& job) {
  if (job.state == JobState::kFailed || job.state == JobState::kCancelled) return absl::OkStatus();
  return WithReason(absl::FailedPreconditionError(absl::StrFormat(
                        "job '%s' is %s; only one that FAILED or was CANCELLED can be resumed",
                        job.id, Name(job.state))),
                    "JOB_STATE");
}

// --- to list ---

// Which list a page belongs to.
std::string ListOf(v1::ListJobsRequest request) {
  request.clear_page_size();
  request.clear_page_token();
  return absl::StrCat("jobs\n", StableBytes(request));
}

absl::StatusOr<int64_t> SequenceOf(const Page& page) {
  int64_t sequence = 0;
  if (page.after.empty()) return sequence;
  if (absl::SimpleAtoi(page.after, &sequence) && sequence > 0) return sequence;
  return UnknownPageToken();
}

// Adds jobs from query->before on, which is the last one's sequence then; returns whether more follow.
absl::StatusOr<bool> FillPage(const JobStore& store, int size, JobQuery* query,
                              v1::ListJobsResponse* response) {
  size_t bytes = 0;
  while (true) {
    query->limit = std::min(size - response->jobs_size() + 1, kMaxJobsAtOnce);
    DW_ASSIGN_OR_RETURN(const std::vector<Job> jobs, store.List(*query));
    for (const Job& job : jobs) {
      if (response->jobs_size() == size || bytes > kMaxPageBytes) return true;
      *response->add_jobs() = ToMessage(job);
      bytes += response->jobs().rbegin()->ByteSizeLong();
      query->before = job.sequence;
    }
    if (std::ssize(jobs) < query->limit) return false;
  }
}

absl::Status CheckId(const std::string& id) {
  if (IsJobId(id)) return absl::OkStatus();
  return WithReason(
      absl::NotFoundError("there is no such job: an id has 12 lower-case letters and digits"),
      "UNKNOWN_JOB");
}

}  // namespace

absl::Status CheckSubmit(const TrainingParts& parts, const v1::SubmitJobRequest& request) {
  const NewJob job = ToJob(request);
  DW_RETURN_IF_ERROR(Validate(job));
  DW_ASSIGN_OR_RETURN(const std::optional<Job> known,
                      parts.store.FindRequest(job.request_id, job.request_digest));
  if (known.has_value()) return absl::OkStatus();
  return CheckJobConfig(request.config(), parts.rules);
}

absl::StatusOr<v1::Job> Submit(const TrainingParts& parts, const v1::SubmitJobRequest& request,
                               const std::string& trace_parent, absl::Time now) {
  NewJob job = ToJob(request);
  job.trace_parent = trace_parent;
  DW_ASSIGN_OR_RETURN(const std::optional<Job> known,
                      parts.store.FindRequest(job.request_id, job.request_digest));
  if (known.has_value()) return ToMessage(*known);
  DW_RETURN_IF_ERROR(CheckRoom(parts));
  if (request.validate_only()) return ToMessage(Job{.submitted = job});
  DW_ASSIGN_OR_RETURN(const Job stored, Store(parts, job, now));
  LogWith(spdlog::level::info,
          absl::StrFormat("job %s was submitted: model %s", stored.id, stored.submitted.model),
          FieldsOf(stored));
  return ToMessage(stored);
}

absl::StatusOr<v1::Job> Resume(const TrainingParts& parts, const v1::ResumeJobRequest& request,
                               const std::string& trace_parent, absl::Time now) {
  const std::string digest = DigestOf(request);
  DW_ASSIGN_OR_RETURN(const std::optional<Job> known,
                      parts.store.FindRequest(request.request_id(), digest));
  if (known.has_value()) return ToMessage(*known);
  DW_ASSIGN_OR_RETURN(const Job old, FindJob(parts, request.id()));
  DW_RETURN_IF_ERROR(CheckCanGoOn(old));
  DW_RETURN_IF_ERROR(CheckRoom(parts));
  NewJob job = old.submitted;
  job.resumed_from = old.id;
  job.request_id = request.request_id();
  job.request_digest = digest;
  job.trace_parent = trace_parent;
  DW_ASSIGN_OR_RETURN(const Job stored, Store(parts, job, now));
  LogWith(spdlog::level::info, absl::StrFormat("job %s goes on from job %s", stored.id, old.id),
          FieldsOf(stored));
  // The job is stored whatever happens; what fails here is tried again by its first attempt.
  const absl::Status taken = TakeOver(parts.store, parts.jobs, stored);
  if (!taken.ok()) {
    LogWith(spdlog::level::warn, absl::StrCat("job ", stored.id, ": ", taken.ToString()),
            FieldsOf(stored));
  }
  return ToMessage(stored);
}

absl::StatusOr<v1::Job> Cancel(const TrainingParts& parts, const v1::CancelJobRequest& request,
                               absl::Time now) {
  if (request.reason().size() > kMaxReasonBytes) {
    return absl::InvalidArgumentError(absl::StrFormat("reason has %d bytes; it may have %d",
                                                      request.reason().size(), kMaxReasonBytes));
  }
  DW_RETURN_IF_ERROR(CheckId(request.id()));
  const std::string reason =
      request.reason().empty() ? std::string("cancelled by a caller") : request.reason();
  DW_ASSIGN_OR_RETURN(
      const Job job,
      parts.store.Apply(request.id(), {.action = JobAction::kCancel, .reason = reason}, now));
  parts.wake_runner();
  return ToMessage(job);
}

absl::StatusOr<std::string> Delete(const TrainingParts& parts,
                                   const v1::DeleteJobRequest& request) {
  DW_RETURN_IF_ERROR(CheckId(request.id()));
  return DeleteJob(parts.store, parts.jobs, request.id());
}

LogFields FieldsOf(const Job& job) {
  LogFields fields = {{"job_id", job.id}};
  const std::optional<TraceParent> trace = ParseTraceParent(job.submitted.trace_parent);
  if (trace.has_value()) fields.push_back({"trace_id", trace->trace_id});
  return fields;
}

absl::StatusOr<Job> FindJob(const TrainingParts& parts, const std::string& id) {
  DW_RETURN_IF_ERROR(CheckId(id));
  return parts.store.Get(id);
}

absl::StatusOr<v1::Job> Get(const TrainingParts& parts, const std::string& id) {
  DW_ASSIGN_OR_RETURN(const Job job, FindJob(parts, id));
  return ToMessage(job);
}

absl::StatusOr<v1::ListJobsResponse> List(const TrainingParts& parts,
                                          const v1::ListJobsRequest& request) {
  const std::string list = ListOf(request);
  DW_ASSIGN_OR_RETURN(const Page page, ToPage(request.page_size(), request.page_token(), list));
  DW_ASSIGN_OR_RETURN(JobQuery query, ToQuery(request));
  DW_ASSIGN_OR_RETURN(query.before, SequenceOf(page));
  v1::ListJobsResponse response;
  DW_ASSIGN_OR_RETURN(const bool more, FillPage(parts.store, page.size, &query, &response));
  if (more) response.set_next_page_token(PageToken(absl::StrCat(query.before), list));
  return response;
}

absl::StatusOr<v1::ListCheckpointsResponse> List(const TrainingParts& parts,
                                                 const v1::ListCheckpointsRequest& request) {
  DW_RETURN_IF_ERROR(FindJob(parts, request.id()).status());
  DW_ASSIGN_OR_RETURN(const std::vector<Artifact> artifacts,
                      ListArtifacts(parts.jobs, request.id()));
  v1::ListCheckpointsResponse response;
  for (const Artifact& artifact : artifacts) *response.add_artifacts() = ToMessage(artifact);
  return response;
}

absl::StatusOr<v1::ListDatasetsResponse> List(const TrainingParts& parts,
                                              const v1::ListDatasetsRequest& request) {
  DW_ASSIGN_OR_RETURN(const Page page,
                      ToPage(request.page_size(), request.page_token(), kDatasetList));
  v1::ListDatasetsResponse response;
  for (const Dataset& dataset : parts.datasets.List()) {
    if (dataset.name <= page.after) continue;
    if (response.datasets_size() == page.size) {
      response.set_next_page_token(PageToken(response.datasets().rbegin()->name(), kDatasetList));
      break;
    }
    *response.add_datasets() = ToMessage(dataset);
  }
  return response;
}

}  // namespace deweather
