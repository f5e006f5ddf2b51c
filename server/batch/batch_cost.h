// What a batch of a model takes, as measured: fixed + per_pixel · pixels.
// One object per live version; warm-up seeds it, every batch refines it.
//
// Math     least squares over the last 50 batches, both terms clamped to >= 0
// Threads  thread-safe

#ifndef DEWEATHER_SERVER_BATCH_BATCH_COST_H_
#define DEWEATHER_SERVER_BATCH_BATCH_COST_H_

#include <cstdint>
#include <deque>

#include "absl/time/time.h"
#include "model/base/mutex.h"

namespace deweather {

// A fit at one moment. All zero where nothing has been measured yet.
struct CostFit {
  absl::Duration fixed = absl::ZeroDuration();          // of a batch, however small
  absl::Duration per_megapixel = absl::ZeroDuration();  // 1e6 pixels, over all tiles of the batch

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
    double megapixels = 0;
    double seconds = 0;
  };

  mutable Mutex mutex_;
  std::deque<Sample> samples_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_BATCH_BATCH_COST_H_
