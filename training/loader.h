// Makes batches of crops ahead of the network, on threads of its own, and hands them out in order.
// What is in a batch depends on the data set and the number of the pass, not on the threads.
//
// Owns     its threads and prefetch_batches + 1 batches, all allocated at the start
// Threads  one thread calls Next; the data set is shared with the loader's threads
// Cost     threads work crop by crop, so that all of them work on the batch that is wanted first

#ifndef DEWEATHER_TRAINING_LOADER_H_
#define DEWEATHER_TRAINING_LOADER_H_

#include <cstdint>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/base/mutex.h"
#include "model/base/train_options.h"
#include "training/dataset.h"

namespace deweather {

struct Batch {
  std::vector<float> input;  // [B][3][crop_px][crop_px] in [0,1]
  std::vector<float> truth;
  std::vector<CropNote> notes;  // [B]
  int64_t step = 0;
  int64_t first_crop = 0;  // its index in the step
  bool last = true;        // of this rank's in the step
};

class Loader {
 public:
  // From step `first_step` to options.steps, options.accumulate passes a step: pass a of rank r, of R, has
  // the step's crops (a R + r) * batch to (a R + r + 1) * batch - 1; R ranks see what one would with R times
  // the batch. `dataset` outlives the loader. Throws std::system_error if a thread cannot be started,
  // std::bad_alloc.
  Loader(const TrainOptions& options, Dataset& dataset, int64_t first_step, int rank = 0,
         int ranks = 1);

  // Waits for the crops that are being made, and for no others.
  ~Loader();

  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // The crops of the next pass, valid until the next call; not to be called after the last pass. What
  // Dataset::Load says if one of them could not be made, RESOURCE_EXHAUSTED for want of memory: then the
  // loader has stopped.
  absl::StatusOr<const Batch*> Next() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);
  void Loop() ABSL_LOCKS_EXCLUDED(mutex_);
  void MakeNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Make(int64_t crop) ABSL_LOCKS_EXCLUDED(mutex_);
  bool MayClaim() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Its index in its step.
  int64_t FirstCrop(int64_t pass) const { return (pass % accumulate_ * ranks_ + rank_) * batch_; }
  size_t Place(int64_t pass) const { return static_cast<size_t>(pass % (prefetch_ + 1)); }

  const int64_t batch_, accumulate_, prefetch_;
  const int64_t rank_, ranks_;
  const int64_t end_;  // crops of the whole run, this rank's
  Dataset& dataset_;

  Mutex mutex_;
  CondVar room_;   // a pass was handed out, or it is over
  CondVar ready_;  // a pass is made, or it is over
  // Both by Place(pass). Of a batch, each crop is written by the thread that claimed it, without the
  // lock; a batch of which all are made is the caller's from Next to Next.
  std::vector<Batch> batches_;
  std::vector<int> made_ ABSL_GUARDED_BY(mutex_);  // crops
  int64_t claimed_ ABSL_GUARDED_BY(mutex_);        // crops of the run that are made or being made
  int64_t next_ ABSL_GUARDED_BY(mutex_);           // pass that Next hands out
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;  // Next has returned the failure
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  std::vector<std::thread> threads_;  // last: they use all of the above
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_LOADER_H_
