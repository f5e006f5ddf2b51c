// TrainingService on gRPC's callback API. Reactions never block: what asks the store runs on one worker, in
// the order in which it came, and what reads and writes files on others, so that a long hash or the count of
// a large folder holds up no GetJob.
//
// Owns     its workers
// Threads  thread-safe; called on gRPC's threads

#ifndef DEWEATHER_SERVER_RPC_TRAINING_SERVICE_H_
#define DEWEATHER_SERVER_RPC_TRAINING_SERVICE_H_

#include <utility>

#include "deweather/v1/training.grpc.pb.h"
#include "model/base/mutex.h"
#include "model/base/server_options.h"
#include "model/base/worker_pool.h"
#include "server/restore/occupancy.h"
#include "server/rpc/call_parts.h"
#include "server/rpc/job_requests.h"
#include "server/rpc/read_call.h"

namespace deweather {

// The service whose uploads are bytes (server/rpc/streaming_call.h says why).
using BytesTrainingService =
    v1::TrainingService::WithRawCallbackMethod_UploadDataset<v1::TrainingService::CallbackService>;

class TrainingService final : public BytesTrainingService {
 public:
  // Each call asks `training`; an error is its answer. What that finds must outlive the service; a call is in
  // `calls` until its reply has been sent.
  TrainingService(FindTraining training, Occupancy& calls, const LimitOptions& limits)
      : training_(std::move(training)), parts_{calls, limits, {}} {}

  // Ends the streams that are open, and all calls that come later, with UNAVAILABLE: their callers can go on
  // with another server. Idempotent.
  void BeginDrain() { parts_.open.BeginDrain(); }

  grpc::ServerUnaryReactor* SubmitJob(grpc::CallbackServerContext* context,
                                      const v1::SubmitJobRequest* request,
                                      v1::Job* response) override;
  grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* context,
                                   const v1::GetJobRequest* request, v1::Job* response) override;
  grpc::ServerUnaryReactor* ListJobs(grpc::CallbackServerContext* context,
                                     const v1::ListJobsRequest* request,
                                     v1::ListJobsResponse* response) override;
  grpc::ServerUnaryReactor* CancelJob(grpc::CallbackServerContext* context,
                                      const v1::CancelJobRequest* request,
                                      v1::Job* response) override;
  grpc::ServerUnaryReactor* ResumeJob(grpc::CallbackServerContext* context,
                                      const v1::ResumeJobRequest* request,
                                      v1::Job* response) override;
  grpc::ServerUnaryReactor* DeleteJob(grpc::CallbackServerContext* context,
                                      const v1::DeleteJobRequest* request,
                                      v1::DeleteJobResponse* response) override;
  grpc::ServerUnaryReactor* ListCheckpoints(grpc::CallbackServerContext* context,
                                            const v1::ListCheckpointsRequest* request,
                                            v1::ListCheckpointsResponse* response) override;
  grpc::ServerUnaryReactor* ListDatasets(grpc::CallbackServerContext* context,
                                         const v1::ListDatasetsRequest* request,
                                         v1::ListDatasetsResponse* response) override;

  grpc::ServerWriteReactor<v1::JobEvent>* WatchJob(grpc::CallbackServerContext* context,
                                                   const v1::WatchJobRequest* request) override;
  grpc::ServerWriteReactor<v1::LogChunk>* StreamLogs(grpc::CallbackServerContext* context,
                                                     const v1::StreamLogsRequest* request) override;
  grpc::ServerWriteReactor<v1::ArtifactChunk>* DownloadArtifact(
      grpc::CallbackServerContext* context, const v1::DownloadArtifactRequest* request) override;
  BytesReader* UploadDataset(grpc::CallbackServerContext* context,
                             grpc::ByteBuffer* response) override;

 private:
  template <typename Response, typename Task>
  grpc::ServerUnaryReactor* Start(const char* method, grpc::CallbackServerContext& context,
                                  WorkerPool& workers, Response* response, Task task);
  template <typename Call, typename Reactor, typename... Rest>
  Reactor* OpenStream(Rest&&... rest);

  const FindTraining training_;
  CallParts parts_;
  Mutex submitting_;  // held by Submit and Resume

  WorkerPool files_{2};
  WorkerPool store_{1};  // last, both: their tasks use all of the above
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_TRAINING_SERVICE_H_
