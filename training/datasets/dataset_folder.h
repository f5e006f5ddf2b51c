// What lies in the folder of a data set, and what may.
//
// Threads  thread-safe: functions of the files

#ifndef DEWEATHER_TRAINING_DATASETS_DATASET_FOLDER_H_
#define DEWEATHER_TRAINING_DATASETS_DATASET_FOLDER_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "training/datasets/datasets.h"

namespace deweather {

// Where pairs lie within their folder.
inline constexpr char kInputSide[] = "input";
inline constexpr char kTruthSide[] = "gt";

bool IsFolder(const std::string& path);

// The folders that hold the pictures, relative to the data set's: "input" and "gt", or "" alone.
std::vector<std::string> SidesOf(DatasetKind kind);

// INVALID_ARGUMENT (FILE_PATH) unless it is SIDE/NAME of pairs or NAME of clean pictures, with a
// NAME as in model/base/name.h that has the extension of a picture.
absl::Status CheckPicturePath(DatasetKind kind, const std::string& path);

// What identifies a picture of a data set: partners differ in their side alone, "gt/a" and "input/a"; of
// clean pictures all of the path.
std::string PictureKey(DatasetKind kind, const std::string& path);

// The pictures of a folder, counted as training's loader sees them. `problem`: why it would refuse them.
Dataset CountPictures(const std::string& name, const std::string& dir);

// dataset.json of an upload. What cannot be read is a problem of the data set.
absl::Status WriteDatasetFile(const Dataset& dataset, const std::string& folder);
Dataset ReadDatasetFile(const std::string& name, const std::string& dir);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_DATASETS_DATASET_FOLDER_H_
