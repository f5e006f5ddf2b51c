// Who may come in: a budget of bytes and tiles, and a count of those inside.

#ifndef DEWEATHER_SERVER_RESTORE_ADMISSION_H_
#define DEWEATHER_SERVER_RESTORE_ADMISSION_H_

#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/base/mutex.h"

namespace deweather {

// Shares of a budget never exceed it, but for one request that is alone: a photo larger than the
// budget is still served, through its window of tiles.
//
// Threads  thread-safe
// Errors   RESOURCE_EXHAUSTED, at once: nobody waits for a share
class Budget {
 public:
  // Gives back what it holds when destroyed. The budget must outlive it.
  class Share {
   public:
    Share() = default;
    Share(Share&& other) noexcept { Swap(other); }
    Share& operator=(Share&& other) noexcept {
      Swap(other);
      return *this;
    }
    ~Share() {
      if (budget_ != nullptr) budget_->Return(bytes_, tiles_);
    }

   private:
    friend class Budget;
    Share(Budget* budget, int64_t bytes, int64_t tiles)
        : budget_(budget), bytes_(bytes), tiles_(tiles) {}
    void Swap(Share& other) {
      std::swap(budget_, other.budget_);
      std::swap(bytes_, other.bytes_);
      std::swap(tiles_, other.tiles_);
    }

    Budget* budget_ = nullptr;
    int64_t bytes_ = 0;
    int64_t tiles_ = 0;
  };

  Budget(int64_t max_bytes, int64_t max_tiles) : max_bytes_(max_bytes), max_tiles_(max_tiles) {}

  // REQUIRES: bytes and tiles are positive.
  absl::StatusOr<Share> Take(int64_t bytes, int64_t tiles);

 private:
  void Return(int64_t bytes, int64_t tiles);

  const int64_t max_bytes_;
  const int64_t max_tiles_;

  Mutex mutex_;
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t tiles_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Counts what is inside, and lets others wait until nothing is.
//
// Threads  thread-safe
class Occupancy {
 public:
  class Place {
   public:
    explicit Place(Occupancy& occupancy) : occupancy_(occupancy) { occupancy_.Enter(); }
    ~Place() { occupancy_.Leave(); }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

   private:
    Occupancy& occupancy_;
  };

  int count() const;
  void WaitUntilEmpty();
  // Whether it was empty in time.
  bool WaitUntilEmptyFor(absl::Duration timeout);

 private:
  void Enter();
  void Leave();

  mutable Mutex mutex_;
  CondVar empty_;
  int count_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RESTORE_ADMISSION_H_
