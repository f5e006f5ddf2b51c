#include "server/rpc/grpc_status.h"

#include <gtest/gtest.h>

#include <utility>

#include "google/rpc/status.pb.h"
#include "model/base/error_reason.h"
#include "tests/rpc/rpc_fixture.h"

namespace deweather {
namespace {

TEST(ToGrpcTest, OkIsOk) { EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok()); }

TEST(ToGrpcTest, CodesAndMessagesStay) {
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status status =
        ToGrpc(absl::Status(static_cast<absl::StatusCode>(code), "what was wrong"));
    EXPECT_EQ(static_cast<int>(status.error_code()), code);
    EXPECT_EQ(status.error_message(), "what was wrong");
    google::rpc::Status message;
    ASSERT_TRUE(message.ParseFromString(status.error_details()));
    EXPECT_EQ(message.code(), code);
    EXPECT_EQ(message.message(), "what was wrong");
    EXPECT_EQ(message.details_size(), 1);
  }
}

TEST(ToGrpcTest, DetailsOfAnOption) {
  const grpc::Status status = ToGrpc(
      WithReason(absl::InvalidArgumentError("strength is 2; it must be in 0..1"), "INVALID_OPTION"),
      {{"strength", "2"}});
  const auto info = DetailOf<google::rpc::ErrorInfo>(status);
  EXPECT_EQ(info.reason(), "INVALID_OPTION");
  EXPECT_EQ(info.domain(), "deweather");
  EXPECT_EQ(info.metadata().at("strength"), "2");
  const auto request = DetailOf<google::rpc::BadRequest>(status);
  ASSERT_EQ(request.field_violations_size(), 1);
  EXPECT_EQ(request.field_violations(0).field(), "options.strength");
  EXPECT_FALSE(DetailOf<google::rpc::RetryInfo>(status).has_retry_delay());
}

TEST(ToGrpcTest, DelayBecomesRetryInfo) {
  const absl::Status full = WithReason(absl::ResourceExhaustedError("full"), "BYTE_BUDGET");
  EXPECT_FALSE(DetailOf<google::rpc::RetryInfo>(ToGrpc(full)).has_retry_delay());
  const auto retry = DetailOf<google::rpc::RetryInfo>(
      ToGrpc(WithRetryDelay(full, absl::Seconds(3) + absl::Milliseconds(250))));
  EXPECT_EQ(retry.retry_delay().seconds(), 3);
  EXPECT_EQ(retry.retry_delay().nanos(), 250'000'000);
}

TEST(ToGrpcTest, FieldsOfAStart) {
  for (const auto& [reason, field] :
       {std::pair{"PICTURE_SIZE", "start.image_bytes"}, {"WINDOW_RANGE", "start.window"}}) {
    const auto request = DetailOf<google::rpc::BadRequest>(
        ToGrpc(WithReason(absl::InvalidArgumentError("wrong"), reason)));
    ASSERT_EQ(request.field_violations_size(), 1);
    EXPECT_EQ(request.field_violations(0).field(), field);
  }
}

// The end of a call must fit into 8 KiB.
TEST(ToGrpcTest, ALongMessageIsCutBetweenCharacters) {
  for (const std::string character : {"x", "\u00e9", "\u96e8"}) {
    std::string text = "quality ";
    while (text.size() < 5000) text += character;
    const grpc::Status status = ToGrpc(WithReason(absl::NotFoundError(text), "INVALID_OPTION"));
    const std::string shown = status.error_message();
    EXPECT_LE(shown.size(), 1024u);
    EXPECT_GT(shown.size(), 1020u);
    EXPECT_TRUE(shown.ends_with(character + "..."));
    EXPECT_EQ((shown.size() - 11) % character.size(), 0u);
    EXPECT_LT(3 * shown.size() + 4 * status.error_details().size() / 3, 6500u);
    EXPECT_EQ(DetailOf<google::rpc::ErrorInfo>(status).reason(), "INVALID_OPTION");
  }
  EXPECT_EQ(ToGrpc(absl::NotFoundError(std::string(1024, 'x'))).error_message().size(), 1024u);
}

}  // namespace
}  // namespace deweather
