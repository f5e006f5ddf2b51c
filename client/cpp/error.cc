#include "deweather/error.h"

namespace deweather {

struct Error::Details {
  ErrorCode code;
  std::string message;
  std::string reason;
  std::chrono::milliseconds retry_delay;
  std::string request_id;
};

const char* CodeName(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kCancelled:
      return "CANCELLED";
    case ErrorCode::kInvalidArgument:
      return "INVALID_ARGUMENT";
    case ErrorCode::kDeadlineExceeded:
      return "DEADLINE_EXCEEDED";
    case ErrorCode::kNotFound:
      return "NOT_FOUND";
    case ErrorCode::kAlreadyExists:
      return "ALREADY_EXISTS";
    case ErrorCode::kPermissionDenied:
      return "PERMISSION_DENIED";
    case ErrorCode::kResourceExhausted:
      return "RESOURCE_EXHAUSTED";
    case ErrorCode::kFailedPrecondition:
      return "FAILED_PRECONDITION";
    case ErrorCode::kAborted:
      return "ABORTED";
    case ErrorCode::kOutOfRange:
      return "OUT_OF_RANGE";
    case ErrorCode::kUnimplemented:
      return "UNIMPLEMENTED";
    case ErrorCode::kInternal:
      return "INTERNAL";
    case ErrorCode::kUnavailable:
      return "UNAVAILABLE";
    case ErrorCode::kDataLoss:
      return "DATA_LOSS";
    case ErrorCode::kUnauthenticated:
      return "UNAUTHENTICATED";
    default:
      return "UNKNOWN";
  }
}

Error::Error(ErrorCode code, const std::string& message, const std::string& reason,
             std::chrono::milliseconds retry_delay, const std::string& request_id)
    : std::runtime_error(std::string(CodeName(code)) + ": " + message),
      details_(std::make_shared<Details>(Details{code, message, reason, retry_delay, request_id})) {
}

Error::Error(const Error&) noexcept = default;
Error& Error::operator=(const Error&) noexcept = default;
Error::~Error() = default;

ErrorCode Error::code() const noexcept { return details_->code; }
const std::string& Error::message() const noexcept { return details_->message; }
const std::string& Error::reason() const noexcept { return details_->reason; }
std::chrono::milliseconds Error::retry_delay() const noexcept { return details_->retry_delay; }
const std::string& Error::request_id() const noexcept { return details_->request_id; }

}  // namespace deweather
