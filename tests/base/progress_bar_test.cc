#include "model/base/progress_bar.h"

#include <gtest/gtest.h>

#include <limits>

#include "absl/strings/match.h"

namespace deweather {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

BarState HalfWay() {
  return {.step = 500,
          .steps = 1000,
          .first_step = 400,
          .loss = 0.02143,
          .images_per_second = 28.14,
          .elapsed = absl::Seconds(100)};
}

TEST(ProgressLineTest, WideTerminalShowsAll) {
  EXPECT_EQ(ProgressLine(HalfWay(), 100),
            "500/1000 [====================>                   ]   50%  loss 0.02143  28.1 images/s"
            "  8m 20s left");
}

TEST(ProgressLineTest, NeverReachesTheLastColumn) {
  BarState state = HalfWay();
  for (const int64_t steps : {int64_t{1000}, int64_t{1} << 62}) {
    state.steps = steps;
    for (int columns = 1; columns <= 200; ++columns) {
      const std::string line = ProgressLine(state, columns);
      EXPECT_LT(line.size(), static_cast<size_t>(std::max(columns, 2))) << line;
      EXPECT_EQ(line.find_first_of("\r\n\t\033"), std::string::npos);
    }
  }
}

TEST(ProgressLineTest, GivesWayInOrder) {
  EXPECT_EQ(ProgressLine(HalfWay(), 50), "500/1000   50%  loss 0.02143  8m 20s left");
  EXPECT_EQ(ProgressLine(HalfWay(), 40), "500/1000  loss 0.02143  8m 20s left");
  EXPECT_EQ(ProgressLine(HalfWay(), 30), "500/1000  loss 0.02143");
  EXPECT_EQ(ProgressLine(HalfWay(), 20), "500/1000");
  EXPECT_EQ(ProgressLine(HalfWay(), 5), "500/");
}

TEST(ProgressLineTest, StepsStayAndWiderShowsNoLess) {
  size_t before = 0;
  for (int columns = 20; columns <= 200; ++columns) {
    const std::string line = ProgressLine(HalfWay(), columns);
    EXPECT_TRUE(absl::StartsWith(line, "500/1000")) << line;
    const size_t pieces = absl::StrContains(line, "loss") + absl::StrContains(line, "left") +
                          absl::StrContains(line, "%") + absl::StrContains(line, "images/s");
    EXPECT_GE(pieces, before) << line;
    before = pieces;
  }
  EXPECT_EQ(before, 4u);
}

TEST(ProgressLineTest, BarIsEmptyAtFirstAndFullAtLast) {
  BarState state{.step = 0, .steps = 10, .loss = kNan};
  EXPECT_EQ(ProgressLine(state, 60), "0/10 [>                                       ]    0%");
  state.step = state.first_step = 10;
  EXPECT_EQ(ProgressLine(state, 60), "10/10 [========================================]  100%");
  state.steps = 0;
  EXPECT_TRUE(absl::StrContains(ProgressLine(state, 60), "0%"));
}

TEST(TimeLeftTest, GoesByThePaceOfThisLife) {
  BarState state = HalfWay();
  EXPECT_EQ(TimeLeft(state), absl::Seconds(500));
  state.remaining_time = absl::Seconds(30);
  EXPECT_EQ(TimeLeft(state), absl::Seconds(30));
  state.remaining_time = -absl::Seconds(1);
  EXPECT_EQ(TimeLeft(state), absl::ZeroDuration());
  state.step = state.first_step;
  EXPECT_EQ(TimeLeft(state), std::nullopt);
  state.left = absl::Seconds(7);
  EXPECT_EQ(TimeLeft(state), absl::Seconds(7)) << "as told";
}

TEST(ShortDurationTest, TwoUnits) {
  EXPECT_EQ(ShortDuration(absl::Milliseconds(4600)), "5s");
  EXPECT_EQ(ShortDuration(absl::Seconds(123)), "2m 03s");
  EXPECT_EQ(ShortDuration(absl::Milliseconds(3'599'600)), "1h 00m");
  EXPECT_EQ(ShortDuration(absl::Hours(76)), "3d 04h");
  EXPECT_EQ(ShortDuration(absl::InfiniteDuration()), "over 1000d");
}

TEST(ProgressBarTest, ClearsItsLine) {
  std::FILE* const file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  {
    ProgressBar bar(file);
    bar.Clear();
    EXPECT_EQ(std::ftell(file), 0);  // nothing was drawn
    bar.Draw(HalfWay());
  }
  std::string written(static_cast<size_t>(std::ftell(file)), '\0');
  std::rewind(file);
  ASSERT_EQ(std::fread(written.data(), 1, written.size(), file), written.size());
  std::fclose(file);
  EXPECT_EQ(written, "\r\033[K" + ProgressLine(HalfWay(), 80) + "\r\033[K");
}

}  // namespace
}  // namespace deweather
