// How well a model restores a set of pairs, at full size, tiled and blended as the server does it.

#ifndef DEWEATHER_TRAINING_EVALUATE_H_
#define DEWEATHER_TRAINING_EVALUATE_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/base/load_options.h"
#include "model/image/quality.h"

namespace deweather {

struct EvaluatedPicture {
  std::string name;  // file name without its folder
  Quality input;     // of the picture as it was given, against the truth
  Quality restored;
};

// Means over the pictures.
struct Evaluation {
  std::string model;
  std::string version;
  Quality input;
  Quality restored;
  double seconds = 0;  // spent restoring, decoding not counted
  std::vector<EvaluatedPicture> pictures;
};

// Called after each picture with how many are done and how many there are.
using EvaluationProgress = std::function<void(int done, int total)>;

// `pairs_dir` holds input/ and gt/ with the same names; `model` is a checkpoint's path or "identity".
absl::StatusOr<Evaluation> Evaluate(const std::string& model, const std::string& pairs_dir,
                                    const LoadOptions& options,
                                    const EvaluationProgress& progress = {});

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_EVALUATE_H_
