#include "model/base/stopwatch.h"

#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "model/base/mutex.h"
#include "tests/clock_step.h"

namespace deweather {
namespace {

TEST(StopwatchTest, DoesNotHeedTheClock) {
  const Stopwatch watch;
  const absl::Time before = absl::Now();
  const ClockStep step(absl::Hours(1));
  EXPECT_GE(absl::Now() - before, absl::Hours(1)) << "this test sets no clock";
  EXPECT_GE(watch.elapsed(), absl::ZeroDuration());
  EXPECT_LT(watch.elapsed(), absl::Minutes(1));
}

TEST(StopwatchTest, RunsAlready) {
  const Stopwatch watch(absl::Hours(1));
  EXPECT_GE(watch.elapsed(), absl::Hours(1));
  EXPECT_LE(watch.LeftOf(absl::Hours(2)), absl::Hours(1));
  EXPECT_GT(watch.LeftOf(absl::Hours(2)), absl::Minutes(59));
  EXPECT_EQ(watch.LeftOf(absl::InfiniteDuration()), absl::InfiniteDuration());
}

TEST(CondVarTest, WaitsForADurationWhateverTheClockSays) {
  Mutex mutex;
  CondVar never;
  const StoppedClock stopped;
  const Stopwatch watch;
  MutexLock lock(mutex);
  while (watch.elapsed() < absl::Milliseconds(20)) never.WaitFor(mutex, absl::Milliseconds(20));
  EXPECT_LT(watch.elapsed(), absl::Seconds(8));
}

}  // namespace
}  // namespace deweather
