#include "server/rpc/training_service.h"

#include <spdlog/common.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "model/base/error_reason.h"
#include "model/base/status_macros.h"
#include "server/log/log.h"
#include "server/rpc/arrival.h"
#include "server/rpc/download_call.h"
#include "server/rpc/log_call.h"
#include "server/rpc/refused_call.h"
#include "server/rpc/unary_call.h"
#include "server/rpc/upload_call.h"
#include "server/rpc/watch_call.h"
#include "training/jobs/take_over.h"

namespace deweather {

// `task` makes the answer of what is there, the message and the call's arrival.
template <typename Request, typename Response, typename Task>
void TrainingService::TakeTask(const char* method, WorkerPool& workers, Task task) {
  const auto run = [this, task = std::move(task)](
                       const Request& request, const Arrival& arrival) -> absl::StatusOr<Response> {
    DW_ASSIGN_OR_RETURN(const TrainingParts* const training, training_());
    return task(*training, request, arrival);
  };
  TakeUnary<Request, Response>(method, parts_, OnWorker<Request, Response>(parts_, workers, run));
}

void TrainingService::TakeCalls() {
  TakeChanges();
  const auto get = [](const TrainingParts& training, const v1::GetJobRequest& request,
                      const Arrival&) { return Get(training, request.id()); };
  TakeTask<v1::GetJobRequest, v1::Job>("GetJob", store_, get);
  TakeList<v1::ListJobsRequest, v1::ListJobsResponse>("ListJobs", store_);
  TakeList<v1::ListCheckpointsRequest, v1::ListCheckpointsResponse>("ListCheckpoints", files_);
  TakeList<v1::ListDatasetsRequest, v1::ListDatasetsResponse>("ListDatasets", files_);
  TakeWatch<WatchCall>("WatchJob", store_);
  TakeWatch<LogCall>("StreamLogs", files_);
  TakeWatch<DownloadCall>("DownloadArtifact", files_);
}

void TrainingService::TakeChanges() {
  using Training = const TrainingParts&;
  const auto submit = [this](Training training, const v1::SubmitJobRequest& request,
                             const Arrival& arrival) -> absl::StatusOr<v1::Job> {
    DW_RETURN_IF_ERROR(CheckSubmit(training, request));
    MutexLock lock(submitting_);
    return Submit(training, request, arrival.trace_parent, absl::Now());
  };
  const auto resume = [this](Training training, const v1::ResumeJobRequest& request,
                             const Arrival& arrival) {
    MutexLock lock(submitting_);
    return Resume(training, request, arrival.trace_parent, absl::Now());
  };
  const auto cancel = [](Training training, const v1::CancelJobRequest& request, const Arrival&) {
    return Cancel(training, request, absl::Now());
  };
  const auto remove = [this](Training training, const v1::DeleteJobRequest& request,
                             const Arrival&) { return DeleteOne(training, request); };
  TakeTask<v1::SubmitJobRequest, v1::Job>("SubmitJob", files_, submit);
  TakeTask<v1::ResumeJobRequest, v1::Job>("ResumeJob", store_, resume);
  TakeTask<v1::CancelJobRequest, v1::Job>("CancelJob", store_, cancel);
  TakeTask<v1::DeleteJobRequest, v1::DeleteJobResponse>("DeleteJob", store_, remove);
}

template <typename Request, typename Response>
void TrainingService::TakeList(const char* method, WorkerPool& workers) {
  TakeTask<Request, Response>(
      method, workers, [](const TrainingParts& training, const Request& request, const Arrival&) {
        return List(training, request);
      });
}

absl::StatusOr<v1::DeleteJobResponse> TrainingService::DeleteOne(
    const TrainingParts& training, const v1::DeleteJobRequest& request) {
  DW_ASSIGN_OR_RETURN(const std::string left, Delete(training, request));
  LogWith(spdlog::level::info, absl::StrCat("job ", request.id(), " was deleted"),
          {{"job_id", request.id()}});
  files_.Post([left] { RemoveFolder(left); }, TaskOrder::kLong);
  return v1::DeleteJobResponse();
}

// A stream of kind Call, or its refusal.
template <typename Call, typename Reactor, typename... Last>
Reactor* TrainingService::OpenStream(const char* method, grpc::CallbackServerContext& context,
                                     WorkerPool& workers, Last... last) {
  Arrival arrival = Arrive(parts_, context, method);
  if (!arrival.refused.ok()) return new RefusedCall<Reactor>(parts_, arrival, arrival.refused);
  const absl::StatusOr<const TrainingParts*> training = training_();
  if (!training.ok()) return new RefusedCall<Reactor>(parts_, arrival, training.status());
  return std::make_shared<Call>(parts_, **training, workers, context, std::move(arrival), last...)
      ->Open();
}

template <typename Call>
void TrainingService::TakeWatch(const char* method, WorkerPool& workers) {
  Take(method, [this, method, &workers](grpc::CallbackServerContext& context) {
    return OpenStream<Call, BytesReactor>(method, context, workers);
  });
}

BytesReader* TrainingService::UploadDataset(grpc::CallbackServerContext* context,
                                            grpc::ByteBuffer* response) {
  return OpenStream<UploadCall, BytesReader>("UploadDataset", *context, files_, response);
}

}  // namespace deweather
