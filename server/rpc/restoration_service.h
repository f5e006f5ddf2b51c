// RestorationService on gRPC's callback API: hands requests to the pipeline and answers what comes
// back. Reactions never block: decoding, waiting and encoding are the pipeline's.
//
// Owns     nothing; the pipeline and the occupancy must outlive the server
// Threads  thread-safe; called on gRPC's threads

#ifndef DEWEATHER_SERVER_RPC_RESTORATION_SERVICE_H_
#define DEWEATHER_SERVER_RPC_RESTORATION_SERVICE_H_

#include "deweather/v1/restoration.grpc.pb.h"
#include "model/base/server_options.h"
#include "server/restore/occupancy.h"
#include "server/restore/restore.h"
#include "server/rpc/call_parts.h"

namespace deweather {

class RestorationService final : public v1::RestorationService::CallbackService {
 public:
  using LargeReactor = grpc::ServerBidiReactor<v1::RestoreLargeRequest, v1::RestoreLargeResponse>;
  using StreamReactor =
      grpc::ServerBidiReactor<v1::RestoreStreamRequest, v1::RestoreStreamResponse>;

  // A call is in `calls` until its reply has been sent.
  RestorationService(RestorePipeline& pipeline, Occupancy& calls, const LimitOptions& limits)
      : parts_{pipeline, calls, limits, UnreadReplies(limits.max_transport_bytes), {}} {}

  // Ends the streams that are open, each as soon as what it has sent is answered, with UNAVAILABLE;
  // so it does with those that come later. For just before the pipeline's BeginDrain. Idempotent.
  void BeginDrain() { parts_.open.BeginDrain(); }

  grpc::ServerUnaryReactor* Restore(grpc::CallbackServerContext* context,
                                    const v1::RestoreRequest* request,
                                    v1::RestoreResponse* response) override;

  LargeReactor* RestoreLarge(grpc::CallbackServerContext* context) override;
  StreamReactor* RestoreStream(grpc::CallbackServerContext* context) override;

 private:
  CallParts parts_;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_RESTORATION_SERVICE_H_
