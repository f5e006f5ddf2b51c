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
#include "server/rpc/bytes_service.h"
#include "server/rpc/call_parts.h"
#include "server/rpc/message.h"

namespace deweather {

// The service whose streams' messages are bytes (server/rpc/streaming_call.h says why).
using BytesRestorationService =
    BytesService<v1::RestorationService,
                 v1::RestorationService::WithRawCallbackMethod_RestoreLarge<
                     v1::RestorationService::WithRawCallbackMethod_RestoreStream<
                         v1::RestorationService::Service>>>;

class RestorationService final : public BytesRestorationService {
 public:
  // A call is in `calls` until its reply has been sent.
  RestorationService(RestorePipeline& pipeline, Occupancy& calls, const LimitOptions& limits,
                     const Entrance& entrance = {})
      : parts_{{v1::RestorationService::service_full_name(), entrance, calls, limits},
               pipeline,
               UnreadReplies(limits.max_transport_bytes)} {
    TakeRestore();
  }

  // Ends the streams that are open, each as soon as what it has sent is answered, with UNAVAILABLE;
  // so it does with those that come later. For just before the pipeline's BeginDrain. Idempotent.
  void BeginDrain() { parts_.open.BeginDrain(); }

  // Ends the streams whose callers are not let in any more, with UNAUTHENTICATED or PERMISSION_DENIED.
  void AccessChanged() { parts_.open.AccessChanged(); }

  BytesReactor* RestoreLarge(grpc::CallbackServerContext* context) override;
  BytesReactor* RestoreStream(grpc::CallbackServerContext* context) override;

 private:
  void TakeRestore();

  template <typename Call>
  BytesReactor* OpenStream(const char* method, grpc::CallbackServerContext& context);

  RestorationParts parts_;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_RESTORATION_SERVICE_H_
