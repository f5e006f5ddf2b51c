// What the queue knows of a request.

#ifndef DEWEATHER_SERVER_BATCH_CALL_H_
#define DEWEATHER_SERVER_BATCH_CALL_H_

#include <atomic>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace deweather {

// kBackground waits while kNormal has tiles, but for a small share that keeps it from starving.
enum class Priority { kNormal, kBackground };

// Threads  thread-safe: constant but for `cancelled`, which only ever becomes true
struct Call {
  absl::Time deadline = absl::InfiniteFuture();
  std::string caller;  // who asks: turns are fair between callers, then between their calls
  Priority priority = Priority::kNormal;
  std::atomic<bool> cancelled = false;
};

// OK while the call's result is wanted at `now`; else DEADLINE_EXCEEDED or CANCELLED. A call that
// is both, or that is cancelled within 50 ms of its deadline, has run out of time: callers' libraries
// cancel what is past its deadline.
absl::Status StillWanted(const Call& call, absl::Time now);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_BATCH_CALL_H_
