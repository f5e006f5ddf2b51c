// The learning rate over a run: a linear warm-up, then half a cosine.

#ifndef DEWEATHER_TRAINING_SCHEDULE_H_
#define DEWEATHER_TRAINING_SCHEDULE_H_

#include <cstdint>

#include "absl/time/time.h"
#include "model/base/train_options.h"

namespace deweather {

// How much of the run is done, in [0,1]: by steps, or by time if that is further. A run that max_time
// bounds depends on the clock and so is not repeatable to the bit.
double Progress(int64_t step, int64_t steps, absl::Duration elapsed, absl::Duration max_time);

// For the step numbered `step` from 0, at that progress.
double LearningRate(const OptimizerOptions& options, int64_t step, double progress);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_SCHEDULE_H_
