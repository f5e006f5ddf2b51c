#include "server/repeat.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <utility>

namespace deweather {
namespace {

TEST(RepeatTest, CallsAgainUntilItSaysNever) {
  std::atomic<int> calls = 0;
  Repeat([&](const std::stop_token&) {
    return ++calls < 3 ? absl::ZeroDuration() : absl::InfiniteDuration();
  }).join();
  EXPECT_EQ(calls, 3);
}

TEST(RepeatTest, APauseEndsWhenItIsToldToStop) {
  std::promise<void> called;
  std::jthread thread = Repeat([&](const std::stop_token&) {
    called.set_value();
    return absl::Hours(1);
  });
  called.get_future().wait();
  thread = {};  // joins
}

}  // namespace
}  // namespace deweather
