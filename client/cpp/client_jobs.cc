// What a Client does with training jobs.

#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/status/statusor.h"
#include "client/cpp/convert.h"
#include "client/cpp/job_config.h"
#include "client/cpp/link.h"
#include "client/cpp/output_file.h"
#include "client/fetch.h"
#include "client/follow_job.h"
#include "client/part_file.h"
#include "client/retry.h"
#include "deweather/client.h"
#include "model/base/file.h"

namespace deweather {
namespace {

using Stub = v1::TrainingService::Stub;

// A call that makes a job, again while the server is away: the request's id makes it the same job.
template <typename Request>
Job MakeJob(const Link& link, const CallOptions& call,
            grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, v1::Job*),
            Request request) {
  CheckText("request_id", request.request_id());
  if (request.request_id().empty()) request.set_request_id(UniqueName("cpp-"));
  const CallWishes wishes(link, call);
  v1::Job job;
  const auto attempt = [&](Backoff&) {
    grpc::ClientContext context;
    wishes.Prepare(context);
    const std::jthread canceller = wishes.CancelWhenStopped(context);
    return (link.patient.get()->*method)(&context, request, &job);
  };
  const grpc::Status status = CallUntilAnswered(wishes.Patience(link), *wishes.stop, attempt);
  if (!status.ok()) Throw(link, wishes, status);
  return ToJob(job);
}

}  // namespace

Job Client::SubmitJob(const Submission& submission, const CallOptions& call) const {
  const absl::StatusOr<std::string> config = JobConfigBytes(submission.config);
  if (!config.ok()) Throw(config.status());
  CheckLabels(submission.labels);
  v1::SubmitJobRequest request;
  request.mutable_config()->ParseFromString(*config);
  request.mutable_labels()->insert(submission.labels.begin(), submission.labels.end());
  request.set_priority(submission.priority);
  request.set_request_id(submission.request_id);
  request.set_validate_only(submission.validate_only);
  return MakeJob(*link_, call, &Stub::SubmitJob, std::move(request));
}

Job Client::ResumeJob(const std::string& id, const std::string& request_id,
                      const CallOptions& call) const {
  CheckText("id", id);
  v1::ResumeJobRequest request;
  request.set_id(id);
  request.set_request_id(request_id);
  return MakeJob(*link_, call, &Stub::ResumeJob, std::move(request));
}

Job Client::GetJob(const std::string& id, const CallOptions& call) const {
  CheckText("id", id);
  v1::GetJobRequest request;
  request.set_id(id);
  return ToJob(deweather::Call(*link_, call, *link_->training, &Stub::GetJob, request));
}

std::vector<Job> Client::ListJobs(const JobFilter& filter, const CallOptions& call) const {
  std::vector<Job> jobs;
  v1::ListJobsRequest request = ToMessage(filter);
  do {
    const v1::ListJobsResponse page =
        deweather::Call(*link_, call, *link_->training, &Stub::ListJobs, request);
    for (const v1::Job& job : page.jobs()) jobs.push_back(ToJob(job));
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty() && (filter.limit == 0 || jobs.size() < filter.limit));
  if (filter.limit > 0 && jobs.size() > filter.limit) jobs.resize(filter.limit);
  return jobs;
}

Job Client::CancelJob(const std::string& id, const std::string& reason,
                      const CallOptions& call) const {
  CheckText("id", id);
  CheckText("reason", reason);
  v1::CancelJobRequest request;
  request.set_id(id);
  request.set_reason(reason);
  return ToJob(deweather::Call(*link_, call, *link_->training, &Stub::CancelJob, request));
}

Job Client::WatchJob(const std::string& id, const OnEvent& on_event, std::int64_t after_event,
                     const CallOptions& call) const {
  const CallWishes wishes(*link_, call);
  CheckText("id", id);
  v1::WatchJobRequest request;
  request.set_id(id);
  request.set_after_event(after_event);
  v1::Job job;
  bool enough = false;
  const auto take = [&](const v1::JobEvent& event) {
    enough = !on_event(ToJobEvent(event));
    return enough ? grpc::Status(grpc::StatusCode::ABORTED, "enough") : grpc::Status::OK;
  };
  const grpc::Status status = deweather::WatchJob(
      *link_->patient, {wishes.Patience(*link_), *wishes.stop}, &request, take, &job);
  if (!status.ok() && !enough) Throw(*link_, wishes, status);
  return ToJob(job);
}

std::vector<Artifact> Client::ListArtifacts(const std::string& id, const CallOptions& call) const {
  CheckText("id", id);
  v1::ListCheckpointsRequest request;
  request.set_id(id);
  const v1::ListCheckpointsResponse response =
      deweather::Call(*link_, call, *link_->training, &Stub::ListCheckpoints, request);
  std::vector<Artifact> artifacts;
  for (const v1::Artifact& artifact : response.artifacts()) {
    artifacts.push_back(ToArtifact(artifact));
  }
  return artifacts;
}

void Client::DownloadArtifact(const std::string& id, const std::string& artifact,
                              const std::string& path, const OnBytes& on_bytes,
                              const CallOptions& call) const {
  const CallWishes wishes(*link_, call);
  CheckText("id", id);
  CheckText("artifact", artifact);
  absl::StatusOr<PartFile> part = PartFile::Open(FileToReplace(path));
  if (!part.ok()) Throw(part.status());
  v1::DownloadArtifactRequest request;
  request.set_id(id);
  request.set_name(artifact);
  const auto tell = [&](int64_t done, int64_t total) {
    if (on_bytes) on_bytes(done, total);
  };
  const grpc::Status status =
      Fetch(*link_->patient, wishes.Patience(*link_), *wishes.stop, request, tell, &*part);
  if (!status.ok()) Throw(*link_, wishes, status);
  const absl::Status committed = part->Commit();
  if (!committed.ok()) Throw(committed);
}

}  // namespace deweather
