// Time that passes, by a clock that nobody sets.
// absl::Now() says when something was; where something is waited for, or given up, a Stopwatch says how long.

#ifndef DEWEATHER_MODEL_BASE_STOPWATCH_H_
#define DEWEATHER_MODEL_BASE_STOPWATCH_H_

#include <chrono>

#include "absl/time/time.h"

namespace deweather {

// Runs from its making, or for `already` longer.
//
// Threads  thread-compatible
class Stopwatch {
 public:
  explicit Stopwatch(absl::Duration already = absl::ZeroDuration()) : already_(already) {}

  absl::Duration elapsed() const {
    return already_ + absl::FromChrono(std::chrono::steady_clock::now() - start_);
  }
  // Zero or less once `limit` has passed.
  absl::Duration LeftOf(absl::Duration limit) const { return limit - elapsed(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  absl::Duration already_;
};

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_STOPWATCH_H_
