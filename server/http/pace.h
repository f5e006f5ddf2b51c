// How long somebody may take who sends, or reads, slowly: at least 64 KiB an idle limit, and all of it within ten.
// Time is an argument; `idle` is limits.max_stream_idle.
//
// Threads  thread-compatible

#ifndef DEWEATHER_SERVER_HTTP_PACE_H_
#define DEWEATHER_SERVER_HTTP_PACE_H_

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"

namespace deweather {

class Pace {
 public:
  static constexpr int64_t kBytes = 64 * 1024;
  static constexpr int kIdleLimitsInAll = 10;

  Pace(absl::Duration idle, absl::Time now)
      : idle_(idle), last_(now + kIdleLimitsInAll * idle), next_(now + idle) {}

  void Moved(int64_t bytes, absl::Time now) {
    bytes_ += bytes;
    if (bytes_ < kBytes) return;
    bytes_ = 0;
    next_ = now + idle_;
  }

  // When there must have been more.
  absl::Time deadline() const { return std::min(next_, last_); }

 private:
  const absl::Duration idle_;
  const absl::Time last_;
  absl::Time next_;
  int64_t bytes_ = 0;  // since next_ was set
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_PACE_H_
