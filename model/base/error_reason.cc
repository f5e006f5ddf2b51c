#include "model/base/error_reason.h"

#include "absl/strings/cord.h"

namespace deweather {
namespace {

constexpr char kReasonUrl[] = "deweather/reason";
constexpr char kRetryUrl[] = "deweather/retry_delay";  // as absl::FormatDuration writes it

}  // namespace

std::string ErrorReason(const absl::Status& status) {
  const auto reason = status.GetPayload(kReasonUrl);
  return reason.has_value() ? std::string(*reason) : absl::StatusCodeToString(status.code());
}

absl::Status WithReason(absl::Status status, const char* reason) {
  if (!status.GetPayload(kReasonUrl).has_value()) status.SetPayload(kReasonUrl, absl::Cord(reason));
  return status;
}

std::optional<absl::Duration> RetryDelay(const absl::Status& status) {
  const auto text = status.GetPayload(kRetryUrl);
  absl::Duration delay;
  if (!text.has_value() || !absl::ParseDuration(std::string(*text), &delay)) return std::nullopt;
  return delay;
}

absl::Status WithRetryDelay(absl::Status status, absl::Duration delay) {
  status.SetPayload(kRetryUrl, absl::Cord(absl::FormatDuration(delay)));
  return status;
}

}  // namespace deweather
