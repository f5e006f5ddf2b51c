// What a thread that runs the model is at, as those see it who watch whether it still moves.

#ifndef DEWEATHER_SERVER_BATCH_PULSE_H_
#define DEWEATHER_SERVER_BATCH_PULSE_H_

#include "absl/time/time.h"

namespace deweather {

// Two at different times are of the same run if they are equal.
struct Pulse {
  enum class Of { kNothing, kBatch, kTask };

  Of of = Of::kNothing;                     // it waits, or answers
  absl::Time since = absl::InfinitePast();  // when the run began

  friend bool operator==(const Pulse&, const Pulse&) = default;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_BATCH_PULSE_H_
