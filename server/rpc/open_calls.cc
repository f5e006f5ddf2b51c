#include "server/rpc/open_calls.h"

#include <utility>

namespace deweather {

int64_t OpenCalls::Add(std::function<void()> on_drain) {
  int64_t number = 0;
  {
    MutexLock lock(mutex_);
    number = next_++;
    if (!draining_) {
      calls_.emplace(number, std::move(on_drain));
      return number;
    }
  }
  on_drain();
  return number;
}

void OpenCalls::Remove(int64_t number) {
  MutexLock lock(mutex_);
  calls_.erase(number);
}

void OpenCalls::BeginDrain() {
  std::map<int64_t, std::function<void()>> calls;
  {
    MutexLock lock(mutex_);
    draining_ = true;
    calls.swap(calls_);
  }
  for (const auto& [number, on_drain] : calls) on_drain();
}

bool OpenCalls::draining() const {
  MutexLock lock(mutex_);
  return draining_;
}

}  // namespace deweather
