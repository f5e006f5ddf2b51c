// What broke for good: it is the server's result, and stops it.

#ifndef DEWEATHER_SERVER_BREAKDOWN_H_
#define DEWEATHER_SERVER_BREAKDOWN_H_

#include <atomic>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/base/mutex.h"

namespace deweather {

// Threads  thread-safe
class Breakdown {
 public:
  void Report(const absl::Status& status);
  // Where a device hangs its thread never ends: nothing may wait for it any more.
  void MarkHung() { hung_ = true; }
  bool hung() const { return hung_; }
  // From now on a report sends no signal: it would end the process in the middle of its replies.
  void EndWaitForSignal();
  // OK if nothing broke in that time.
  absl::Status WaitFor(absl::Duration time);

 private:
  Mutex mutex_;
  CondVar reported_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  bool waits_for_signal_ ABSL_GUARDED_BY(mutex_) = true;
  std::atomic<bool> hung_ = false;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_BREAKDOWN_H_
