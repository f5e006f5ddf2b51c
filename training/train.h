// One training run, from a configuration to a checkpoint that a server can load.
//
// Writes   <output_dir>/<name>.safetensors: the averaged weights of the newest checkpoint;
//          <output_dir>/<name>-best.safetensors: those with the best mean PSNR-RGB over the sets of
//          `evaluate`, once they have been measured; where a resumed run measures other sets,
//          <name>-best-<step>.safetensors is what was best over those before;
//          <output_dir>/comparison.png: what the best model makes of pictures of `evaluate`, beside the
//          truth; <output_dir>/crops.png: what is learned from, the first crops beside their truth;
//          <output_dir>/checkpoints/: what `resume` goes on from (training/checkpoints.h);
//          <output_dir>/.lock: held while a run writes there. All but the lock are replaced atomically.
// Repeats  to the bit, whether it was stopped, killed and resumed or not: crops, weather and first
//          weights are functions of (seed, step), the rest is in the checkpoint. It takes the same
//          program, processor and number of compute threads, and no max_time. What the network sees
//          does not depend on loader_threads, prefetch_batches or cache_mebibytes.
// Skips    a picture that cannot be read, for the next of its folder; a step whose loss or gradient is
//          not finite, whose crops are then lost; a checkpoint that the disk has no room for, unless
//          it is the last; a sheet that cannot be drawn or written. Each is told by `warned` or counted.
// Errors   INVALID_ARGUMENT options or pairs of different size, more than max_unreadable pictures
//          that cannot be read, a pair of `evaluate` that cannot be compared, all of which are tried
//          before the first step; NOT_FOUND a folder; ALREADY_EXISTS output_dir holds checkpoints and
//          `resume` is off, or none but a model of that name; FAILED_PRECONDITION another run writes
//          there, or resume with another configuration, the field named; DATA_LOSS no checkpoint is
//          whole; INTERNAL more than max_bad_steps in a row are not finite; RESOURCE_EXHAUSTED memory
//          or threads. The last checkpoint stays.
// Ranks    of several (training/ranks.h) rank 0 alone touches output_dir, decides and measures, and hands
//          its state to the others, which end when it does. UNAVAILABLE one was lost, after a checkpoint
// Threads  one run at a time in a process: it sets the number of Torch's threads

#ifndef DEWEATHER_TRAINING_TRAIN_H_
#define DEWEATHER_TRAINING_TRAIN_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/base/train_options.h"
#include "training/evaluate.h"
#include "training/rank_place.h"

namespace deweather {

// Means and counts since the line before, where nothing else is said. NaN: all its steps were skipped.
struct TrainProgress {
  int64_t step = 0;  // steps done
  int64_t steps = 0;
  double loss = 0;  // that is made small, over crops; without the terms below
  std::map<std::string, double> task_loss;  // by task, not weighted; only tasks that had a crop
  // Terms before their weights (training/learn.h); nothing: no part of the loss.
  double balance = 0;  // 1 when the experts work evenly, in GShard's form
  std::optional<double> uncertainty = {};
  std::optional<double> distill = {};
  double learning_rate = 0;  // of the last step
  double gradient_norm = 0;  // before clipping
  double images_per_second = 0;
  double waiting_share = 0;  // of the time, in which the network waited for crops, [0,1]
  int64_t bad_steps = 0;     // skipped as their loss or gradient is not finite; of the whole run
  // That cannot be read; since the run began or was resumed. Each rank that meets one counts it.
  int64_t skipped_pictures = 0;
  absl::Duration elapsed;  // of the whole run
};

// What a run tells, all on its own thread. Members may be empty.
struct TrainSink {
  std::function<void(const TrainProgress&)> progress = nullptr;
  // Once for each set, which the evaluation names; after the checkpoint that remembers it, if one is due.
  std::function<void(int64_t step, const Evaluation&)> evaluated = nullptr;
  // Once a checkpoint; of a step that is evaluated, after that, as the one that remembers it replaces it.
  std::function<void(int64_t step, const std::string& checkpoint)> saved = nullptr;
  // Something that the run goes on after: one line.
  std::function<void(const std::string& message)> warned = nullptr;
  // Before the first step of a run that goes on from a checkpoint.
  std::function<void(int64_t step, const std::string& checkpoint)> resumed = nullptr;
  // Asked after each step and each picture of an evaluation and of its sheet, with the steps done; true
  // ends the run after a checkpoint. An evaluation that it ends is made up for by the run that goes on.
  std::function<bool(int64_t step)> stop = nullptr;
};

// Returns the path of the finished model: the best one if there is one, else the newest. There is none
// before an evaluation, after a change of the sets, and where somebody took the file away: a warning says
// so. CANCELLED when `stop` ended the run. A run that is over already only writes what is missing.
// With `resume`, max_time, steps, threads, the pictures, their folders and init_from may have changed
// (run_fields.h), and a warning says so.
// `place`: this process's among the ranks of the run; all of them call Train with the same options.
// Another attempt of a launch that has begun the run goes on, `resume` or not (Ranks::HasBegun).
absl::StatusOr<std::string> Train(const TrainOptions& options, const TrainSink& sink,
                                  const RankPlace& place = {});

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_TRAIN_H_
