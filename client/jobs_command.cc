#include "client/jobs_command.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/diagnose.h"
#include "client/job_text.h"
#include "client/jobs_watch.h"
#include "client/output.h"
#include "client/pages.h"
#include "client/retry.h"
#include "deweather/v1/training.grpc.pb.h"
#include "model/base/file.h"
#include "model/base/status_macros.h"
#include "proto/config/text_format.h"

namespace deweather {
namespace {

using Stub = v1::TrainingService::Stub;

constexpr size_t kMaxConfigBytes = size_t{1} << 20;
constexpr int64_t kMaxPage = 1000;

template <typename Request, typename Response>
using Method = grpc::Status (Stub::*)(grpc::ClientContext*, const Request&, Response*);

// For a connection, before a call that says why there is none.
constexpr absl::Duration kConnect = absl::Seconds(1);

std::unique_ptr<Stub> StubOf(const JobsFlags& flags) {
  return v1::TrainingService::NewStub(OpenChannel(flags.server));
}

absl::Status ReadLabels(const JobsFlags& flags,
                        google::protobuf::Map<std::string, std::string>* labels) {
  for (const std::string& label : flags.labels) {
    const size_t equals = label.find('=');
    if (equals == std::string::npos || equals == 0) {
      return absl::InvalidArgumentError(absl::StrFormat("--label '%s' is no KEY=VALUE", label));
    }
    if (!labels->insert({label.substr(0, equals), label.substr(equals + 1)}).second) {
      return absl::InvalidArgumentError(
          absl::StrFormat("--label '%s' is a second one of its key", label));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::TrainConfig> ReadConfig(const std::string& path) {
  DW_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  if (text.size() > kMaxConfigBytes || !IsUtf8(text)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s is no text of at most %d bytes", path, kMaxConfigBytes));
  }
  v1::TrainConfig config;
  FieldPlaces places{path, {}};
  DW_RETURN_IF_ERROR(ParseText(text, &config, &places));
  return config;
}

absl::StatusOr<v1::Job::State> ParseState(const std::string& text) {
  v1::Job::State state = v1::Job::STATE_UNSPECIFIED;
  if (v1::Job::State_Parse("STATE_" + absl::AsciiStrToUpper(text), &state) &&
      state != v1::Job::STATE_UNSPECIFIED) {
    return state;
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "--state '%s' is none of queued, running, cancelling, succeeded, failed, cancelled", text));
}

template <typename Request>
Request OfId(const JobsFlags& flags) {
  Request request;
  request.set_id(flags.id);
  return request;
}

// One call, printed as `print` does.
template <typename Request, typename Response, typename Print>
int CallAndPrint(const JobsFlags& flags, const Request& request, Method<Request, Response> method,
                 const Print& print) {
  const std::unique_ptr<Stub> stub = StubOf(flags);
  grpc::ClientContext context;
  SetDeadline(flags.server, context);
  Response response;
  const grpc::Status status = (stub.get()->*method)(&context, request, &response);
  if (!status.ok()) return FailCall(flags.server, status, flags.json);
  print(response);
  return 0;
}

void PrintJob(const JobsFlags& flags, const v1::Job& job) {
  if (flags.json) return flags.watch ? PrintJsonLine(JobJson(job)) : PrintJson(JobJson(job));
  absl::PrintF("%s", JobText(job));
}

template <typename Request>
int CallAndPrintJob(const JobsFlags& flags, const Request& request,
                    Method<Request, v1::Job> method) {
  return CallAndPrint<Request, v1::Job>(flags, request, method,
                                        [&](const v1::Job& job) { PrintJob(flags, job); });
}

int Watch(const JobsFlags& flags, const std::string& id) {
  WatchFlags watch;
  watch.server.server = flags.server.server;
  watch.server.credentials = flags.server.credentials;
  watch.id = id;
  watch.json = flags.json;
  return RunJobsWatch(watch);
}

// What to say of a job that may have been made without our hearing of it.
absl::Status MayBeMade(const JobsFlags& flags, const grpc::Status& error,
                       const std::string& request_id) {
  const absl::Status status = Explained(flags.server, error);
  if (!absl::IsDeadlineExceeded(status) && !IsBroken(error)) return status;
  return absl::Status(status.code(),
                      absl::StrFormat("%s; the job may have been made: the same command with "
                                      "--request-id %s is sure not to make another",
                                      status.message(), request_id));
}

// A call that makes a job, again while the server is away: the request's id makes it the same job.
template <typename Request>
int MakeJob(const JobsFlags& flags, const Request& request, Method<Request, v1::Job> method) {
  const std::shared_ptr<grpc::Channel> channel = OpenChannel(flags.server);
  const auto stub = v1::TrainingService::NewStub(channel);
  const absl::Time deadline = absl::Now() + flags.server.timeout;
  const std::atomic<bool> never = false;
  bool connected = false;
  v1::Job job;
  const auto attempt = [&](Backoff&) -> grpc::Status {
    const absl::Time soon = std::min(absl::Now() + kConnect, deadline);
    connected |= channel->WaitForConnected(absl::ToChronoTime(soon));
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(deadline));
    const grpc::Status status = (stub.get()->*method)(&context, request, &job);
    const bool late = status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
    if (connected || !late) return status;
    return {grpc::StatusCode::UNAVAILABLE, "no connection to " + flags.server.server};
  };
  const grpc::Status status = CallUntilAnswered(PatientWith(flags.server), never, attempt);
  if (!status.ok()) {
    const absl::Status error = connected ? MayBeMade(flags, status, request.request_id())
                                         : Explained(flags.server, status);
    return FailCall(error, flags.json, ReasonOf(status));
  }
  PrintJob(flags, job);
  return flags.watch ? Watch(flags, job.id()) : 0;
}

std::string RequestId(const JobsFlags& flags) {
  return flags.request_id.empty() ? UniqueName("cli-") : flags.request_id;
}

void PrintJobs(const JobsFlags& flags, const std::vector<v1::Job>& jobs, bool more) {
  if (flags.json) {
    return PrintJson({{"jobs", ListJson(jobs, JobJson)}, {"more", more}});
  }
  absl::PrintF("%s", JobsTable(jobs));
  if (more) absl::PrintF("the newest %d; --limit 0 lists all\n", jobs.size());
}

}  // namespace

absl::StatusOr<v1::SubmitJobRequest> SubmissionOf(const JobsFlags& flags) {
  if (flags.validate_only && flags.watch) {
    return absl::InvalidArgumentError("--validate-only makes no job that --watch could show");
  }
  v1::SubmitJobRequest request;
  DW_ASSIGN_OR_RETURN(*request.mutable_config(), ReadConfig(flags.config));
  DW_RETURN_IF_ERROR(ReadLabels(flags, request.mutable_labels()));
  request.set_priority(flags.priority);
  request.set_request_id(RequestId(flags));
  request.set_validate_only(flags.validate_only);
  return request;
}

absl::StatusOr<v1::ListJobsRequest> ListingOf(const JobsFlags& flags) {
  if (flags.limit < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("--limit is %d; it must be 0 or more", flags.limit));
  }
  v1::ListJobsRequest request;
  const int64_t page = flags.limit == 0 ? kMaxPage : std::min(flags.limit, kMaxPage);
  request.set_page_size(static_cast<int32_t>(page));
  for (const std::string& text : flags.states) {
    DW_ASSIGN_OR_RETURN(const v1::Job::State state, ParseState(text));
    request.add_states(state);
  }
  DW_RETURN_IF_ERROR(ReadLabels(flags, request.mutable_labels()));
  request.set_model(flags.model);
  return request;
}

int RunJobsSubmit(const JobsFlags& flags) {
  const absl::StatusOr<v1::SubmitJobRequest> request = SubmissionOf(flags);
  if (!request.ok()) return FailLocally(request.status(), flags.json);
  return MakeJob(flags, *request, &Stub::SubmitJob);
}

int RunJobsList(const JobsFlags& flags) {
  const absl::StatusOr<v1::ListJobsRequest> request = ListingOf(flags);
  if (!request.ok()) return FailLocally(request.status(), flags.json);
  const auto limit = static_cast<size_t>(flags.limit);
  std::vector<v1::Job> jobs;
  bool more = false;
  const auto take = [&](const v1::ListJobsResponse& response) {
    jobs.insert(jobs.end(), response.jobs().begin(), response.jobs().end());
    more = !response.next_page_token().empty();
    return limit == 0 || jobs.size() < limit;
  };
  const std::unique_ptr<Stub> stub = StubOf(flags);
  const grpc::Status status = ReadPages(flags.server, *stub, &Stub::ListJobs, *request, take);
  if (!status.ok()) return FailCall(flags.server, status, flags.json);
  if (limit > 0 && jobs.size() > limit) {
    jobs.resize(limit);
    more = true;
  }
  PrintJobs(flags, jobs, more);
  return 0;
}

int RunJobsGet(const JobsFlags& flags) {
  return CallAndPrintJob(flags, OfId<v1::GetJobRequest>(flags), &Stub::GetJob);
}

int RunJobsCancel(const JobsFlags& flags) {
  auto request = OfId<v1::CancelJobRequest>(flags);
  request.set_reason(flags.reason);
  return CallAndPrintJob(flags, request, &Stub::CancelJob);
}

int RunJobsResume(const JobsFlags& flags) {
  auto request = OfId<v1::ResumeJobRequest>(flags);
  request.set_request_id(RequestId(flags));
  return MakeJob(flags, request, &Stub::ResumeJob);
}

int RunJobsDelete(const JobsFlags& flags) {
  const auto print = [&](const v1::DeleteJobResponse&) {
    if (flags.json) return PrintJson({{"deleted", flags.id}});
    absl::PrintF("deleted %s\n", flags.id);
  };
  return CallAndPrint<v1::DeleteJobRequest, v1::DeleteJobResponse>(
      flags, OfId<v1::DeleteJobRequest>(flags), &Stub::DeleteJob, print);
}

int RunJobsCheckpoints(const JobsFlags& flags) {
  const auto print = [&](const v1::ListCheckpointsResponse& response) {
    const std::vector<v1::Artifact> artifacts(response.artifacts().begin(),
                                              response.artifacts().end());
    if (flags.json) return PrintJson({{"artifacts", ListJson(artifacts, ArtifactJson)}});
    absl::PrintF("%s", ArtifactsTable(artifacts));
  };
  return CallAndPrint<v1::ListCheckpointsRequest, v1::ListCheckpointsResponse>(
      flags, OfId<v1::ListCheckpointsRequest>(flags), &Stub::ListCheckpoints, print);
}

}  // namespace deweather
