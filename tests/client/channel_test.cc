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

TEST(CheckAddressTest, HostAndPort) {
  for (const char* const good : {"127.0.0.1:50051", "localhost:1", "[::1]:65535", "a-b.c:80"}) {
    EXPECT_TRUE(CheckAddress(good).ok()) << good;
  }
  for (const char* const bad : {"", ":", "127.0.0.1", "localhost:", ":50051", "h:0", "h:65536",
                                "h:-1", "h:http", "::1:80", "[]:80", "a b:80", "http://h:80"}) {
    const absl::Status status = CheckAddress(bad);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_NE(status.message().find("'" + std::string(bad) + "'"), absl::string_view::npos);
  }
}

TEST(IsUtf8Test, TakesWhatMessagesTake) {
  for (const char* const good :
       {"", "rain", "\u00e9", "\u65e5\u672c", "\U0001f327", "\U0010ffff"}) {
    EXPECT_TRUE(IsUtf8(good)) << good;
  }
  for (const char* const bad : {"\xff", "a\x80", "\xc3", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80",
                                "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe6\x97z"}) {
    EXPECT_FALSE(IsUtf8(bad)) << bad;
  }
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
