#include "server/rpc/restoration_service.h"

#include <memory>
#include <stop_token>
#include <string>
#include <utility>

#include "server/rpc/convert.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/large_call.h"
#include "server/rpc/stream_call.h"

namespace deweather {
namespace {

// One call, from its request to the end of its reply. `Answer` is called exactly once, even after a
// cancel; gRPC calls OnDone when that and every other reaction is over.
class RestoreCall final : public grpc::ServerUnaryReactor {
 public:
  RestoreCall(Occupancy& calls, std::string caller, v1::RestoreResponse* response)
      : place_(calls), caller_(std::move(caller)), response_(response) {}

  std::stop_token cancelled() const { return cancel_.get_token(); }

  void Answer(absl::StatusOr<RestoreResult> result) {
    if (!result.ok()) {
      LogError("Restore", caller_, result.status());
      return Finish(ToGrpc(result.status()));
    }
    ToMessage(*std::move(result), response_);
    Finish(grpc::Status::OK);
  }

 private:
  void OnCancel() override { cancel_.request_stop(); }
  void OnDone() override { delete this; }

  const Occupancy::Place place_;
  const std::string caller_;
  v1::RestoreResponse* const response_;  // gRPC's, until OnDone
  std::stop_source cancel_;
};

}  // namespace

grpc::ServerUnaryReactor* RestorationService::Restore(grpc::CallbackServerContext* context,
                                                      const v1::RestoreRequest* request,
                                                      v1::RestoreResponse* response) {
  auto* const call = new RestoreCall(parts_.calls, context->peer(), response);
  absl::StatusOr<RestoreOptions> options = ToOptions(request->options());
  if (!options.ok()) {
    parts_.pipeline.CountRefused(options.status());
    call->Answer(options.status());
    return call;
  }
  RestoreRequest work;
  // gRPC's message is not constant and nobody reads it again; a copy would double a photo's memory.
  work.image = std::move(*const_cast<v1::RestoreRequest*>(request)->mutable_image());
  work.options = *std::move(options);
  work.deadline = DeadlineOf(*context);
  work.caller = context->peer();
  work.max_reply_bytes = parts_.limits.max_send_bytes;
  work.cancel = call->cancelled();
  parts_.pipeline.Start(std::move(work), [call](absl::StatusOr<RestoreResult> result) {
    call->Answer(std::move(result));
  });
  return call;
}

BytesReactor* RestorationService::RestoreLarge(grpc::CallbackServerContext* context) {
  return std::make_shared<LargeCall>(parts_, *context)->Open();
}

BytesReactor* RestorationService::RestoreStream(grpc::CallbackServerContext* context) {
  return std::make_shared<StreamCall>(parts_, *context)->Open();
}

}  // namespace deweather
