#include "training/schedule.h"

#include <gtest/gtest.h>

namespace deweather {
namespace {

TEST(ScheduleTest, WarmsUpThenFollowsTheCosine) {
  const OptimizerOptions options{
      .learning_rate = 1e-3, .min_learning_rate = 1e-5, .warmup_steps = 10};
  EXPECT_DOUBLE_EQ(LearningRate(options, 0, 0), 1e-4);
  EXPECT_DOUBLE_EQ(LearningRate(options, 9, 0), 1e-3);
  EXPECT_DOUBLE_EQ(LearningRate(options, 50, 0), 1e-3);
  EXPECT_NEAR(LearningRate(options, 50, 0.5), (1e-3 + 1e-5) / 2, 1e-12);
  EXPECT_DOUBLE_EQ(LearningRate(options, 50, 1), 1e-5);
}

TEST(ScheduleTest, ProgressIsTheFurtherOfStepsAndTime) {
  const absl::Duration hour = absl::Hours(1);
  EXPECT_DOUBLE_EQ(Progress(25, 100, hour, absl::InfiniteDuration()), 0.25);
  EXPECT_DOUBLE_EQ(Progress(25, 100, absl::Minutes(30), hour), 0.5);
  EXPECT_DOUBLE_EQ(Progress(75, 100, absl::Minutes(30), hour), 0.75);
  EXPECT_DOUBLE_EQ(Progress(75, 100, absl::Hours(2), hour), 1);
}

}  // namespace
}  // namespace deweather
