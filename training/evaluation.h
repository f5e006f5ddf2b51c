// What an evaluation found, and how it is shown: a table for people, JSON for programs.
//
// Units    PSNR in dB, SSIM up to 1 (model/image/quality.h); seconds of wall time
// Threads  pure functions

#ifndef DEWEATHER_TRAINING_EVALUATION_H_
#define DEWEATHER_TRAINING_EVALUATION_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/base/tile_spec.h"
#include "model/image/quality.h"

namespace deweather {

// Pairs that belong together, of one weather for instance.
struct PairSet {
  std::string name;  // as tables call it
  std::string dir;   // holds input/ and gt/ with the same names
};

// The folder under the name of its last part.
PairSet FolderOfPairs(const std::string& dir);

// "NAME=DIR", or a folder alone. What has a '/' before its first '=' is a folder.
// INVALID_ARGUMENT a name that model/base/name.h does not allow, or no folder.
absl::StatusOr<PairSet> ParsePairSet(const std::string& text);

// INVALID_ARGUMENT two of one name.
absl::Status CheckNames(const std::vector<PairSet>& sets);

struct EvaluatedPicture {
  std::string name;  // file name without its folder
  Quality input;     // of the picture as it was given, against the truth
  Quality restored;

  double gain_db() const { return restored.psnr_rgb - input.psnr_rgb; }
};

// How a layer's tokens were spread over its experts, a token in two tiles counted twice.
struct ExpertUse {
  std::vector<double> load;  // [E] share of the tokens' K places; sums to 1
  double entropy_ratio = 0;  // of the router's probabilities, mean over tokens, / ln E

  // Experts that did less than 1 % of an even share.
  int dead() const;
};

// One model on one set. `input` and `restored` are means over the pictures.
struct Evaluation {
  PairSet set;
  std::string model;
  std::string version;
  TileSpec tile = {};       // how the pictures were cut
  bool calibrated = false;  // gates of several passes
  std::string task = {};    // whose gates; empty: those for all
  Quality input = {};
  Quality restored = {};
  double seconds = 0;  // spent restoring, decoding not counted
  std::vector<EvaluatedPicture> pictures = {};
  std::vector<ExpertUse> routing = {};  // of each layer with a router
};

// Means over the elements, at least one.
Quality Mean(const std::vector<Quality>& qualities);

// One for each model over all its sets, with all their pictures; the set's name is "overall".
// Its figures, routing too, are means over the sets of the sets' means: each weather counts the same,
// however many pictures it has.
std::vector<Evaluation> Overall(const std::vector<Evaluation>& evaluations);

// Indices of pictures from the least gain in PSNR (RGB, restored less input) up: what the model does
// worst comes first, not the heaviest weather. Among equal gains the lower PSNR comes first.
std::vector<size_t> WorstFirst(const std::vector<EvaluatedPicture>& pictures);

struct PickedPicture {
  size_t index = 0;
  std::string rank;  // "worst 1", ..., "median", "best"
};

// The `worst` worst of a set, its median and its best, each once, by the mean over the set's
// evaluations: all models are shown on the same pictures.
std::vector<PickedPicture> PickPictures(const std::vector<Evaluation>& of_one_set, int worst);

struct ReportOptions {
  int worst = 3;             // pictures listed of each set and model
  bool per_picture = false;  // JSON: `pictures`, the figures of each
};

// A row for each set's inputs and for each model on it; sets come in the order of `evaluations`, which
// are set by set. Then the same overall, where there are several sets, a line about the experts of each
// model that routes, over all sets, and the worst pictures.
std::string EvaluationTable(const std::vector<Evaluation>& evaluations,
                            const ReportOptions& options);

// One line. For one evaluation an object: model, version, calibrated, tiling, images, psnr_y, psnr_rgb,
// ssim_y, ssim_rgb, the same of the inputs (input_psnr_y ... input_ssim_rgb), seconds, set, pairs, task
// of a model that has tasks, worst, on request pictures, and of a model that routes `routing`: of each
// layer load (one for each expert), entropy_ratio and dead_experts. For several one such object each
// under `sets`, and one for each model, less tiling, pairs, task and pictures, under `overall`.
std::string EvaluationJson(const std::vector<Evaluation>& evaluations,
                           const ReportOptions& options);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_EVALUATION_H_
