// One training run, from a configuration to a checkpoint that a server can load.
//
// Writes   <output_dir>/<name>.safetensors: the averaged weights of the newest checkpoint;
//          <output_dir>/<name>-best.safetensors: those with the best mean PSNR-RGB over the sets of
//          `evaluate`, once they have been measured;
//          <output_dir>/checkpoints/: what `resume` goes on from (training/checkpoints.h);
//          <output_dir>/.lock: held while a run writes there. All but the lock are replaced atomically.
// Repeats  to the bit, whether it was stopped, killed and resumed or not: crops, weather and first
//          weights are functions of (seed, step), the rest is in the checkpoint. It takes the same
//          program, processor and number of compute threads, and no max_time. What the network sees
//          does not depend on loader_threads, prefetch_batches or cache_mebibytes.
// Skips    a picture that cannot be read, for the next of its folder; a step whose loss or gradient is
//          not finite, whose crops are then lost; a checkpoint that the disk has no room for, unless
//          it is the last. Each is told by `warned` or counted.
// Errors   INVALID_ARGUMENT options or pairs of different size, more than max_unreadable pictures
//          that cannot be read; NOT_FOUND a folder; ALREADY_EXISTS output_dir holds an earlier run and
//          `resume` is off; FAILED_PRECONDITION another run writes there, or resume with another
//          configuration, the field named; DATA_LOSS no checkpoint is whole; INTERNAL more than
//          max_bad_steps in a row are not finite; RESOURCE_EXHAUSTED memory.
//          The last checkpoint stays.
// Threads  one run at a time in a process: it sets the number of Torch's threads

#ifndef DEWEATHER_TRAINING_TRAIN_H_
#define DEWEATHER_TRAINING_TRAIN_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/base/train_options.h"
#include "training/evaluate.h"

namespace deweather {

// Means and counts since the line before, where nothing else is said.
struct TrainProgress {
  int64_t step = 0;  // steps done
  int64_t steps = 0;
  double loss = 0;                          // that is made small, over crops; without the balance
  std::map<std::string, double> task_loss;  // by task, not weighted; only tasks that had a crop
  double balance = 0;                       // BalanceLoss; 1 when the experts work evenly
  double learning_rate = 0;                 // of the last step
  double gradient_norm = 0;                 // before clipping
  double images_per_second = 0;
  double waiting_share = 0;  // of the time, in which the network waited for crops, [0,1]
  int64_t bad_steps = 0;     // skipped as their loss or gradient is not finite; of the whole run
  int64_t skipped_pictures = 0;  // that cannot be read; since the run began or was resumed
  absl::Duration elapsed;        // of the whole run
};

// What a run tells, all on its own thread. Members may be empty.
struct TrainSink {
  std::function<void(const TrainProgress&)> progress = nullptr;
  // Once for each set, which the evaluation names.
  std::function<void(int64_t step, const Evaluation&)> evaluated = nullptr;
  std::function<void(int64_t step, const std::string& checkpoint)> saved = nullptr;
  // Something that the run goes on after: one line.
  std::function<void(const std::string& message)> warned = nullptr;
  // Before the first step of a run that goes on from a checkpoint.
  std::function<void(int64_t step, const std::string& checkpoint)> resumed = nullptr;
  // Asked after each step; true ends the run after a checkpoint.
  std::function<bool()> stop = nullptr;
};

// Returns the path of the finished model: the best one if the run evaluates, else the newest.
// CANCELLED when `stop` ended the run. A run that is over already only writes what is missing.
// Changed with `resume`, max_time and `steps` bend the schedule from there on, and a warning says so.
absl::StatusOr<std::string> Train(const TrainOptions& options, const TrainSink& sink);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_TRAIN_H_
