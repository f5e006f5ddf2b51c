// RestorationService on gRPC's callback API: hands requests to the pipeline and answers what comes
// back. Reactions never block: decoding, waiting and encoding are the pipeline's.
//
// Owns     nothing; the pipeline and the occupancy must outlive the server
// Threads  thread-safe; called on gRPC's threads

#ifndef DEWEATHER_SERVER_RPC_RESTORATION_SERVICE_H_
#define DEWEATHER_SERVER_RPC_RESTORATION_SERVICE_H_

#include <cstdint>

#include "deweather/v1/restoration.grpc.pb.h"
#include "server/restore/occupancy.h"
#include "server/restore/restore.h"

namespace deweather {

class RestorationService final : public v1::RestorationService::CallbackService {
 public:
  // A reply larger than `max_send_bytes` becomes RESOURCE_EXHAUSTED that names both sizes. A call is
  // in `calls` until its reply has been sent.
  RestorationService(RestorePipeline& pipeline, Occupancy& calls, int64_t max_send_bytes)
      : pipeline_(pipeline), calls_(calls), max_send_bytes_(max_send_bytes) {}

  grpc::ServerUnaryReactor* Restore(grpc::CallbackServerContext* context,
                                    const v1::RestoreRequest* request,
                                    v1::RestoreResponse* response) override;

 private:
  RestorePipeline& pipeline_;
  Occupancy& calls_;
  const int64_t max_send_bytes_;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_RESTORATION_SERVICE_H_
