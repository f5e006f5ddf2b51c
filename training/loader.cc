#include "training/loader.h"

#include <sched.h>

#include <new>

namespace deweather {

Loader::Loader(const TrainOptions& options, Dataset& dataset, int64_t first_step, int rank,
               int ranks)
    : batch_(options.batch),
      accumulate_(options.accumulate),
      prefetch_(options.data.prefetch_batches),
      rank_(rank),
      ranks_(ranks),
      end_(options.steps * accumulate_ * batch_),
      dataset_(dataset),
      batches_(static_cast<size_t>(prefetch_ + 1)),
      made_(batches_.size()),
      claimed_(first_step * accumulate_ * batch_),
      next_(first_step * accumulate_) {
  const auto elements = static_cast<size_t>(batch_ * dataset.crop_elements());
  for (Batch& batch : batches_) {
    batch.input.resize(elements);
    batch.truth.resize(elements);
    batch.notes.resize(static_cast<size_t>(batch_));
  }
  try {
    for (int i = 0; i < options.data.loader_threads; ++i) threads_.emplace_back([this] { Loop(); });
  } catch (...) {
    Stop();
    throw;
  }
}

Loader::~Loader() { Stop(); }

void Loader::Stop() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  room_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

absl::StatusOr<const Batch*> Loader::Next() {
  const MutexLock lock(mutex_);
  const size_t place = Place(next_);
  while (made_[place] < batch_ && failure_.ok()) ready_.Wait(mutex_);
  // A batch that another thread completes after that is lost: an end is an end.
  ended_ = ended_ || made_[place] < batch_;
  if (ended_) return failure_;
  batches_[place].step = next_ / accumulate_;
  batches_[place].first_crop = FirstCrop(next_);
  batches_[place].last = (next_ + 1) % accumulate_ == 0;
  // The batch before this one comes back; its place is the one of pass next_ + prefetch_.
  made_[Place(next_ + prefetch_)] = 0;
  ++next_;
  room_.NotifyAll();
  return &batches_[place];
}

bool Loader::MayClaim() const { return claimed_ < end_ && claimed_ < (next_ + prefetch_) * batch_; }

void Loader::Loop() {
  // The threads that compute wait for each other many times a step: were one of them to share its
  // processor, all would wait. So this one runs where they leave room; when the network waits for crops,
  // nothing is in its way. Not being allowed to is no failure.
  constexpr sched_param kNoPriority = {};
  sched_setscheduler(0, SCHED_IDLE, &kNoPriority);  // on Linux of this thread alone
  const MutexLock lock(mutex_);
  while (!stopping_ && failure_.ok()) {
    if (MayClaim()) {
      MakeNext();
    } else {
      room_.Wait(mutex_);
    }
  }
}

void Loader::MakeNext() {
  const int64_t crop = claimed_++;
  mutex_.Unlock();
  const absl::Status status = Make(crop);
  mutex_.Lock();
  failure_.Update(status);
  const bool whole = status.ok() && ++made_[Place(crop / batch_)] == batch_;
  if (whole || !status.ok()) ready_.NotifyAll();
  if (!status.ok()) room_.NotifyAll();
}

// What a thread throws would end the process.
absl::Status Loader::Make(int64_t crop) try {
  const int64_t pass = crop / batch_, place = crop % batch_;
  const int64_t step = pass / accumulate_, index = FirstCrop(pass) + place;
  Batch& batch = batches_[Place(pass)];
  const int64_t offset = place * dataset_.crop_elements();
  const absl::StatusOr<CropNote> note =
      dataset_.Load(step, index, batch.input.data() + offset, batch.truth.data() + offset);
  if (note.ok()) batch.notes[place] = *note;
  return note.status();
} catch (const std::bad_alloc&) {
  return absl::ResourceExhaustedError("no memory for a crop");
}

}  // namespace deweather
