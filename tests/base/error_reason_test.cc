#include "model/base/error_reason.h"

#include <gtest/gtest.h>

namespace deweather {
namespace {

TEST(ErrorReasonTest, TheFirstReasonStays) {
  const absl::Status status = WithReason(absl::InternalError("x"), "MODEL_FAILED");
  EXPECT_EQ(ErrorReason(WithReason(status, "OTHER")), "MODEL_FAILED");
  EXPECT_EQ(ErrorReason(absl::CancelledError("x")), "CANCELLED");
  EXPECT_TRUE(WithReason(absl::OkStatus(), "OTHER").ok());
}

TEST(ErrorReasonTest, TheDelayTravelsWithTheStatus) {
  const absl::Status status = absl::ResourceExhaustedError("x");
  EXPECT_EQ(RetryDelay(status), std::nullopt);
  EXPECT_EQ(RetryDelay(WithRetryDelay(status, absl::Milliseconds(1500))), absl::Milliseconds(1500));
}

}  // namespace
}  // namespace deweather
