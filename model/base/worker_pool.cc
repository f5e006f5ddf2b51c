#include "model/base/worker_pool.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

namespace deweather {

WorkerPool::WorkerPool(int threads) : max_long_(std::max(1, threads - 1)) {
  threads_.reserve(static_cast<size_t>(threads));
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Loop(); });
}

WorkerPool::~WorkerPool() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  work_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::Post(std::function<void()> task, TaskOrder order) {
  {
    MutexLock lock(mutex_);
    const bool is_long = order == TaskOrder::kLong;
    (is_long ? long_ : short_[static_cast<size_t>(order)]).push_back(std::move(task));
  }
  work_.NotifyOne();
}

// A worker leaves when nothing is left that it may start: the one that runs a task takes what the
// task posts, and the one that runs a long task takes the next.
void WorkerPool::Loop() {
  pthread_setname_np(pthread_self(), "worker");  // for `top -H` and perf
  MutexLock lock(mutex_);
  for (;;) {
    std::deque<std::function<void()>>* const next = NextShort();
    const bool long_is_due = LongMayStart() && overtaking_ >= kMostOvertaking;
    if (next != nullptr && !long_is_due) {
      RunShort(*next);
    } else if (LongMayStart()) {
      RunLong();
    } else if (stopping_) {
      return;
    } else {
      work_.Wait(mutex_);
    }
  }
}

std::deque<std::function<void()>>* WorkerPool::NextShort() {
  const auto waiting =
      std::find_if(short_.begin(), short_.end(), [](const auto& tasks) { return !tasks.empty(); });
  return waiting == short_.end() ? nullptr : &*waiting;
}

void WorkerPool::RunShort(std::deque<std::function<void()>>& tasks) {
  std::function<void()> task = std::move(tasks.front());
  tasks.pop_front();
  if (LongMayStart()) ++overtaking_;
  mutex_.Unlock();
  task();
  task = nullptr;  // what it holds is freed outside the lock
  mutex_.Lock();
}

void WorkerPool::RunLong() {
  std::function<void()> task = std::move(long_.front());
  long_.pop_front();
  ++running_long_;
  overtaking_ = 0;
  mutex_.Unlock();
  task();
  task = nullptr;
  mutex_.Lock();
  --running_long_;
}

}  // namespace deweather
