// All that a run must remember to go on: weights, their average, the optimiser's moments, the step.
// No state of a random generator: crops, weather and first weights are functions of (seed, step).
//
// Format   a safetensors file: tensors "weights.*", "average.*", "first_moment.*" and
//          "second_moment.*"; in the metadata the model's configuration (model/checkpoint.h), `step`
//          and the other figures of TrainState, "run.FIELD" for what describes the run, and `sha256`:
//          of the file as it would be without that entry

#ifndef DEWEATHER_TRAINING_TRAIN_STATE_H_
#define DEWEATHER_TRAINING_TRAIN_STATE_H_

#include <c10/core/Device.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/base/train_options.h"
#include "model/network.h"

namespace deweather {

// What evaluations have found so far.
struct EvaluationHistory {
  int64_t last_step = -1;  // after which the last one was; -1: there was none
  int64_t best_step = -1;  // after which the weights were best
  double best_psnr_rgb = 0;
  int64_t stale = 0;  // evaluations since the best
  std::string sets;   // that they were over; figures over others cannot be compared
};

// Tensors are f32, on one device; the four maps have the same names.
struct TrainState {
  int64_t step = 0;        // steps done, skipped ones with them
  int64_t bad_steps = 0;   // of these, skipped: the loss or gradient was not finite
  int64_t bad_in_row = 0;  // of these, since the last that was good
  absl::Duration elapsed;  // over all attempts
  EvaluationHistory evaluations;
  Parameters weights;  // leaves: gradients accumulate here
  Parameters average;  // exponential moving average of the weights
  Parameters first_moment;
  Parameters second_moment;
};

// Of a run that has not begun: random weights, those of options.init_from, or without them what its
// teacher's make (model/fuse.h). INVALID_ARGUMENT when init_from holds another network, naming the model, or
// when nothing can be made of the teacher's.
absl::StatusOr<TrainState> BeginState(const TrainOptions& options);

void MoveTo(at::Device device, TrainState& state);

// The weights, those that the backward pass comes to first in front.
std::vector<at::Tensor> InOrderOfGradients(const ModelConfig& config, const Parameters& weights);

// One AdamW step from the weights' gradients [Loshchilov & Hutter 2019], then the average; clears the
// gradients. Returns their norm before clipping; if that is not finite, nothing else has changed.
// Throws c10::Error.
double ApplyGradients(const TrainOptions& options, double learning_rate, TrainState& state);

// A step that learns nothing: clears the gradients and counts.
void SkipStep(TrainState& state);

// Of what a run is: names and values (training/run_fields.h).
using RunFields = std::map<std::string, std::string>;

struct SavedState {
  TrainState state;
  RunFields run;
};

// The whole file.
absl::StatusOr<std::string> SerializeState(const ModelConfig& config, const TrainState& state,
                                           const RunFields& run);

// DATA_LOSS a file that is torn, changed, or not of SerializeState. Never throws.
absl::StatusOr<SavedState> ParseState(std::string_view file);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_TRAIN_STATE_H_
