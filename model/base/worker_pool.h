// A fixed number of threads for short tasks that never wait for the model.
// Long tasks never hold the last thread (of two or more), so short ones always move.
//
// Owns     its threads
// Threads  thread-safe
// Errors   tasks must not throw
// Cost     the queue is as long as its callers make it: admission bounds them

#ifndef DEWEATHER_MODEL_BASE_WORKER_POOL_H_
#define DEWEATHER_MODEL_BASE_WORKER_POOL_H_

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "model/base/mutex.h"

namespace deweather {

enum class TaskLength { kShort, kLong };  // kLong: tens of milliseconds and more

class WorkerPool {
 public:
  // REQUIRES: threads >= 1.
  explicit WorkerPool(int threads);

  // Runs every task, those that tasks post included, then joins.
  ~WorkerPool();

  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Short tasks start in the order they were posted, before waiting long ones.
  void Post(std::function<void()> task, TaskLength length = TaskLength::kShort);

 private:
  void Loop();
  bool LongMayStart() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !long_.empty() && running_long_ < max_long_;
  }
  void RunShort() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RunLong() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int max_long_;

  Mutex mutex_;
  CondVar work_;
  std::deque<std::function<void()>> short_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::function<void()>> long_ ABSL_GUARDED_BY(mutex_);
  int running_long_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  std::vector<std::thread> threads_;  // last: they use all of the above
};

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_WORKER_POOL_H_
