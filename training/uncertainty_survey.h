// Whether a model's uncertainty means anything: does it tell where the restored picture is wrong?
// Held against two predictors that cost nothing: the input's gradient, and how much was changed.
//
// A patch is what a token stands for, patch_px square, as its own tile shows it, before blending. Tiles
// overlap; a patch counts in the tile whose centre is nearest, of equals the one with the lower index,
// and only if all of it is in the picture.
//
// Math     uncertainty: mean over layers of Restored::uncertainty
//          error: mean over pixels and channels of (restored - truth)²
//          gradient: mean over pixels of |∇I|, I the input's mean of R, G and B, differences forward
//          change: mean over pixels and channels of |restored - input|

#ifndef DEWEATHER_TRAINING_UNCERTAINTY_SURVEY_H_
#define DEWEATHER_TRAINING_UNCERTAINTY_SURVEY_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/base/load_options.h"
#include "training/error_prediction.h"
#include "training/evaluation.h"
#include "training/report/line_plot.h"

namespace deweather {

// Of one picture, an entry for each patch.
struct PatchFigures {
  std::vector<double> uncertainty;
  std::vector<double> gradient;
  std::vector<double> change;
  std::vector<double> error;
};

// How well a predictor foretells the error.
struct Foresight {
  Correlation correlation;
  double ause = 0;
};

struct Foresights {
  Foresight uncertainty;
  Foresight gradient;
  Foresight change;
  Correlation given_others;  // of uncertainty and error, beyond what gradient and change tell
};

// Of one set, or of all. Figures that have no answer are NaN (error_prediction.h).
struct UncertaintySurvey {
  std::string set;
  int64_t pictures = 0;
  int64_t patches = 0;
  double mean_uncertainty = 0;  // over the patches of all pictures
  Foresights pooled;            // over the patches of all pictures
  Foresights within;            // means over the pictures that have an answer
  Foresights within_low;        // ends of the means' intervals, over the pictures (MeanInterval)
  Foresights within_high;
  // Sparsify, over the patches of all pictures.
  std::vector<double> uncertainty_curve;
  std::vector<double> gradient_curve;
  std::vector<double> change_curve;
  std::vector<double> oracle_curve;
};

struct UncertaintySurveyOptions {
  LoadOptions load;
  std::string task = "";  // of a model that has tasks; empty: each set's name
  int pictures = 0;       // of each set, the first by name; 0: all
  int threads = 0;        // of Torch; 0: as many as it has now
  std::function<void(int done, int total)> progress = nullptr;  // called after each picture
};

// One for each set, and of several one more over all their pictures, "overall". The pictures are those of
// one pass, as the server delivers them beside a map. FAILED_PRECONDITION a model that routes nothing;
// INVALID_ARGUMENT two sets of one name, a task that it does not have, a pair of different sizes or smaller
// than a patch. All is checked before the first picture is restored.
absl::StatusOr<std::vector<UncertaintySurvey>> SurveyUncertainty(
    const std::string& model, const std::vector<PairSet>& sets,
    const UncertaintySurveyOptions& options);

// REQUIRES: at least one picture, each with a patch.
UncertaintySurvey Summarize(const std::string& set, const std::vector<PatchFigures>& pictures);

// '-' where there is no answer; after the figures the interval of Spearman's within pictures.
std::string UncertaintyTable(const std::vector<UncertaintySurvey>& surveys);

// One line: {"uncertainty": [{"set", "pictures", "patches", "mean_uncertainty", "pooled", "within",
// "within_low", "within_high", "removed", "curves"}]}; null where there is no answer.
std::string UncertaintyJson(const std::vector<UncertaintySurvey>& surveys);

// Sparsification, a plot for each survey; RMSE in grey levels of 255.
std::vector<LinePlot> SparsificationPlots(const std::vector<UncertaintySurvey>& surveys);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_UNCERTAINTY_SURVEY_H_
