// The data sets of a server, by name: folders that its configuration names, and what callers uploaded.
// A data set is immutable and appears whole; a caller's names never become paths unchecked.
//
// Layout   DATASETS/NAME/{input,gt}/FILE or DATASETS/NAME/FILE; DATASETS/NAME/dataset.json: {"kind",
//          "pictures", "bytes", "created_time"}
//          DATASETS/.tmp-*  an upload under way; what a crash left is removed by the next Open
//          DATASETS is DATA/datasets of a data folder. One process at a time has it open: JobStore's lock.
//          A registered folder hides an upload of its name.
// Threads  thread-safe; an upload is thread-compatible
// Errors   NOT_FOUND (UNKNOWN_DATASET) names the known ones · those of UploadDataset in training.proto, with
//          their reasons · what errno says of the disk, RESOURCE_EXHAUSTED (DISK_FULL) where it is full

#ifndef DEWEATHER_TRAINING_DATASETS_DATASETS_H_
#define DEWEATHER_TRAINING_DATASETS_DATASETS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/base/server_options.h"

namespace deweather {

enum class DatasetKind { kPairs, kClean };

struct Dataset {
  std::string name = {};
  DatasetKind kind = DatasetKind::kPairs;
  std::string dir = {};  // absolute; holds input/ and gt/, or the pictures
  int64_t pictures = 0;  // or pairs
  int64_t bytes = 0;
  bool registered = false;
  std::optional<absl::Time> create_time = {};  // of an upload
  std::string problem = {};                    // why it cannot be used now; empty: it can
};

class DatasetUpload;

class Datasets {
 public:
  // `folder` is DATASETS, made if need be.
  static absl::StatusOr<std::unique_ptr<Datasets>> Open(const std::string& folder,
                                                        const DatasetOptions& options);

  // By name. Registered folders are counted anew, at most once a minute; those with a problem each time.
  std::vector<Dataset> List(absl::Time now = absl::Now()) const;

  // FAILED_PRECONDITION (DATASET_UNUSABLE): it has a problem: its folder is gone.
  absl::StatusOr<Dataset> Find(const std::string& name, absl::Time now = absl::Now()) const;

  // Reserves the name until the upload is over.
  absl::StatusOr<DatasetUpload> BeginUpload(const std::string& name, DatasetKind kind);

 private:
  friend class DatasetUpload;
  struct State;
  explicit Datasets(std::shared_ptr<State> state);
  const std::shared_ptr<State> state_;  // uploads hold it too
};

// One upload: files one after the other, then Commit. Destroyed before that, it leaves nothing. After an
// error every call returns it again. A file is in memory until it is complete, then on the disk.
class DatasetUpload {
 public:
  DatasetUpload(DatasetUpload&&) noexcept;
  DatasetUpload& operator=(DatasetUpload&&) = delete;
  ~DatasetUpload();

  absl::Status BeginFile(const std::string& path, int64_t bytes, const std::string& sha256);
  // The last bytes of a file check it: its SHA-256, and that it is a picture, by decoding it whole.
  absl::Status Append(std::string_view chunk);
  // Everything is there and fits: it is a data set from now on.
  absl::StatusOr<Dataset> Commit(absl::Time now);

 private:
  friend class Datasets;
  struct State;
  explicit DatasetUpload(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_DATASETS_DATASETS_H_
