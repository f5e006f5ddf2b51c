#include "server/watchdog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "model/base/device_failure.h"

namespace deweather {
namespace {

using testing::HasSubstr;
using Of = Pulse::Of;

absl::Time At(double seconds) { return absl::UnixEpoch() + absl::Seconds(seconds); }

Pulse Batch(double since) { return {Of::kBatch, At(since)}; }

// Looks at the same pulses twice a second; what it finds at the end.
std::optional<Watchdog::Hang> LookUntil(Watchdog& watchdog, const std::vector<Pulse>& pulses,
                                        double from, double to) {
  std::optional<Watchdog::Hang> hang;
  for (double now = from; now <= to; now += 0.5) hang = watchdog.Look(pulses, At(now));
  return hang;
}

TEST(WatchdogTest, ABatchThatDoesNotEndIsAHang) {
  Watchdog watchdog(absl::Seconds(3));
  EXPECT_FALSE(LookUntil(watchdog, {Batch(100)}, 100, 102.5).has_value());
  const auto hang = watchdog.Look({Batch(100)}, At(103));
  ASSERT_TRUE(hang.has_value());
  EXPECT_EQ(hang->device, 0);
  EXPECT_TRUE(IsDeviceFailure(hang->why));
  for (const char* words : {"device 0", "one batch for 3s", "3s (batching.max_batch_time)"}) {
    EXPECT_THAT(std::string(hang->why.message()), HasSubstr(words));
  }
}

TEST(WatchdogTest, BatchesThatEndAreNone) {
  Watchdog watchdog(absl::Seconds(3));
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(LookUntil(watchdog, {Batch(i * 3)}, i * 3, i * 3 + 2.5).has_value());
  }
}

TEST(WatchdogTest, WhatWaitsDoesNotHang) {
  Watchdog watchdog(absl::Seconds(3));
  EXPECT_FALSE(LookUntil(watchdog, {Pulse()}, 0, 1000).has_value());
  EXPECT_FALSE(LookUntil(watchdog, {Batch(1000)}, 1000, 1002.5).has_value());
}

TEST(WatchdogTest, OneDeviceOfSeveral) {
  Watchdog watchdog(absl::Seconds(3));
  const auto hang = LookUntil(watchdog, {Pulse(), Batch(0)}, 0, 3);
  ASSERT_TRUE(hang.has_value());
  EXPECT_EQ(hang->device, 1);
}

// The first run of a model may compile.
TEST(WatchdogTest, ATaskHasFiveMinutesAtLeast) {
  const std::vector<Pulse> task = {{Of::kTask, At(0)}};
  Watchdog watchdog(absl::Seconds(3));
  EXPECT_FALSE(LookUntil(watchdog, task, 0, 299.5).has_value());
  const auto hang = watchdog.Look(task, At(300));
  ASSERT_TRUE(hang.has_value());
  EXPECT_THAT(std::string(hang->why.message()), HasSubstr("one task for 5m"));
  Watchdog patient(absl::Minutes(10));
  EXPECT_FALSE(LookUntil(patient, task, 0, 599.5).has_value());
  EXPECT_TRUE(patient.Look(task, At(600)).has_value());
}

TEST(WatchdogTest, ZeroIsNever) {
  Watchdog watchdog(absl::ZeroDuration());
  EXPECT_FALSE(LookUntil(watchdog, {Batch(0), {Of::kTask, At(0)}}, 0, 100'000).has_value());
}

// Whether the clock was set, or the process was stopped, or the machine slept.
TEST(WatchdogTest, AClockThatJumpsCountsAsOneSecondAtMost) {
  Watchdog watchdog(absl::Seconds(3));
  EXPECT_FALSE(watchdog.Look({Batch(0)}, At(0)).has_value());
  EXPECT_FALSE(watchdog.Look({Batch(0)}, At(36000)).has_value());
  EXPECT_FALSE(watchdog.Look({Batch(0)}, At(-36000)).has_value());
  EXPECT_FALSE(watchdog.Look({Batch(0)}, At(-35999)).has_value());
  EXPECT_TRUE(watchdog.Look({Batch(0)}, At(-35998)).has_value());
}

TEST(WatchdogTest, SystemdIsToldSeveralTimesInItsPatience) {
  EXPECT_EQ(LooksPerNotice("30000000", nullptr, 7), 50);
  EXPECT_EQ(LooksPerNotice("30000000", "7", 7), 50);
  EXPECT_EQ(LooksPerNotice("1000", nullptr, 7), 1);
  for (const char* nothing : {"", "0", "-5", "soon"}) {
    EXPECT_EQ(LooksPerNotice(nothing, nullptr, 7), std::nullopt) << nothing;
  }
  EXPECT_EQ(LooksPerNotice(nullptr, nullptr, 7), std::nullopt);
  EXPECT_EQ(LooksPerNotice("30000000", "8", 7), std::nullopt);  // asked of another process
}

}  // namespace
}  // namespace deweather
