#include "server/breakdown.h"

#include <gtest/gtest.h>

#include <thread>

#include "model/base/stopwatch.h"
#include "tests/clock_step.h"

namespace deweather {
namespace {

TEST(BreakdownTest, IsTheServersResult) {
  Breakdown breakdown;
  breakdown.EndWaitForSignal();  // else the report would end this program
  EXPECT_TRUE(breakdown.WaitFor(absl::ZeroDuration()).ok());
  std::thread device([&breakdown] { breakdown.Report(absl::InternalError("it burns")); });
  EXPECT_EQ(breakdown.WaitFor(absl::Minutes(1)), absl::InternalError("it burns"));
  device.join();
}

// A drain waits so for its delay.
TEST(BreakdownTest, WaitsForItsTimeWhateverTheClockSays) {
  Breakdown breakdown;
  const StoppedClock stopped;
  const Stopwatch watch;
  EXPECT_TRUE(breakdown.WaitFor(absl::Milliseconds(50)).ok());
  EXPECT_GE(watch.elapsed(), absl::Milliseconds(50));
  EXPECT_LT(watch.elapsed(), absl::Seconds(8)) << "it waits for a time of day";
}

}  // namespace
}  // namespace deweather
