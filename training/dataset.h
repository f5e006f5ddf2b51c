// The crops that a network is trained on.
// Every crop is a function of (options, seed, step, index): the same on any number of threads and
// after any resume, for as long as the folders hold the same files.
//
// Shapes   a crop is planar RGB [3][crop_px][crop_px] in [0,1], input and truth
// Owns     the decoded pictures, up to cache_mebibytes; beyond it they are decoded each time
// Threads  thread-safe

#ifndef DEWEATHER_TRAINING_DATASET_H_
#define DEWEATHER_TRAINING_DATASET_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/base/mutex.h"
#include "model/base/train_options.h"
#include "model/image/image.h"
#include "training/weather/random.h"
#include "training/weather/weather.h"

namespace deweather {

// A picture with weather and the same scene without.
struct PicturePair {
  std::string input;
  std::string truth;
};

// The pictures of a folder in the order of their names, by extension; subfolders are not entered.
// NOT_FOUND a folder that is missing or holds none.
absl::StatusOr<std::vector<std::string>> ListPictures(const std::string& folder);

// Pictures of the same stem in both folders, in the order of their names.
// NOT_FOUND, naming the file, when a picture of `input_dir` has none of its name in `truth_dir`;
// INVALID_ARGUMENT, naming both, when two of a folder have the same stem.
absl::StatusOr<std::vector<PicturePair>> ListPairs(const std::string& input_dir,
                                                   const std::string& truth_dir);

// The task of each source, pairs before clean pictures: "pairs" where pairs have none, or the weather.
std::vector<std::string> SourceTasks(const DataOptions& data);

// What else there is to know of a crop.
struct CropNote {
  int task = 0;  // index into Dataset::tasks()
  double loss_weight = 1;
  std::string gate = {};  // task of its source, whose gate it takes, also where `task` is "clean"
};

class Dataset {
 public:
  // Lists the folders and compares the sizes of pairs by their headers; decodes nothing yet. A file
  // whose header cannot be read is left to be skipped when its turn comes.
  static absl::StatusOr<std::unique_ptr<Dataset>> Open(const DataOptions& options, uint64_t seed);

  // Writes crop `index` of step `step`. A picture that cannot be read is replaced by the next of its
  // folder that can, and remembered. INVALID_ARGUMENT more than max_unreadable of them, a folder
  // without any other, or a pair of different sizes; RESOURCE_EXHAUSTED memory or open files.
  absl::StatusOr<CropNote> Load(int64_t step, int64_t index, float* input, float* truth);

  // A line for each picture that could not be read and that no call before told of: its name and why.
  std::vector<std::string> TakeSkipped() ABSL_LOCKS_EXCLUDED(mutex_);

  // The tasks of pairs, the names of weathers, and "clean" for crops that stay as they are.
  const std::vector<std::string>& tasks() const { return tasks_; }
  int64_t crop_elements() const { return int64_t{3} * options_.crop_px * options_.crop_px; }

  // Depends on the names of all pictures, truths too, and their order: where it differs, so do the crops.
  std::string Fingerprint() const;

 private:
  struct Source {
    double weight = 0;
    CropNote note;
    std::vector<PicturePair> pictures;  // for clean pictures input and truth are one file
    bool clean = false;
    Weather weather = Weather::kRain;
    double untouched_share = 0;
  };
  using Picture = std::shared_ptr<const Image>;
  using PicturesOfPair = std::pair<Picture, Picture>;

  Dataset(DataOptions options, uint64_t seed);
  absl::Status AddPairs(const PairedSource& paired);
  absl::Status AddClean(const CleanSource& clean);
  absl::Status AddSources();
  int Task(const std::string& name);  // its index; adds it if need be
  const Source& Draw(Random& random) const;
  absl::StatusOr<PicturesOfPair> DecodeFrom(const Source& source, int64_t first)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<PicturesOfPair> DecodePair(const PicturePair& pair) ABSL_LOCKS_EXCLUDED(mutex_);
  // Null: it cannot be read and is to be skipped.
  absl::StatusOr<Picture> Decode(const std::string& path) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Skip(const std::string& path, const absl::Status& reason)
      ABSL_LOCKS_EXCLUDED(mutex_);

  const DataOptions options_;
  const uint64_t seed_;
  std::vector<Source> sources_;     // constant after Open
  std::vector<std::string> tasks_;  // constant after Open

  Mutex mutex_;
  std::map<std::string, Picture> cache_ ABSL_GUARDED_BY(mutex_);
  int64_t cache_left_bytes_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> unreadable_ ABSL_GUARDED_BY(mutex_);  // paths
  std::vector<std::string> untold_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_DATASET_H_
