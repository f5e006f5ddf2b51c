#include "server/rpc/restoration_service.h"

#include <spdlog/spdlog.h>

#include <chrono>
#include <map>
#include <stop_token>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "server/restore/error_reason.h"
#include "server/rpc/convert.h"
#include "server/rpc/grpc_status.h"

namespace deweather {
namespace {

absl::Time DeadlineOf(const grpc::CallbackServerContext& context) {
  const std::chrono::system_clock::time_point deadline = context.deadline();
  return deadline == std::chrono::system_clock::time_point::max() ? absl::InfiniteFuture()
                                                                  : absl::FromChrono(deadline);
}

bool IsServersFault(absl::StatusCode code) {
  return code == absl::StatusCode::kInternal || code == absl::StatusCode::kUnknown ||
         code == absl::StatusCode::kDataLoss;
}

// One call, from its request to the end of its reply. `Answer` is called exactly once, even after a
// cancel; gRPC calls OnDone when that and every other reaction is over.
class RestoreCall final : public grpc::ServerUnaryReactor {
 public:
  RestoreCall(Occupancy& calls, std::string peer, v1::RestoreResponse* response,
              int64_t max_send_bytes)
      : place_(calls),
        peer_(std::move(peer)),
        response_(response),
        max_send_bytes_(max_send_bytes) {}

  std::stop_token cancelled() const { return cancel_.get_token(); }

  void Answer(absl::StatusOr<RestoreResult> result) {
    if (!result.ok()) return Fail(result.status());
    ToMessage(*std::move(result), response_);
    const size_t bytes = response_->ByteSizeLong();
    if (bytes <= static_cast<size_t>(max_send_bytes_)) return Finish(grpc::Status::OK);
    response_->Clear();
    Fail(WithReason(
             absl::ResourceExhaustedError(absl::StrFormat(
                 "the reply has %d bytes; the server sends at most %d", bytes, max_send_bytes_)),
             "REPLY_SIZE"),
         {{"bytes", std::to_string(bytes)}, {"limit", std::to_string(max_send_bytes_)}});
  }

 private:
  void Fail(const absl::Status& error, const std::map<std::string, std::string>& metadata = {}) {
    const auto level = IsServersFault(error.code()) ? spdlog::level::err : spdlog::level::debug;
    spdlog::log(level, "Restore for {}: {}", peer_, error.ToString());
    Finish(ToGrpc(error, metadata));
  }

  void OnCancel() override { cancel_.request_stop(); }
  void OnDone() override { delete this; }

  const Occupancy::Place place_;
  const std::string peer_;
  v1::RestoreResponse* const response_;  // gRPC's, until OnDone
  const int64_t max_send_bytes_;
  std::stop_source cancel_;
};

}  // namespace

grpc::ServerUnaryReactor* RestorationService::Restore(grpc::CallbackServerContext* context,
                                                      const v1::RestoreRequest* request,
                                                      v1::RestoreResponse* response) {
  auto* const call = new RestoreCall(calls_, context->peer(), response, max_send_bytes_);
  absl::StatusOr<RestoreOptions> options = ToOptions(request->options());
  if (!options.ok()) {
    pipeline_.CountRefused(options.status());
    call->Answer(options.status());
    return call;
  }
  RestoreRequest work;
  // gRPC's message is not constant and nobody reads it again; a copy would double a photo's memory.
  work.image = std::move(*const_cast<v1::RestoreRequest*>(request)->mutable_image());
  work.options = *std::move(options);
  work.deadline = DeadlineOf(*context);
  work.caller = context->peer();
  work.cancel = call->cancelled();
  pipeline_.Start(std::move(work), [call](absl::StatusOr<RestoreResult> result) {
    call->Answer(std::move(result));
  });
  return call;
}

}  // namespace deweather
