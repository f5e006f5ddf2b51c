#include "client/restore_picture.h"

#include <thread>

#include "client/call_headers.h"
#include "client/channel.h"
#include "client/restore_large.h"
#include "client/stop_signal.h"

namespace deweather {
namespace {

constexpr int kMostRefused = 5;
constexpr int kMostLost = 1;
constexpr absl::Duration kRetryPause = absl::Milliseconds(200);
// What is larger goes in chunks.
constexpr size_t kMaxMessageBytes = size_t{32} << 20;

// Whether chunks may do what a message could not. gRPC gives no reason when it refuses a size itself.
bool IsTooLargeForAMessage(const grpc::Status& status) {
  const std::string reason = ReasonOf(status);
  return status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED &&
         (reason.empty() || reason == "REPLY_SIZE");
}

grpc::Status AttemptOnce(const PictureCall& call,
                         const std::function<grpc::Status(grpc::ClientContext&)>& attempt) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(call.deadline));
  SetRequestId(call.request_id, context);
  std::jthread canceller;
  if (call.stop != nullptr) canceller = CancelOn(*call.stop, context);
  return attempt(context);
}

}  // namespace

grpc::Status AttemptPicture(const PictureCall& call,
                            const std::function<grpc::Status(grpc::ClientContext&)>& attempt) {
  const std::atomic<bool> never = false;
  for (int refused = 0, lost = 0;;) {
    const grpc::Status status = AttemptOnce(call, attempt);
    if (status.error_code() != grpc::StatusCode::UNAVAILABLE || !call.repeats) return status;
    const std::string reason = ReasonOf(status);
    const bool again =
        reason == "DRAINING" ? ++refused <= kMostRefused : reason.empty() && ++lost <= kMostLost;
    if (!again) return status;
    if (!SleepUnless(call.stop != nullptr ? *call.stop : never, kRetryPause)) {
      return {grpc::StatusCode::CANCELLED, "interrupted"};
    }
  }
}

grpc::Status RestorePicture(v1::RestorationService::StubInterface& stub, const PictureCall& call,
                            const v1::RestoreRequest& request,
                            const std::function<void(int done, int tiles)>& on_progress,
                            v1::RestoreResponse* response) {
  const auto in_chunks = [&](grpc::ClientContext& context) {
    return RestoreLarge(stub, context, request.options(), request.image(), on_progress, response);
  };
  return AttemptPicture(call, [&](grpc::ClientContext& context) {
    response->Clear();
    if (request.image().size() > kMaxMessageBytes) return in_chunks(context);
    const grpc::Status status = stub.Restore(&context, request, response);
    if (!IsTooLargeForAMessage(status)) return status;
    const grpc::Status large = AttemptOnce(call, in_chunks);
    return large.error_code() == grpc::StatusCode::UNIMPLEMENTED ? status : large;
  });
}

}  // namespace deweather
