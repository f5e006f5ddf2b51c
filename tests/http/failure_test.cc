#include "server/http/failure.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/escaping.h"
#include "google/rpc/error_details.pb.h"
#include "model/base/error_reason.h"

namespace deweather {
namespace {

using nlohmann::json;

std::string HeaderOf(const HttpReply& reply, const std::string& name) {
  for (const HttpHeader& header : reply.headers) {
    if (header.name == name) return header.value;
  }
  return "";
}

TEST(FailureTest, EveryCodeHasItsStatusAndName) {
  const std::tuple<absl::StatusCode, int, const char*> codes[] = {
      {absl::StatusCode::kCancelled, 499, "canceled"},
      {absl::StatusCode::kUnknown, 500, "unknown"},
      {absl::StatusCode::kInvalidArgument, 400, "invalid_argument"},
      {absl::StatusCode::kDeadlineExceeded, 504, "deadline_exceeded"},
      {absl::StatusCode::kNotFound, 404, "not_found"},
      {absl::StatusCode::kAlreadyExists, 409, "already_exists"},
      {absl::StatusCode::kPermissionDenied, 403, "permission_denied"},
      {absl::StatusCode::kResourceExhausted, 429, "resource_exhausted"},
      {absl::StatusCode::kFailedPrecondition, 400, "failed_precondition"},
      {absl::StatusCode::kAborted, 409, "aborted"},
      {absl::StatusCode::kOutOfRange, 400, "out_of_range"},
      {absl::StatusCode::kUnimplemented, 501, "unimplemented"},
      {absl::StatusCode::kInternal, 500, "internal"},
      {absl::StatusCode::kUnavailable, 503, "unavailable"},
      {absl::StatusCode::kDataLoss, 500, "data_loss"},
      {absl::StatusCode::kUnauthenticated, 401, "unauthenticated"}};
  for (const auto& [code, http_status, name] : codes) {
    const HttpReply reply = FailureReply(FailureOf(absl::Status(code, "why")));
    EXPECT_EQ(reply.status, http_status) << name;
    EXPECT_EQ(HeaderOf(reply, "Content-Type"), "application/json");
    const json error = json::parse(reply.body);
    EXPECT_EQ(error["code"], name);
    EXPECT_EQ(error["message"], "why");
  }
}

TEST(FailureTest, DetailsAreThoseOfTheCall) {
  const absl::Status status = WithReason(
      absl::InvalidArgumentError("quality is 101; it must be in [0, 100]"), "INVALID_OPTION");
  const json error = json::parse(FailureReply(FailureOf(status)).body);
  ASSERT_EQ(error["details"].size(), 2U);
  const json& info = error["details"][0];
  EXPECT_EQ(info["type"], "google.rpc.ErrorInfo");
  EXPECT_EQ(info["debug"]["reason"], "INVALID_OPTION");
  std::string bytes;
  ASSERT_TRUE(absl::Base64Unescape(info["value"].get<std::string>(), &bytes));
  EXPECT_EQ(info["value"].get<std::string>().find('='), std::string::npos);
  google::rpc::ErrorInfo parsed;
  ASSERT_TRUE(parsed.ParseFromString(bytes));
  EXPECT_EQ(parsed.reason(), "INVALID_OPTION");
  EXPECT_EQ(error["details"][1]["debug"]["fieldViolations"][0]["field"], "options.quality");
}

TEST(FailureTest, ARetryDelayIsRoundedUp) {
  const HttpReply reply = FailureReply(
      FailureOf(WithRetryDelay(absl::ResourceExhaustedError("full"), absl::Milliseconds(1200))));
  EXPECT_EQ(HeaderOf(reply, "Retry-After"), "2");
  EXPECT_EQ(HeaderOf(FailureReply(FailureOf(absl::InternalError(""))), "Retry-After"), "");
}

TEST(FailureTest, WhoHasNoTokenIsToldWhichKind) {
  const HttpReply reply = FailureReply(FailureOf(absl::UnauthenticatedError("no token")));
  EXPECT_EQ(HeaderOf(reply, "WWW-Authenticate"), "Bearer");
}

TEST(FailureTest, BytesThatAreNoTextAreStillJson) {
  const HttpReply reply = FailureReply({.status = {grpc::StatusCode::NOT_FOUND, "a\xff"}});
  EXPECT_EQ(json::parse(reply.body)["code"], "not_found");
  const HttpReply odd =
      FailureReply({.status = {static_cast<grpc::StatusCode>(77), "x", "no details"}});
  EXPECT_EQ(odd.status, 500);
  EXPECT_EQ(json::parse(odd.body)["code"], "unknown");
}

}  // namespace
}  // namespace deweather
