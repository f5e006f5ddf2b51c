#include "model/base/worker_pool.h"

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

void WorkerPool::Post(std::function<void()> task, TaskLength length) {
  {
    MutexLock lock(mutex_);
    (length == TaskLength::kShort ? short_ : long_).push_back(std::move(task));
  }
  work_.NotifyOne();
}

// A worker leaves when nothing is left that it may start: the one that runs a task takes what the
// task posts, and the one that runs a long task takes the next.
void WorkerPool::Loop() {
  MutexLock lock(mutex_);
  for (;;) {
    if (!short_.empty()) {
      RunShort();
    } else if (LongMayStart()) {
      RunLong();
    } else if (stopping_) {
      return;
    } else {
      work_.Wait(mutex_);
    }
  }
}

void WorkerPool::RunShort() {
  std::function<void()> task = std::move(short_.front());
  short_.pop_front();
  mutex_.Unlock();
  task();
  task = nullptr;  // what it holds is freed outside the lock
  mutex_.Lock();
}

void WorkerPool::RunLong() {
  std::function<void()> task = std::move(long_.front());
  long_.pop_front();
  ++running_long_;
  mutex_.Unlock();
  task();
  task = nullptr;
  mutex_.Lock();
  --running_long_;
}

}  // namespace deweather
