// Restores sets of pairs at full size, tiled and blended as the server does it, and compares.
// A figure is never over fewer pictures than there are: one that cannot be read or compared is an
// error, and all are read and their inputs compared before the first is restored.

#ifndef DEWEATHER_TRAINING_EVALUATE_H_
#define DEWEATHER_TRAINING_EVALUATE_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/base/load_options.h"
#include "training/evaluation.h"
#include "training/report/sheet.h"

namespace deweather {

// How pictures are to be cut, where it is not as the model wants it.
struct TilingChange {
  std::optional<int> tile_px = std::nullopt;
  std::optional<int> overlap_px = std::nullopt;
  bool whole_image = false;  // each picture is one tile
};

struct EvaluationOptions {
  LoadOptions load;
  TilingChange tiling;
  bool calibrated = false;      // gates of M passes, after the networks' calibration
  std::string task = "";        // for models that have tasks; empty: each set's name
  int threads = 0;              // of Torch; 0: as many as it has now
  std::string output_dir = "";  // gets every restored picture as a PNG of its name, in a folder of
      // its model and its set where there are several; empty: none is kept
  int sheet_worst = 0;  // worst pictures of a set that the sheet shows; 0: no sheet
  std::function<void(int done, int total)> progress = nullptr;  // called after each picture
  // Asked after each, and after each that is read before; true ends it all with CANCELLED.
  std::function<bool()> stop = nullptr;
};

struct Comparison {
  std::vector<Evaluation> evaluations;  // set by set, each with the models in the order given
  std::vector<SheetRow> sheet;  // input | each model's | truth, for PickPictures of each set
};

// Every model on every set. A model, a checkpoint's path or "identity", is loaded once.
// INVALID_ARGUMENT a model or the name of a set given twice, a tiling that TileSpec does not allow,
// tiles over 4096 px, a sheet of over 64 rows, output that would replace a set's pictures, `calibrated`
// of a model without a router or calibration, a task that a model does not have or none has, or a
// pair of different sizes or under 11 px a side, both files named; NOT_FOUND no folder for the output.
absl::StatusOr<Comparison> Compare(const std::vector<std::string>& models,
                                   const std::vector<PairSet>& sets,
                                   const EvaluationOptions& options);

// As Comparison::sheet, of one model that was evaluated before: only what it shows is restored again.
// `stop` is asked after each picture; true ends it with CANCELLED. FAILED_PRECONDITION the pictures of a
// set are others by now.
absl::StatusOr<std::vector<SheetRow>> SheetOf(const std::string& model,
                                              const std::vector<Evaluation>& evaluations, int worst,
                                              const std::function<bool()>& stop);

// Reads and compares every pair of a set, as Compare does before it restores the first. `stop` is asked after
// each; true ends it with CANCELLED.
absl::Status CheckPairs(const PairSet& set, const std::function<bool()>& stop);

// One model on one folder of pairs.
absl::StatusOr<Evaluation> Evaluate(const std::string& model, const std::string& pairs_dir,
                                    const EvaluationOptions& options);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_EVALUATE_H_
