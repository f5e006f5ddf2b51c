// The scale of a plot: its range, and where its ticks are.
//
// Threads  thread-safe: pure functions

#ifndef DEWEATHER_TRAINING_REPORT_AXIS_H_
#define DEWEATHER_TRAINING_REPORT_AXIS_H_

#include <string>
#include <vector>

namespace deweather {

struct Tick {
  double value = 0;
  std::string label;  // empty: a line of the grid only
};

struct Axis {
  double begin = 0;  // < end; > 0 if logarithmic
  double end = 1;
  bool logarithmic = false;

  // 0 at `begin`, 1 at `end`.
  double Place(double value) const;
};

// Spans `least` to `most` and a margin, also where they are the same. REQUIRES: both finite,
// least <= most; least > 0 if logarithmic.
Axis AxisOver(double least, double most, bool logarithmic);

// Ticks within the axis at multiples of 1, 2 or 5 times a power of ten, about `count` of them. On a
// logarithmic axis that spans more than a factor of 8 they are at 1 to 9 times powers of ten, with
// labels at 1, 2 and 5 times these, over more than two decades at 1 times only.
std::vector<Tick> Ticks(const Axis& axis, int count);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_REPORT_AXIS_H_
