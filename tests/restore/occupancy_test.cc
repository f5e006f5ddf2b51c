#include "server/restore/occupancy.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "model/base/stopwatch.h"
#include "tests/clock_step.h"

namespace deweather {
namespace {

TEST(OccupancyTest, CountsPlaces) {
  Occupancy occupancy;
  EXPECT_EQ(occupancy.count(), 0);
  {
    const Occupancy::Place first(occupancy);
    const Occupancy::Place second(occupancy);
    EXPECT_EQ(occupancy.count(), 2);
  }
  EXPECT_EQ(occupancy.count(), 0);
  occupancy.WaitUntilEmpty();
}

TEST(OccupancyTest, WaitsForTheLastOne) {
  Occupancy occupancy;
  auto place = std::make_unique<Occupancy::Place>(occupancy);
  std::thread leaver([&place] { place.reset(); });
  occupancy.WaitUntilEmpty();
  EXPECT_EQ(occupancy.count(), 0);
  leaver.join();
}

TEST(OccupancyTest, WaitsForItsTimeoutWhateverTheClockSays) {
  Occupancy occupancy;
  const Occupancy::Place place(occupancy);
  const StoppedClock stopped;
  const Stopwatch watch;
  EXPECT_FALSE(occupancy.WaitUntilEmptyFor(absl::Milliseconds(50)));
  EXPECT_GE(watch.elapsed(), absl::Milliseconds(50));
  EXPECT_LT(watch.elapsed(), absl::Seconds(8)) << "it waits for a time of day";
}

}  // namespace
}  // namespace deweather
