// The Open Inference Protocol over gRPC: ModelInfer for the same pipeline as Restore, and what its clients ask
// about the server and the models.
//
// Owns     nothing; models, pipeline and occupancy must outlive the server
// Threads  thread-safe; called on gRPC's threads

#ifndef DEWEATHER_SERVER_RPC_INFERENCE_SERVICE_H_
#define DEWEATHER_SERVER_RPC_INFERENCE_SERVICE_H_

#include <atomic>
#include <string>

#include "inference/grpc_service.grpc.pb.h"
#include "model/base/server_options.h"
#include "model/base/worker_pool.h"
#include "server/restore/live_models.h"
#include "server/restore/occupancy.h"
#include "server/restore/restore.h"
#include "server/rpc/bytes_service.h"
#include "server/rpc/call_parts.h"

namespace deweather {

class InferenceService final : public BytesService<inference::GRPCInferenceService> {
 public:
  // `version` is the server's. A call is in `calls` until its reply has been sent.
  InferenceService(std::string version, LiveModels& models, RestorePipeline& pipeline,
                   Occupancy& calls, const LimitOptions& limits, const Entrance& entrance = {});

  // From now on neither the server nor a model says that it is ready; calls are served. Idempotent.
  void EndReady() { ready_ = false; }

 private:
  void TakeServerCalls();
  void TakeModelCalls();
  // Answers at once with what `tell` makes of the message.
  template <typename Request, typename Response, typename Tell>
  void TakeNow(const char* method, Tell tell);

  const std::string version_;
  LiveModels& models_;
  RestorationParts parts_;
  std::atomic<bool> ready_ = true;
  WorkerPool reader_{1};  // reads folders; joined before the rest goes
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_INFERENCE_SERVICE_H_
