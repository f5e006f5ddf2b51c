// The streams that are open, to be told when the server goes down.
//
// Threads  thread-safe; no function given to it is called under its lock

#ifndef DEWEATHER_SERVER_RPC_OPEN_CALLS_H_
#define DEWEATHER_SERVER_RPC_OPEN_CALLS_H_

#include <cstdint>
#include <functional>
#include <map>

#include "model/base/mutex.h"

namespace deweather {

class OpenCalls {
 public:
  // `on_drain` is called once: when draining begins, or now if it has begun; perhaps still while
  // Remove runs. Returns the call's number.
  int64_t Add(std::function<void()> on_drain);
  void Remove(int64_t number);

  // Idempotent.
  void BeginDrain();
  bool draining() const;

 private:
  mutable Mutex mutex_;
  std::map<int64_t, std::function<void()>> calls_ ABSL_GUARDED_BY(mutex_);
  int64_t next_ ABSL_GUARDED_BY(mutex_) = 0;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_OPEN_CALLS_H_
