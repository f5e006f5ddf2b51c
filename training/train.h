// One training run, from a configuration to a checkpoint that a server can load.
//
// Writes   <output_dir>/<name>.safetensors: the averaged weights, at every checkpoint and at the end;
//          <output_dir>/state.safetensors: what `resume` goes on from. Both are replaced atomically.
// Errors   INVALID_ARGUMENT options or pictures; NOT_FOUND a folder; ALREADY_EXISTS output_dir holds
//          an earlier run and `resume` is off; INTERNAL a loss or gradient that is not finite; RESOURCE_EXHAUSTED memory. The last checkpoint stays.
// Threads  one run at a time in a process: it sets the number of Torch's threads

#ifndef DEWEATHER_TRAINING_TRAIN_H_
#define DEWEATHER_TRAINING_TRAIN_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/base/train_options.h"
#include "training/evaluate.h"

namespace deweather {

// Since the line before.
struct TrainProgress {
  int64_t step = 0;  // steps done
  int64_t steps = 0;
  double loss = 0;     // of the task, mean
  double balance = 0;  // BalanceLoss, mean; 1 when the experts work evenly
  double learning_rate = 0;
  double gradient_norm = 0;  // mean, before clipping
  double images_per_second = 0;
  absl::Duration elapsed;  // of the whole run
};

// What a run tells, all on its own thread. Members may be empty.
struct TrainSink {
  std::function<void(const TrainProgress&)> progress;
  std::function<void(int64_t step, const Evaluation&)> evaluated;
  std::function<bool()> stop;  // asked after each step; true ends the run after a checkpoint
};

// Returns the path of the finished model; CANCELLED when `stop` ended the run.
absl::StatusOr<std::string> Train(const TrainOptions& options, const TrainSink& sink);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_TRAIN_H_
