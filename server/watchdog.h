// Judges whether a device hangs: whether a batch, or a task, runs for longer than it may.
// Only time in which somebody looks counts, and of the time between two looks at most a second: a clock that
// is set and a process that was stopped are no fault of the device.
//
// Threads  thread-compatible

#ifndef DEWEATHER_SERVER_WATCHDOG_H_
#define DEWEATHER_SERVER_WATCHDOG_H_

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/batch/pulse.h"

namespace deweather {

// Often enough that a look's delay is small beside the least batching.max_batch_time.
inline constexpr absl::Duration kWatchInterval = absl::Milliseconds(200);

class Watchdog {
 public:
  struct Hang {
    int device = 0;
    absl::Status why;  // marked as a device failure
  };

  // Zero: nothing ever hangs. A task may be a model's first run on a device that compiles its kernels then: it
  // has 5 minutes if that is more.
  explicit Watchdog(absl::Duration max_batch_time);

  // To be called every kWatchInterval or so. The first device that hangs, at each look anew.
  std::optional<Hang> Look(const std::vector<Pulse>& pulses, absl::Time now);

 private:
  // A run that has been seen, and for how long.
  struct Seen {
    Pulse pulse;
    absl::Duration time;
  };

  const absl::Duration max_batch_time_;
  const absl::Duration max_task_time_;
  absl::Time last_look_ = absl::InfiniteFuture();
  std::vector<Seen> seen_;  // by device
};

// Looks between two words to systemd that the server lives, so that several fit into its patience,
// WATCHDOG_USEC. `process`: this one's id. Nullopt: it does not ask this process.
std::optional<int> LooksPerNotice(const char* watchdog_usec, const char* watchdog_pid, int process);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_WATCHDOG_H_
