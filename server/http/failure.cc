#include "server/http/failure.h"

#include <google/protobuf/any.pb.h>
#include <google/protobuf/util/json_util.h>

#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/rpc/grpc_status.h"

namespace deweather {
namespace {

using nlohmann::json;

struct CodeName {
  const char* name;
  int http_status;
};

// By the number of the code.
constexpr std::array<CodeName, 17> kCodes = {{{"ok", 200},
                                              {"canceled", 499},
                                              {"unknown", 500},
                                              {"invalid_argument", 400},
                                              {"deadline_exceeded", 504},
                                              {"not_found", 404},
                                              {"already_exists", 409},
                                              {"permission_denied", 403},
                                              {"resource_exhausted", 429},
                                              {"failed_precondition", 400},
                                              {"aborted", 409},
                                              {"out_of_range", 400},
                                              {"unimplemented", 501},
                                              {"internal", 500},
                                              {"unavailable", 503},
                                              {"data_loss", 500},
                                              {"unauthenticated", 401}}};

const CodeName& NameOf(const grpc::Status& status) {
  const auto code = static_cast<size_t>(status.error_code());
  return code < kCodes.size() ? kCodes[code] : kCodes[grpc::StatusCode::UNKNOWN];
}

google::rpc::Status DetailsOf(const grpc::Status& status) {
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) details.Clear();
  return details;
}

// Seconds, rounded up.
std::optional<int64_t> RetryAfter(const grpc::Status& status) {
  const google::rpc::Status details = DetailsOf(status);
  google::rpc::RetryInfo retry;
  for (const google::protobuf::Any& detail : details.details()) {
    if (!detail.Is<google::rpc::RetryInfo>() || !detail.UnpackTo(&retry)) continue;
    return retry.retry_delay().seconds() + (retry.retry_delay().nanos() > 0 ? 1 : 0);
  }
  return std::nullopt;
}

// What it says, for people: {"reason": "UNKNOWN_MODEL", "domain": "deweather"}.
template <typename Detail>
std::optional<json> Debug(const google::protobuf::Any& any) {
  Detail detail;
  std::string text;
  if (!any.Is<Detail>() || !any.UnpackTo(&detail)) return std::nullopt;
  if (!google::protobuf::util::MessageToJsonString(detail, &text).ok()) return std::nullopt;
  return json::parse(text, nullptr, /*allow_exceptions=*/false);
}

json DetailJson(const google::protobuf::Any& any) {
  std::string value = absl::Base64Escape(any.value());
  value.erase(value.find_last_not_of('=') + 1);  // Connect has it without
  json detail = {{"type", any.type_url().substr(any.type_url().rfind('/') + 1)}, {"value", value}};
  std::optional<json> debug = Debug<google::rpc::ErrorInfo>(any);
  if (!debug.has_value()) debug = Debug<google::rpc::BadRequest>(any);
  if (!debug.has_value()) debug = Debug<google::rpc::RetryInfo>(any);
  if (debug.has_value()) detail["debug"] = *std::move(debug);
  return detail;
}

}  // namespace

Failure FailureOf(const absl::Status& status, int http_status) {
  return {ToGrpc(status), http_status, status};
}

int HttpStatusOf(const Failure& failure) {
  return failure.http_status != 0 ? failure.http_status : NameOf(failure.status).http_status;
}

void AddFailureHeaders(const Failure& failure, HttpReply* reply) {
  if (HttpStatusOf(failure) == 401) reply->headers.push_back({"WWW-Authenticate", "Bearer"});
  const std::optional<int64_t> seconds = RetryAfter(failure.status);
  if (seconds.has_value()) reply->headers.push_back({"Retry-After", absl::StrCat(*seconds)});
}

std::string FailureJson(const Failure& failure) {
  json error = {{"code", NameOf(failure.status).name}, {"message", failure.status.error_message()}};
  const google::rpc::Status details = DetailsOf(failure.status);
  for (const google::protobuf::Any& detail : details.details()) {
    error["details"].push_back(DetailJson(detail));
  }
  return error.dump(-1, ' ', false, json::error_handler_t::replace);
}

HttpReply FailureReply(const Failure& failure) {
  HttpReply reply = {.status = HttpStatusOf(failure),
                     .headers = {{"Content-Type", "application/json"}},
                     .body = FailureJson(failure)};
  AddFailureHeaders(failure, &reply);
  return reply;
}

}  // namespace deweather
