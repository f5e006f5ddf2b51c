#include "client/retry.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace deweather {
namespace {

using grpc::StatusCode;

grpc::Status WithReasonOf(StatusCode code, const std::string& reason) {
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  google::rpc::Status message;
  message.add_details()->PackFrom(info);
  return {code, "refused", message.SerializeAsString()};
}

TEST(BackoffTest, PausesDoubleUpToTheLongest) {
  Backoff backoff(RetryOptions{});
  const absl::Time now = absl::FromUnixSeconds(1000);
  std::vector<double> pauses;
  for (int i = 0; i < 5; ++i) pauses.push_back(absl::ToDoubleSeconds(*backoff.Next(now)));
  EXPECT_EQ(pauses, (std::vector<double>{0.5, 1, 2, 2, 2}));
}

TEST(BackoffTest, PatienceCountsFromTheFirstFailure) {
  Backoff backoff({.patience = absl::Seconds(60)});
  const absl::Time start = absl::FromUnixSeconds(1000);
  EXPECT_FALSE(backoff.failing());
  EXPECT_TRUE(backoff.Next(start));
  EXPECT_TRUE(backoff.failing());
  EXPECT_EQ(backoff.Next(start + absl::Milliseconds(59'900)), absl::Milliseconds(100));
  EXPECT_EQ(backoff.Next(start + absl::Seconds(60)), std::nullopt);
}

TEST(BackoffTest, AnAnswerBeginsAnew) {
  Backoff backoff({.patience = absl::Seconds(60)});
  const absl::Time start = absl::FromUnixSeconds(1000);
  backoff.Next(start);
  backoff.Next(start);
  backoff.Answered();
  EXPECT_FALSE(backoff.failing());
  EXPECT_EQ(backoff.Next(start + absl::Hours(1)), absl::Milliseconds(500));
}

TEST(IsBrokenTest, WhatTheServerRefusesIsNot) {
  EXPECT_TRUE(IsBroken({StatusCode::UNAVAILABLE, "Socket closed"}));
  EXPECT_TRUE(IsBroken(WithReasonOf(StatusCode::UNAVAILABLE, "DRAINING")));
  EXPECT_TRUE(IsBroken({StatusCode::UNKNOWN, "Stream removed"}));
  EXPECT_TRUE(IsBroken({StatusCode::INTERNAL, "RST_STREAM"}));
  EXPECT_TRUE(IsBroken({StatusCode::CANCELLED, "CANCELLED"}));
  EXPECT_FALSE(IsBroken(WithReasonOf(StatusCode::INTERNAL, "EVALUATION_FAILED")));
  EXPECT_TRUE(IsBroken(WithReasonOf(StatusCode::DEADLINE_EXCEEDED, "STREAM_IDLE")));
  EXPECT_FALSE(IsBroken({StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded"}));
  EXPECT_FALSE(IsBroken({StatusCode::NOT_FOUND, "no job"}));
  EXPECT_FALSE(IsBroken(grpc::Status::OK));
}

class CallUntilAnsweredTest : public testing::Test {
 protected:
  grpc::Status Call(const std::function<grpc::Status(Backoff&)>& attempt) {
    return CallUntilAnswered(options_, stop_, [&](Backoff& backoff) {
      ++attempts_;
      return attempt(backoff);
    });
  }

  RetryOptions options_ = {.patience = absl::Hours(1), .first_pause = absl::Milliseconds(1)};
  std::atomic<bool> stop_ = false;
  int attempts_ = 0;
};

TEST_F(CallUntilAnsweredTest, TriesAgainAndSaysSoOnceForEachBreak) {
  testing::internal::CaptureStderr();
  const grpc::Status status = Call([&](Backoff& backoff) {
    if (attempts_ == 4) backoff.Answered();
    return attempts_ < 7 ? grpc::Status(StatusCode::UNAVAILABLE, "gone") : grpc::Status::OK;
  });
  const std::string line = "UNAVAILABLE: gone; trying again for up to 1h\n";
  EXPECT_EQ(testing::internal::GetCapturedStderr(), line + "connected again\n" + line);
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(attempts_, 7);
}

TEST_F(CallUntilAnsweredTest, ARefusalIsTheAnswer) {
  const grpc::Status status =
      Call([](Backoff&) { return grpc::Status(StatusCode::NOT_FOUND, "no job"); });
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(attempts_, 1);
}

TEST_F(CallUntilAnsweredTest, PatienceEnds) {
  options_.patience = absl::Milliseconds(5);
  testing::internal::CaptureStderr();
  const grpc::Status status =
      Call([](Backoff&) { return grpc::Status(StatusCode::UNAVAILABLE, "gone"); });
  testing::internal::GetCapturedStderr();
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_GE(attempts_, 2);
}

TEST_F(CallUntilAnsweredTest, StopEndsTheLongestPause) {
  options_.first_pause = absl::Hours(1);
  testing::internal::CaptureStderr();
  std::jthread stopper;
  const grpc::Status status = Call([&](Backoff&) {
    stopper = std::jthread([&] { stop_ = true; });
    return grpc::Status(StatusCode::UNAVAILABLE, "gone");
  });
  testing::internal::GetCapturedStderr();
  EXPECT_EQ(status.error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(attempts_, 1);
}

}  // namespace
}  // namespace deweather
