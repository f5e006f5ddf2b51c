// Where a run begins: at its last checkpoint, or at the start.

#ifndef DEWEATHER_TRAINING_RESUME_H_
#define DEWEATHER_TRAINING_RESUME_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/base/train_options.h"
#include "training/train_state.h"

namespace deweather {

struct Beginning {
  TrainState state;
  std::string checkpoint;         // that it was read from; empty: this run is new
  std::vector<std::string> torn;  // newer checkpoints, which are of no use
};

// With options.resume the newest checkpoint of output_dir that is whole; newer ones that are not, and
// changes that a run may go on with, are lines for `warn`. `run` describes this run (run_fields.h).
// ALREADY_EXISTS there is a checkpoint and `resume` is off, or none but a model of options.name; DATA_LOSS
// there are some and none is whole: never the start instead; FAILED_PRECONDITION it is another run's, or
// of an earlier version.
absl::StatusOr<Beginning> BeginOrResume(const TrainOptions& options, const RunFields& run,
                                        const std::function<void(const std::string&)>& warn);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_RESUME_H_
