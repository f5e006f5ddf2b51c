#include "server/rpc/strand.h"

#include <utility>

namespace deweather {

void Strand::Post(std::function<void()> task) {
  {
    MutexLock lock(mutex_);
    tasks_.push_back(std::move(task));
    if (std::exchange(running_, true)) return;
  }
  while (std::function<void()> next = Next()) next();
}

std::function<void()> Strand::Next() {
  MutexLock lock(mutex_);
  if (tasks_.empty()) {
    running_ = false;
    return nullptr;
  }
  std::function<void()> task = std::move(tasks_.front());
  tasks_.pop_front();
  return task;
}

}  // namespace deweather
