#include "server/http/pace.h"

#include <gtest/gtest.h>

namespace deweather {
namespace {

constexpr absl::Duration kIdle = absl::Seconds(60);

absl::Time At(int64_t seconds) { return absl::UnixEpoch() + absl::Seconds(seconds); }

TEST(PaceTest, WhoSendsNothingHasOneIdleLimit) {
  const Pace pace(kIdle, At(0));
  EXPECT_EQ(pace.deadline(), At(60));
}

TEST(PaceTest, AFewBytesBuyNoTime) {
  Pace pace(kIdle, At(0));
  for (int second = 1; second < 60; ++second) pace.Moved(1000, At(second));
  EXPECT_EQ(pace.deadline(), At(60));
}

TEST(PaceTest, EnoughBytesBuyAnother) {
  Pace pace(kIdle, At(0));
  pace.Moved(Pace::kBytes - 1, At(10));
  EXPECT_EQ(pace.deadline(), At(60));
  pace.Moved(1, At(20));
  EXPECT_EQ(pace.deadline(), At(80));
  pace.Moved(Pace::kBytes, At(30));
  EXPECT_EQ(pace.deadline(), At(90));
}

TEST(PaceTest, ButNotMoreThanTenInAll) {
  Pace pace(kIdle, At(0));
  for (int second = 50; second < 590; second += 50) pace.Moved(Pace::kBytes, At(second));
  EXPECT_EQ(pace.deadline(), At(600));
}

}  // namespace
}  // namespace deweather
