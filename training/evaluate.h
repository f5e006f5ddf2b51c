// How well a model restores a set of pairs, at full size, tiled and blended as the server does it.

#ifndef DEWEATHER_TRAINING_EVALUATE_H_
#define DEWEATHER_TRAINING_EVALUATE_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/base/load_options.h"
#include "model/base/tile_spec.h"
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
  TileSpec tile;  // how the pictures were cut
  Quality input;
  Quality restored;
  double seconds = 0;  // spent restoring, decoding not counted
  std::vector<EvaluatedPicture> pictures;
};

// How pictures are to be cut, where it is not as the model wants it.
struct TilingChange {
  std::optional<int> tile_px = std::nullopt;
  std::optional<int> overlap_px = std::nullopt;
  bool whole_image = false;  // each picture is one tile
};

struct EvaluationOptions {
  LoadOptions load;
  TilingChange tiling;
  int threads = 0;         // of Torch; 0: as many as it has now
  std::string output_dir;  // gets every restored picture as a PNG of its name; empty: none is kept
  std::function<void(int done, int total)> progress;  // called after each picture
};

// `pairs_dir` holds input/ and gt/ with the same names; `model` is a checkpoint's path or "identity".
// INVALID_ARGUMENT a tiling that TileSpec does not allow.
absl::StatusOr<Evaluation> Evaluate(const std::string& model, const std::string& pairs_dir,
                                    const EvaluationOptions& options);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_EVALUATE_H_
