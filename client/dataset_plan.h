// Which files of a folder make a data set, decided before anything is sent.
//
// Threads  thread-safe; looks at the file system and changes nothing
// Errors   INVALID_ARGUMENT names the first file or folder that does not belong there; NOT_FOUND no such
//          folder; else what the file system says

#ifndef DEWEATHER_CLIENT_DATASET_PLAN_H_
#define DEWEATHER_CLIENT_DATASET_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "deweather/v1/training.pb.h"

namespace deweather {

struct PlannedPicture {
  std::string path;    // in the data set: "NAME", "input/NAME" or "gt/NAME"
  std::string source;  // on this machine
  int64_t bytes = 0;
};

struct DatasetPlan {
  v1::Dataset::Kind kind = v1::Dataset::KIND_UNSPECIFIED;
  std::vector<PlannedPicture> pictures;  // by path
  int64_t bytes = 0;
  std::vector<std::string> hidden;  // files and folders on this machine that stay there
};

// All that lies in `folder` but what is hidden: names that begin with a dot. KIND_UNSPECIFIED is KIND_PAIRS
// if it holds input/ or gt/, else KIND_CLEAN.
absl::StatusOr<DatasetPlan> PlanDataset(const std::string& folder, v1::Dataset::Kind kind);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_DATASET_PLAN_H_
