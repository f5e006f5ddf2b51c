// What data sets and their uploads share.

#ifndef DEWEATHER_TRAINING_DATASETS_DATASETS_STATE_H_
#define DEWEATHER_TRAINING_DATASETS_DATASETS_STATE_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "model/base/mutex.h"
#include "training/datasets/datasets.h"

namespace deweather {

// The folder of an upload under way begins like this, as no name of a data set does.
inline constexpr char kUploadPrefix[] = ".tmp-";

// Threads  thread-safe
struct Datasets::State {
  State(std::string folder_path, DatasetOptions dataset_options)
      : folder(std::move(folder_path)), options(std::move(dataset_options)) {}

  // The registered data set as it is, counted not long ago.
  Dataset Registered(const std::string& name, const std::string& dir, absl::Time now)
      ABSL_LOCKS_EXCLUDED(mutex);

  // As Find, whatever problem it has.
  absl::StatusOr<Dataset> Get(const std::string& name, absl::Time now) ABSL_LOCKS_EXCLUDED(mutex);

  // ALREADY_EXISTS (DATASET_EXISTS): the name is taken, if only by another upload under way.
  absl::Status TakeName(const std::string& name) ABSL_LOCKS_EXCLUDED(mutex);

  // RESOURCE_EXHAUSTED: DATASET_QUOTA, or DISK_FULL. The bytes count as stored from now on.
  absl::Status Reserve(int64_t more) ABSL_LOCKS_EXCLUDED(mutex);

  // What an upload took is free again.
  void Release(const std::string& name, int64_t reserved) ABSL_LOCKS_EXCLUDED(mutex);

  // An upload is a data set now; its bytes are reserved already.
  void Add(const Dataset& dataset) ABSL_LOCKS_EXCLUDED(mutex);

  struct Counted {
    Dataset dataset;
    absl::Time time = absl::InfinitePast();
  };

  const std::string folder;  // absolute
  const DatasetOptions options;

  Mutex decoding;  // one picture at a time: its pixels are the most that uploads hold

  Mutex mutex;
  std::map<std::string, Dataset> uploaded ABSL_GUARDED_BY(mutex);
  std::map<std::string, Counted> registered ABSL_GUARDED_BY(mutex);
  std::set<std::string> under_way ABSL_GUARDED_BY(mutex);  // names
  int64_t bytes ABSL_GUARDED_BY(mutex) = 0;                // stored, or announced by uploads
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_DATASETS_DATASETS_STATE_H_
