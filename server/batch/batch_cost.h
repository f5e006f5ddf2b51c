// What a batch of a model takes, as measured: fixed + per_pixel · pixels.
// One object per live version; warm-up seeds it, every batch refines it. (Admission has another one for
// the time that workers take for a picture.)
//
// Math     least squares, both terms clamped to >= 0, over the last 10 batches of each size (to a power
//          of two): a long run of one size does not forget what others taught
// Threads  thread-safe

#ifndef DEWEATHER_SERVER_BATCH_BATCH_COST_H_
#define DEWEATHER_SERVER_BATCH_BATCH_COST_H_

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "absl/time/time.h"
#include "model/base/mutex.h"

namespace deweather {

// A fit at one moment. All zero where nothing has been measured yet.
struct CostFit {
  absl::Duration fixed = absl::ZeroDuration();          // of a batch, however small
  absl::Duration per_megapixel = absl::ZeroDuration();  // 1e6 pixels, over all tiles of the batch
  int64_t most_pixels = 0;                              // of the largest batch that was measured

  bool known() const { return fixed + per_megapixel > absl::ZeroDuration(); }
  absl::Duration Of(int64_t pixels) const {
    return fixed + per_megapixel * (static_cast<double>(pixels) * 1e-6);
  }
};

class BatchCost {
 public:
  // A batch of so many pixels, all tiles together, took so long. REQUIRES: pixels >= 1.
  void Add(int64_t pixels, absl::Duration time);

  CostFit Fit() const;

 private:
  struct Sample {
    int64_t pixels = 0;
    double seconds = 0;

    double megapixels() const { return static_cast<double>(pixels) * 1e-6; }
  };

  std::vector<Sample> Samples() const;

  mutable Mutex mutex_;
  std::map<int, std::deque<Sample>> samples_ ABSL_GUARDED_BY(mutex_);  // by log2 of the pixels
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_BATCH_BATCH_COST_H_
