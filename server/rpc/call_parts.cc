#include "server/rpc/call_parts.h"

#include <chrono>
#include <utility>

#include "absl/time/clock.h"
#include "model/base/error_reason.h"

namespace deweather {
UnreadReplies::UnreadReplies(int64_t max_bytes)
    : room_(std::make_shared<Admission>(
          AdmissionOptions{.max_bytes = max_bytes, .max_caller_percent = 100}, /*max_batch=*/1,
          /*workers=*/1)) {}

absl::StatusOr<UnreadReplies::Share> UnreadReplies::Take(const std::string& caller, int64_t bytes) {
  auto share = room_->Admit({.caller = caller, .bytes = bytes}, absl::Now());
  if (!share.ok()) return share.status();
  return Share(share->release(), [room = room_](Admission::Share* held) { delete held; });
}

std::shared_ptr<UnreadReplies::Share> UnreadReplies::TakeFor(RestoreRequest& request) {
  auto place = std::make_shared<Share>();
  request.take_reply = [unread = *this, place, caller = request.caller](int64_t bytes) mutable {
    absl::StatusOr<Share> share = unread.Take(caller, bytes);
    if (share.ok()) *place = *std::move(share);
    return share.status();
  };
  return place;
}

absl::Time DeadlineOf(const grpc::CallbackServerContext& context) {
  const std::chrono::system_clock::time_point deadline = context.deadline();
  return deadline == std::chrono::system_clock::time_point::max() ? absl::InfiniteFuture()
                                                                  : absl::FromChrono(deadline);
}

bool IsServersFault(const absl::Status& error) {
  if (absl::IsDataLoss(error)) return ErrorReason(error) != "CHECKSUM";  // of what a caller sent
  return absl::IsInternal(error) || absl::IsUnknown(error);
}

absl::Status ForCallers(const absl::Status& status) {
  if (ErrorReason(status) != "READ_ONLY") return status;
  return WithReason(absl::FailedPreconditionError(
                        "this server has its models read-only: ask the one that runs jobs"),
                    "READ_ONLY");
}

absl::Status Draining() {
  return WithReason(absl::UnavailableError("the server is draining"), "DRAINING");
}

}  // namespace deweather
