// How many are inside, for those who wait until nobody is.

#ifndef DEWEATHER_SERVER_RESTORE_OCCUPANCY_H_
#define DEWEATHER_SERVER_RESTORE_OCCUPANCY_H_

#include "absl/time/time.h"
#include "model/base/mutex.h"

namespace deweather {

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

#endif  // DEWEATHER_SERVER_RESTORE_OCCUPANCY_H_
