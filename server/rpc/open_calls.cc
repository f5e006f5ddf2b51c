#include "server/rpc/open_calls.h"

#include <utility>

namespace deweather {

int64_t OpenCalls::Add(Call call) {
  int64_t number = 0;
  {
    MutexLock lock(mutex_);
    number = next_++;
    calls_.emplace(number, call);
    if (!draining_) return number;
  }
  call.on_drain();
  return number;
}

void OpenCalls::Remove(int64_t number) {
  MutexLock lock(mutex_);
  calls_.erase(number);
}

void OpenCalls::BeginDrain() {
  std::map<int64_t, Call> calls;
  {
    MutexLock lock(mutex_);
    if (std::exchange(draining_, true)) return;
    calls = calls_;
  }
  for (const auto& [number, call] : calls) call.on_drain();
}

void OpenCalls::AccessChanged() {
  std::map<int64_t, Call> calls;
  {
    MutexLock lock(mutex_);
    calls = calls_;
  }
  for (const auto& [number, call] : calls) call.on_access();
}

bool OpenCalls::draining() const {
  MutexLock lock(mutex_);
  return draining_;
}

}  // namespace deweather
