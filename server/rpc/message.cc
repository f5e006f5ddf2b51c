#include "server/rpc/message.h"

#include "absl/strings/str_format.h"
#include "model/base/error_reason.h"

namespace deweather {

absl::Status Malformed(const std::string& type) {
  return WithReason(absl::InvalidArgumentError(
                        absl::StrFormat("a message cannot be parsed; it must be a %s", type)),
                    "MALFORMED_MESSAGE");
}

absl::Status CheckMessageSize(const std::string& type, int64_t bytes, int64_t limit) {
  if (bytes <= limit) return absl::OkStatus();
  return WithReason(absl::ResourceExhaustedError(absl::StrFormat(
                        "the message has %d bytes; a %s has at most %d", bytes, type, limit)),
                    "MESSAGE_SIZE");
}

absl::Status NoMessage() { return absl::CancelledError("no whole message has come"); }

}  // namespace deweather
