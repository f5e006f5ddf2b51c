#include "tests/clock_step.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <ctime>

namespace {

constexpr int64_t kLongestStopNs = 10'000'000'000;

std::atomic<int64_t> offset_ns = 0;
std::atomic<int64_t> stopped_at_ns = 0;  // 0: it goes

int64_t TimeOfDay() {
  timespec time = {};
  syscall(SYS_clock_gettime, CLOCK_REALTIME, &time);
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

// In the place of the C library's: absl::Now() and std::chrono ask this one.
extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  if (clock != CLOCK_REALTIME) return static_cast<int>(syscall(SYS_clock_gettime, clock, time));
  int64_t now = TimeOfDay();
  const int64_t stopped_at = stopped_at_ns;
  if (stopped_at > 0 && now < stopped_at + kLongestStopNs) now = stopped_at;
  now += offset_ns;
  *time = {.tv_sec = now / 1'000'000'000, .tv_nsec = now % 1'000'000'000};
  return 0;
}

namespace deweather {

ClockStep::ClockStep(absl::Duration step) : step_(step) {
  offset_ns += absl::ToInt64Nanoseconds(step_);
}

ClockStep::~ClockStep() { offset_ns -= absl::ToInt64Nanoseconds(step_); }

StoppedClock::StoppedClock() { stopped_at_ns = TimeOfDay(); }

StoppedClock::~StoppedClock() { stopped_at_ns = 0; }

}  // namespace deweather
