// ModelService on gRPC's callback API. Reactions never block: promotions run on a thread of their
// own, and what reads folders on another, so that a promotion holds up no list.
//
// A call that is cancelled is answered at once; a promotion that it began goes on.
//
// Owns     its two threads
// Threads  thread-safe; called on gRPC's threads

#ifndef DEWEATHER_SERVER_RPC_MODEL_SERVICE_H_
#define DEWEATHER_SERVER_RPC_MODEL_SERVICE_H_

#include <atomic>
#include <functional>
#include <stop_token>
#include <string>

#include "absl/status/statusor.h"
#include "deweather/v1/model.grpc.pb.h"
#include "model/base/worker_pool.h"
#include "server/restore/live_models.h"
#include "server/restore/occupancy.h"
#include "server/restore/restore.h"

namespace deweather {

class ModelService final : public v1::ModelService::CallbackService {
 public:
  // All must outlive the service; a call is in `calls` until its reply has been sent.
  ModelService(LiveModels& models, RestorePipeline& pipeline, Occupancy& calls)
      : models_(models), pipeline_(pipeline), calls_(calls) {}

  // Waits for a promotion under way: the rest of its load and one run of its warm-up, at most.
  // REQUIRES: the server has ended.
  ~ModelService() override { stop_.request_stop(); }

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const v1::GetModelRequest* request,
                                     v1::Model* response) override;
  grpc::ServerUnaryReactor* PromoteModel(grpc::CallbackServerContext* context,
                                         const v1::PromoteModelRequest* request,
                                         v1::Model* response) override;
  grpc::ServerUnaryReactor* RollbackModel(grpc::CallbackServerContext* context,
                                          const v1::RollbackModelRequest* request,
                                          v1::Model* response) override;

 private:
  using Switch = std::function<absl::StatusOr<LiveModelInfo>()>;

  grpc::ServerUnaryReactor* StartSwitch(const char* method, const std::string& caller,
                                        v1::Model* response, Switch change);

  LiveModels& models_;
  RestorePipeline& pipeline_;
  Occupancy& calls_;
  std::stop_source stop_;
  std::atomic<bool> switching_ = false;  // a promotion or rollback is queued or running

  WorkerPool readers_{1};
  WorkerPool loader_{1};  // last, both: their tasks use all of the above
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_MODEL_SERVICE_H_
