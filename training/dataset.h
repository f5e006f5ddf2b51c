// The crops that a network is trained on.
// Every crop is a function of (options, seed, step, index): the same on any number of threads and
// after any resume.
//
// Shapes   a crop is planar RGB [3][crop_px][crop_px] in [0,1], input and truth
// Owns     the decoded pictures, up to a budget of memory; beyond it they are decoded again
// Threads  thread-safe

#ifndef DEWEATHER_TRAINING_DATASET_H_
#define DEWEATHER_TRAINING_DATASET_H_

#include <cstdint>
#include <map>
#include <memory>
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
// NOT_FOUND, naming the file, when a picture of `input_dir` has none of its name in `truth_dir`.
absl::StatusOr<std::vector<PicturePair>> ListPairs(const std::string& input_dir,
                                                   const std::string& truth_dir);

class Dataset {
 public:
  // Lists the folders; decodes nothing yet.
  static absl::StatusOr<std::unique_ptr<Dataset>> Open(const DataOptions& options, uint64_t seed,
                                                       int64_t cache_bytes = int64_t{1} << 30);

  // Writes crop `index` of step `step`. INVALID_ARGUMENT a pair of different sizes, a broken file.
  absl::Status Load(int64_t step, int64_t index, float* input, float* truth);

  int64_t crop_elements() const { return int64_t{3} * options_.crop_px * options_.crop_px; }

 private:
  struct Source {
    double weight = 0;
    std::vector<PicturePair> pictures;  // for clean pictures input and truth are one file
    bool clean = false;
    Weather weather = Weather::kRain;
    double untouched_share = 0;
  };
  using Picture = std::shared_ptr<const Image>;

  Dataset(DataOptions options, uint64_t seed, int64_t cache_bytes);
  absl::Status AddSources();
  const Source& Draw(Random& random) const;
  absl::StatusOr<Picture> Decode(const std::string& path) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::pair<Picture, Picture>> DecodePair(const PicturePair& pair);

  const DataOptions options_;
  const uint64_t seed_;
  std::vector<Source> sources_;  // constant after Open

  Mutex mutex_;
  std::map<std::string, Picture> cache_ ABSL_GUARDED_BY(mutex_);
  int64_t cache_left_bytes_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_DATASET_H_
