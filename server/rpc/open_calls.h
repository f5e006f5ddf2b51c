// The streams that are open, to be told when the server goes down, and when other callers are let in.
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
  struct Call {
    // Once: when draining begins, or in Add if it has begun.
    std::function<void()> on_drain;
    // Whenever others may call than before.
    std::function<void()> on_access;
  };

  // Its functions are perhaps still called while Remove runs. Returns the call's number.
  int64_t Add(Call call);
  void Remove(int64_t number);

  // Idempotent.
  void BeginDrain();
  bool draining() const;
  void AccessChanged();

 private:
  mutable Mutex mutex_;
  std::map<int64_t, Call> calls_ ABSL_GUARDED_BY(mutex_);
  int64_t next_ ABSL_GUARDED_BY(mutex_) = 0;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_OPEN_CALLS_H_
