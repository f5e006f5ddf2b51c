// What a network learns from, for people to look at: crops of the first batch beside their truth.

#ifndef DEWEATHER_TRAINING_CROP_SHEET_H_
#define DEWEATHER_TRAINING_CROP_SHEET_H_

#include <vector>

#include "absl/status/statusor.h"
#include "model/base/train_options.h"
#include "training/dataset.h"
#include "training/report/sheet.h"

namespace deweather {

// The first crops of step 0, at most 12, as the loader makes them: input | truth, the input under its
// task's name. Errors are Dataset::Load's.
absl::StatusOr<std::vector<SheetRow>> CropSheet(const TrainOptions& options, Dataset& dataset);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_CROP_SHEET_H_
