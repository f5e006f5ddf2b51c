#include "server/rpc/grpc_status.h"

#include <iterator>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "model/base/error_reason.h"

namespace deweather {
namespace {

constexpr char kDomain[] = "deweather";

// All that ends a call has 8 KiB in HTTP/2: the message once as it is, where a byte may take three, and
// up to twice in base64.
constexpr size_t kMaxMessageBytes = 1024;
constexpr char kCut[] = "...";

bool IsInsideCharacter(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

// Ends in a whole character of UTF-8.
std::string Shortened(std::string message) {
  if (message.size() <= kMaxMessageBytes) return message;
  size_t end = kMaxMessageBytes - std::size(kCut) + 1;
  while (end > 0 && IsInsideCharacter(message[end])) --end;
  return message.substr(0, end) + kCut;
}

// The field of the request that an error with this reason is about; empty: none.
std::string FieldOf(const std::string& reason, const std::string& message) {
  if (reason == "INVALID_IMAGE" || reason == "PIXEL_LIMIT") return "image";
  if (reason == "NOT_ENCODABLE") return "options.format";
  if (reason == "PICTURE_SIZE") return "start.image_bytes";
  if (reason == "WINDOW_RANGE") return "start.window";
  if (reason == "INVALID_OPTION" || reason == "UNSUPPORTED_OPTION") {
    return absl::StrCat("options.", message.substr(0, message.find(' ')));
  }
  return "";
}

google::rpc::RetryInfo RetryInfo(absl::Duration delay) {
  absl::Duration rest;
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(absl::IDivDuration(delay, absl::Seconds(1), &rest));
  retry.mutable_retry_delay()->set_nanos(static_cast<int>(absl::ToInt64Nanoseconds(rest)));
  return retry;
}

google::rpc::BadRequest BadRequest(const std::string& field, const std::string& description) {
  google::rpc::BadRequest bad;
  google::rpc::BadRequest::FieldViolation& violation = *bad.add_field_violations();
  violation.set_field(field);
  violation.set_description(description);
  return bad;
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status,
                    const std::map<std::string, std::string>& metadata) {
  if (status.ok()) return grpc::Status::OK;
  google::rpc::Status message;
  message.set_code(static_cast<int>(status.code()));
  message.set_message(Shortened(std::string(status.message())));
  google::rpc::ErrorInfo info;
  info.set_reason(ErrorReason(status));
  info.set_domain(kDomain);
  info.mutable_metadata()->insert(metadata.begin(), metadata.end());
  message.add_details()->PackFrom(info);
  const std::string field = FieldOf(info.reason(), message.message());
  if (!field.empty()) message.add_details()->PackFrom(BadRequest(field, message.message()));
  const std::optional<absl::Duration> delay = RetryDelay(status);
  if (delay.has_value()) message.add_details()->PackFrom(RetryInfo(*delay));
  return {static_cast<grpc::StatusCode>(status.code()), message.message(),
          message.SerializeAsString()};
}

}  // namespace deweather
