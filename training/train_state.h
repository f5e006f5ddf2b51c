// All that a run must remember to go on: weights, their average, the optimiser's moments, the step.

#ifndef DEWEATHER_TRAINING_TRAIN_STATE_H_
#define DEWEATHER_TRAINING_TRAIN_STATE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/base/train_options.h"
#include "model/network.h"

namespace deweather {

// Tensors are f32 on the CPU; the four maps have the same names.
struct TrainState {
  int64_t step = 0;        // steps done
  absl::Duration elapsed;  // over all attempts
  Parameters weights;      // leaves: gradients accumulate here
  Parameters average;      // exponential moving average of the weights
  Parameters first_moment;
  Parameters second_moment;
};

// Of a run that has not begun: random weights, or those of options.init_from.
// INVALID_ARGUMENT when init_from holds another network, naming the file.
absl::StatusOr<TrainState> BeginState(const TrainOptions& options);

// One AdamW step from the weights' gradients [Loshchilov & Hutter 2019], then the average; clears the
// gradients. Returns their norm before clipping; if that is not finite, nothing has changed. Throws
// c10::Error.
double ApplyGradients(const TrainOptions& options, double learning_rate, TrainState& state);

// A safetensors file, replaced atomically; tensors "weights.*", "average.*", "first_moment.*",
// "second_moment.*", the step and the model's configuration in the metadata.
absl::Status SaveState(const std::string& path, const ModelConfig& config, const TrainState& state);

// NOT_FOUND no such file; DATA_LOSS or INVALID_ARGUMENT one that is broken or of another network.
absl::StatusOr<TrainState> LoadState(const std::string& path, const ModelConfig& config);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_TRAIN_STATE_H_
