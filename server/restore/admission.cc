#include "server/restore/admission.h"

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "server/restore/error_reason.h"

namespace deweather {
namespace {

absl::Status OverBudget(const char* what, int64_t wanted, int64_t held, int64_t limit,
                        const char* reason) {
  return WithReason(
      absl::ResourceExhaustedError(absl::StrFormat(
          "the picture needs %d %s; requests in flight hold %d of %d", wanted, what, held, limit)),
      reason);
}

}  // namespace

absl::StatusOr<Budget::Share> Budget::Take(int64_t bytes, int64_t tiles) {
  MutexLock lock(mutex_);
  const bool alone = tiles_ == 0;
  if (!alone && bytes_ + bytes > max_bytes_) {
    return OverBudget("bytes", bytes, bytes_, max_bytes_, "BYTE_BUDGET");
  }
  if (!alone && tiles_ + tiles > max_tiles_) {
    return OverBudget("tiles", tiles, tiles_, max_tiles_, "TILE_BUDGET");
  }
  bytes_ += bytes;
  tiles_ += tiles;
  return Share(this, bytes, tiles);
}

void Budget::Return(int64_t bytes, int64_t tiles) {
  MutexLock lock(mutex_);
  bytes_ -= bytes;
  tiles_ -= tiles;
}

int Occupancy::count() const {
  MutexLock lock(mutex_);
  return count_;
}

void Occupancy::WaitUntilEmpty() {
  MutexLock lock(mutex_);
  while (count_ > 0) empty_.Wait(mutex_);
}

bool Occupancy::WaitUntilEmptyFor(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  MutexLock lock(mutex_);
  while (count_ > 0) {
    const absl::Duration left = deadline - absl::Now();
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
