// Clocks that are set while a program runs, for tests of what must not notice. Others' clocks stay.

#ifndef DEWEATHER_TESTS_CLOCK_STEP_H_
#define DEWEATHER_TESTS_CLOCK_STEP_H_

#include "absl/time/time.h"

namespace deweather {

// The time of day in this process is another by `step`, for as long as this lives.
class ClockStep {
 public:
  explicit ClockStep(absl::Duration step);
  ~ClockStep();
  ClockStep(const ClockStep&) = delete;
  ClockStep& operator=(const ClockStep&) = delete;

 private:
  const absl::Duration step_;
};

// The time of day in this process stands still, for as long as this lives: to who waits for a time it is as if
// the clock were set back, whenever he looks. It goes on after 10 s, so that who waits in vain ends, too late.
class StoppedClock {
 public:
  StoppedClock();
  ~StoppedClock();
  StoppedClock(const StoppedClock&) = delete;
  StoppedClock& operator=(const StoppedClock&) = delete;
};

}  // namespace deweather

#endif  // DEWEATHER_TESTS_CLOCK_STEP_H_
