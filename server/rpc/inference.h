// The pictures of one ModelInfer, restored together: each is a request of the pipeline, all of one version.
// The first that fails ends the others, and is the answer.
//
// Owns     itself, until it is done
// Threads  thread-safe; `done` runs on a worker or inside StartInference, never under a lock
// Errors   those of the pipeline (server/restore/restore.h), and FAILED_PRECONDITION NOT_ROUTED: the routing of a
//          model that routes nothing; NOT_FOUND UNKNOWN_VERSION; RESOURCE_EXHAUSTED REPLY_SIZE of all together

#ifndef DEWEATHER_SERVER_RPC_INFERENCE_H_
#define DEWEATHER_SERVER_RPC_INFERENCE_H_

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "inference/grpc_service.pb.h"
#include "server/restore/live_models.h"
#include "server/restore/restore.h"
#include "server/rpc/call_figures.h"
#include "server/rpc/call_parts.h"
#include "server/rpc/inference_request.h"

namespace deweather {

// What all of them share; must outlive them.
struct InferenceParts {
  LiveModels& models;
  RestorePipeline& pipeline;
  UnreadReplies& unread;
  const LimitOptions& limits;
};

// Who asks, and for how long.
struct InferenceCaller {
  std::string name;  // whose quota it uses
  absl::Time deadline = absl::InfiniteFuture();
  std::stop_source cancel;  // of who asks; a failure asks for a stop too
};

struct InferenceReply {
  inference::ModelInferResponse message;
  CallFigures figures;
  std::vector<std::shared_ptr<UnreadReplies::Share>> room;  // until the message has been sent
};

// Called exactly once. Must not throw.
using InferenceDone = std::function<void(absl::StatusOr<InferenceReply>)>;

void StartInference(const InferenceParts& parts, InferenceRequest request, InferenceCaller caller,
                    InferenceDone done);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_INFERENCE_H_
