#include "client/channel.h"

#include <gtest/gtest.h>

#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace deweather {
namespace {

TEST(FromGrpcTest, CodesStayAndMessagesAreOneLine) {
  EXPECT_TRUE(FromGrpc(grpc::Status::OK).ok());
  const absl::Status status = FromGrpc({grpc::StatusCode::UNAVAILABLE, "no\nserver"});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "no server");
}

TEST(ErrorLineTest, NamesCodeAndSubject) {
  const absl::Status status = absl::NotFoundError("no such model");
  EXPECT_EQ(ErrorLine(status), "NOT_FOUND: no such model");
  EXPECT_EQ(ErrorLine(status, "a.png"), "NOT_FOUND: a.png: no such model");
}

TEST(ReasonOfTest, FindsErrorInfoAmongDetails) {
  google::rpc::Status message;
  message.add_details()->PackFrom(google::rpc::RetryInfo());
  google::rpc::ErrorInfo info;
  info.set_reason("TILE_BUDGET");
  message.add_details()->PackFrom(info);
  const grpc::Status status(grpc::StatusCode::RESOURCE_EXHAUSTED, "", message.SerializeAsString());
  EXPECT_EQ(ReasonOf(status), "TILE_BUDGET");
}

TEST(RetryDelayOfTest, IsRetryInfosOrNone) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(1);
  retry.mutable_retry_delay()->set_nanos(500'000'000);
  google::rpc::Status message;
  message.add_details()->PackFrom(google::rpc::ErrorInfo());
  EXPECT_EQ(RetryDelayOf({grpc::StatusCode::UNAVAILABLE, "", message.SerializeAsString()}),
            absl::ZeroDuration());
  message.add_details()->PackFrom(retry);
  EXPECT_EQ(RetryDelayOf({grpc::StatusCode::UNAVAILABLE, "", message.SerializeAsString()}),
            absl::Milliseconds(1500));
}

TEST(ReasonOfTest, IsEmptyWithoutOne) {
  EXPECT_EQ(ReasonOf(grpc::Status::OK), "");
  EXPECT_EQ(ReasonOf({grpc::StatusCode::INTERNAL, "m", "\xff\xff\xff"}), "");
}

}  // namespace
}  // namespace deweather
