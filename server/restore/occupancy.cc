#include "server/restore/occupancy.h"

#include "model/base/stopwatch.h"

namespace deweather {

int Occupancy::count() const {
  MutexLock lock(mutex_);
  return count_;
}

void Occupancy::WaitUntilEmpty() {
  MutexLock lock(mutex_);
  while (count_ > 0) empty_.Wait(mutex_);
}

bool Occupancy::WaitUntilEmptyFor(absl::Duration timeout) {
  const Stopwatch watch;
  MutexLock lock(mutex_);
  while (count_ > 0) {
    const absl::Duration left = watch.LeftOf(timeout);
    if (left <= absl::ZeroDuration()) return false;
    empty_.WaitFor(mutex_, left);
  }
  return true;
}

void Occupancy::Enter() {
  MutexLock lock(mutex_);
  ++count_;
}

// Notifies under the lock: whoever waits may destroy this object as soon as it is free.
void Occupancy::Leave() {
  MutexLock lock(mutex_);
  if (--count_ == 0) empty_.NotifyAll();
}

}  // namespace deweather
