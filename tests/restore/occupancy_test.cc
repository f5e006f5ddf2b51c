#include "server/restore/occupancy.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

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

}  // namespace
}  // namespace deweather
