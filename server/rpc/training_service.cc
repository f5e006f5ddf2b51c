#include "server/rpc/training_service.h"

#include <spdlog/spdlog.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "model/base/error_reason.h"
#include "model/base/status_macros.h"
#include "server/rpc/download_call.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/log_call.h"
#include "server/rpc/unary_call.h"
#include "server/rpc/upload_call.h"
#include "server/rpc/watch_call.h"
#include "training/jobs/take_over.h"

namespace deweather {
namespace {

// A stream on a server that runs no jobs.
template <typename Reactor>
class Refused final : public Reactor {
 public:
  Refused(Occupancy& calls, const absl::Status& why) : place_(calls) { this->Finish(ToGrpc(why)); }
  void OnDone() override { delete this; }

 private:
  const Occupancy::Place place_;
};

}  // namespace

// `task` makes the answer of what is there.
template <typename Response, typename Task>
grpc::ServerUnaryReactor* TrainingService::Start(const char* method,
                                                 grpc::CallbackServerContext& context,
                                                 WorkerPool& workers, Response* response,
                                                 Task task) {
  return StartCall(method, context.peer(), parts_, workers, response,
                   [this, task = std::move(task)]() -> absl::StatusOr<Response> {
                     DW_ASSIGN_OR_RETURN(const TrainingParts* const training, training_());
                     return task(*training);
                   });
}

grpc::ServerUnaryReactor* TrainingService::SubmitJob(grpc::CallbackServerContext* context,
                                                     const v1::SubmitJobRequest* request,
                                                     v1::Job* response) {
  return Start(
      "SubmitJob", *context, files_, response,
      [this, request = *request](const TrainingParts& training) -> absl::StatusOr<v1::Job> {
        DW_RETURN_IF_ERROR(CheckSubmit(training, request));
        MutexLock lock(submitting_);
        return Submit(training, request, absl::Now());
      });
}

grpc::ServerUnaryReactor* TrainingService::GetJob(grpc::CallbackServerContext* context,
                                                  const v1::GetJobRequest* request,
                                                  v1::Job* response) {
  return Start("GetJob", *context, store_, response,
               [id = request->id()](const TrainingParts& training) { return Get(training, id); });
}

grpc::ServerUnaryReactor* TrainingService::ListJobs(grpc::CallbackServerContext* context,
                                                    const v1::ListJobsRequest* request,
                                                    v1::ListJobsResponse* response) {
  return Start(
      "ListJobs", *context, store_, response,
      [request = *request](const TrainingParts& training) { return List(training, request); });
}

grpc::ServerUnaryReactor* TrainingService::CancelJob(grpc::CallbackServerContext* context,
                                                     const v1::CancelJobRequest* request,
                                                     v1::Job* response) {
  return Start("CancelJob", *context, store_, response,
               [request = *request](const TrainingParts& training) {
                 return Cancel(training, request, absl::Now());
               });
}

grpc::ServerUnaryReactor* TrainingService::ResumeJob(grpc::CallbackServerContext* context,
                                                     const v1::ResumeJobRequest* request,
                                                     v1::Job* response) {
  return Start("ResumeJob", *context, store_, response,
               [this, request = *request](const TrainingParts& training) {
                 MutexLock lock(submitting_);
                 return Resume(training, request, absl::Now());
               });
}

grpc::ServerUnaryReactor* TrainingService::DeleteJob(grpc::CallbackServerContext* context,
                                                     const v1::DeleteJobRequest* request,
                                                     v1::DeleteJobResponse* response) {
  return Start("DeleteJob", *context, store_, response,
               [this, request = *request](
                   const TrainingParts& training) -> absl::StatusOr<v1::DeleteJobResponse> {
                 const absl::StatusOr<std::string> left = Delete(training, request);
                 if (!left.ok()) return left.status();
                 spdlog::info("job {} was deleted", request.id());
                 files_.Post([folder = *left] { RemoveFolder(folder); }, TaskOrder::kLong);
                 return v1::DeleteJobResponse();
               });
}

grpc::ServerUnaryReactor* TrainingService::ListCheckpoints(
    grpc::CallbackServerContext* context, const v1::ListCheckpointsRequest* request,
    v1::ListCheckpointsResponse* response) {
  return Start(
      "ListCheckpoints", *context, files_, response,
      [request = *request](const TrainingParts& training) { return List(training, request); });
}

grpc::ServerUnaryReactor* TrainingService::ListDatasets(grpc::CallbackServerContext* context,
                                                        const v1::ListDatasetsRequest* request,
                                                        v1::ListDatasetsResponse* response) {
  return Start(
      "ListDatasets", *context, files_, response,
      [request = *request](const TrainingParts& training) { return List(training, request); });
}

// A stream of kind Call, or its refusal.
template <typename Call, typename Reactor, typename... Rest>
Reactor* TrainingService::OpenStream(Rest&&... rest) {
  const absl::StatusOr<const TrainingParts*> training = training_();
  if (!training.ok()) return new Refused<Reactor>(parts_.calls, training.status());
  return std::make_shared<Call>(parts_, **training, std::forward<Rest>(rest)...)->Open();
}

grpc::ServerWriteReactor<v1::JobEvent>* TrainingService::WatchJob(
    grpc::CallbackServerContext* context, const v1::WatchJobRequest* request) {
  return OpenStream<WatchCall, grpc::ServerWriteReactor<v1::JobEvent>>(store_, *context, *request);
}

grpc::ServerWriteReactor<v1::LogChunk>* TrainingService::StreamLogs(
    grpc::CallbackServerContext* context, const v1::StreamLogsRequest* request) {
  return OpenStream<LogCall, grpc::ServerWriteReactor<v1::LogChunk>>(files_, *context, *request);
}

grpc::ServerWriteReactor<v1::ArtifactChunk>* TrainingService::DownloadArtifact(
    grpc::CallbackServerContext* context, const v1::DownloadArtifactRequest* request) {
  return OpenStream<DownloadCall, grpc::ServerWriteReactor<v1::ArtifactChunk>>(files_, *context,
                                                                               *request);
}

BytesReader* TrainingService::UploadDataset(grpc::CallbackServerContext* context,
                                            grpc::ByteBuffer* response) {
  return OpenStream<UploadCall, BytesReader>(files_, *context, response);
}

}  // namespace deweather
