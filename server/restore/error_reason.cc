#include "server/restore/error_reason.h"

#include "absl/strings/cord.h"

namespace deweather {
namespace {

constexpr char kReasonUrl[] = "deweather/reason";

}  // namespace

std::string ErrorReason(const absl::Status& status) {
  const auto reason = status.GetPayload(kReasonUrl);
  return reason.has_value() ? std::string(*reason) : absl::StatusCodeToString(status.code());
}

absl::Status WithReason(absl::Status status, const char* reason) {
  if (!status.GetPayload(kReasonUrl).has_value()) status.SetPayload(kReasonUrl, absl::Cord(reason));
  return status;
}

}  // namespace deweather
