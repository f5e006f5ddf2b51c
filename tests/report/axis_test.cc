#include "training/report/axis.h"

#include <gtest/gtest.h>

#include <cmath>

namespace deweather {
namespace {

std::vector<std::string> Labels(const Axis& axis, int count) {
  std::vector<std::string> labels;
  for (const Tick& tick : Ticks(axis, count)) {
    if (!tick.label.empty()) labels.push_back(tick.label);
  }
  return labels;
}

TEST(AxisTest, PlacesItsEndsAndTheMiddle) {
  const Axis even{10, 30, false};
  EXPECT_EQ(even.Place(10), 0);
  EXPECT_EQ(even.Place(20), 0.5);
  EXPECT_EQ(even.Place(30), 1);
  const Axis logarithmic{0.01, 1, true};
  EXPECT_NEAR(logarithmic.Place(0.1), 0.5, 1e-12);
  EXPECT_NEAR(logarithmic.Place(1), 1, 1e-12);
}

TEST(AxisTest, SpansItsValuesAlsoWhereTheyAreTheSame) {
  for (const bool logarithmic : {false, true}) {
    for (const double least : {1e-12, 0.02, 1.0, 30.0, 1e12}) {
      for (const double most : {least, 1.001 * least, 1000 * least}) {
        const Axis axis = AxisOver(least, most, logarithmic);
        EXPECT_LT(axis.begin, least);
        EXPECT_GT(axis.end, most);
        EXPECT_GT(axis.Place(most), 0.5 - 1e-9);
      }
    }
  }
  const Axis zero = AxisOver(0, 0, false);
  EXPECT_LT(zero.begin, 0);
  EXPECT_GT(zero.end, 0);
}

TEST(AxisTest, TicksAreRound) {
  EXPECT_EQ(Labels({0, 1000, false}, 5),
            (std::vector<std::string>{"0", "200", "400", "600", "800", "1000"}));
  EXPECT_EQ(Labels({0, 52'000, false}, 5), (std::vector<std::string>{"0", "20k", "40k"}));
  EXPECT_EQ(Labels({0, 3e6, false}, 3), (std::vector<std::string>{"0", "1M", "2M", "3M"}));
  EXPECT_EQ(Labels({26.9, 31.2, false}, 6),
            (std::vector<std::string>{"27", "28", "29", "30", "31"}));
  EXPECT_EQ(Labels({-0.25, 0.35, false}, 6),
            (std::vector<std::string>{"-0.2", "-0.1", "0", "0.1", "0.2", "0.3"}));
}

TEST(AxisTest, TicksOfALogarithmicAxis) {
  EXPECT_EQ(Labels({0.02, 0.1, true}, 4),
            (std::vector<std::string>{"0.02", "0.04", "0.06", "0.08", "0.1"}));
  EXPECT_EQ(Labels({0.009, 0.3, true}, 6),
            (std::vector<std::string>{"0.01", "0.02", "0.05", "0.1", "0.2"}));
  EXPECT_EQ(Labels({0.0009, 1.1, true}, 6),
            (std::vector<std::string>{"0.001", "0.01", "0.1", "1"}));
}

TEST(AxisTest, TicksAreFewAndWithin) {
  for (const bool logarithmic : {false, true}) {
    for (double least = 1e-9; least < 1e9; least *= 7) {
      for (const double factor : {1.0, 1.5, 20.0, 1e6}) {
        const Axis axis = AxisOver(least, least * factor, logarithmic);
        const std::vector<Tick> ticks = Ticks(axis, 6);
        EXPECT_GE(ticks.size(), 2u);
        EXPECT_LE(Labels(axis, 6).size(), 13u);
        for (const Tick& tick : ticks) {
          EXPECT_GE(axis.Place(tick.value), -1e-9);
          EXPECT_LE(axis.Place(tick.value), 1 + 1e-9);
        }
      }
    }
  }
}

}  // namespace
}  // namespace deweather
