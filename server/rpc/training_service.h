// TrainingService on gRPC's callback API. Reactions never block: what asks the store runs on one worker, in
// the order in which it came, and what reads and writes files on others, so that a long hash or the count of
// a large folder holds up no GetJob.
//
// Owns     its workers
// Threads  thread-safe; called on gRPC's threads

#ifndef DEWEATHER_SERVER_RPC_TRAINING_SERVICE_H_
#define DEWEATHER_SERVER_RPC_TRAINING_SERVICE_H_

#include <utility>

#include "absl/status/statusor.h"
#include "deweather/v1/training.grpc.pb.h"
#include "model/base/mutex.h"
#include "model/base/server_options.h"
#include "model/base/worker_pool.h"
#include "server/restore/occupancy.h"
#include "server/rpc/bytes_service.h"
#include "server/rpc/call_parts.h"
#include "server/rpc/job_requests.h"
#include "server/rpc/read_call.h"

namespace deweather {

// The service whose uploads are bytes (server/rpc/streaming_call.h says why).
using BytesTrainingService = BytesService<
    v1::TrainingService,
    v1::TrainingService::WithRawCallbackMethod_UploadDataset<v1::TrainingService::Service>>;

class TrainingService final : public BytesTrainingService {
 public:
  // Each call asks `training`; an error is its answer. What that finds must outlive the service; a call is in
  // `calls` until its reply has been sent.
  TrainingService(FindTraining training, Occupancy& calls, const LimitOptions& limits,
                  const Entrance& entrance = {})
      : training_(std::move(training)),
        parts_{v1::TrainingService::service_full_name(), entrance, calls, limits} {
    TakeCalls();
  }

  // Ends the streams that are open, and all calls that come later, with UNAVAILABLE: their callers can go on
  // with another server. Idempotent.
  void BeginDrain() { parts_.open.BeginDrain(); }

  // Ends the streams whose callers are not let in any more, with UNAUTHENTICATED or PERMISSION_DENIED.
  void AccessChanged() { parts_.open.AccessChanged(); }

  BytesReader* UploadDataset(grpc::CallbackServerContext* context,
                             grpc::ByteBuffer* response) override;

 private:
  void TakeCalls();
  void TakeChanges();
  template <typename Request, typename Response, typename Task>
  void TakeTask(const char* method, WorkerPool& workers, Task task);
  template <typename Request, typename Response>
  void TakeList(const char* method, WorkerPool& workers);
  absl::StatusOr<v1::DeleteJobResponse> DeleteOne(const TrainingParts& training,
                                                  const v1::DeleteJobRequest& request);
  template <typename Call>
  void TakeWatch(const char* method, WorkerPool& workers);
  template <typename Call, typename Reactor, typename... Last>
  Reactor* OpenStream(const char* method, grpc::CallbackServerContext& context, WorkerPool& workers,
                      Last... last);

  const FindTraining training_;
  CallParts parts_;
  Mutex submitting_;  // held by Submit and Resume

  WorkerPool files_{2};
  WorkerPool store_{1};  // last, both: their tasks use all of the above
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_TRAINING_SERVICE_H_
