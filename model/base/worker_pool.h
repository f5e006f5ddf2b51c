// A fixed number of threads for short tasks that never wait for the model.
// Long tasks never hold the last thread (of two or more), so short ones always move; and a long one is
// overtaken by at most kMostOvertaking short ones once a thread is free for it.
//
// Owns     its threads
// Threads  thread-safe
// Errors   tasks must not throw
// Cost     the queue is as long as its callers make it: admission bounds them

#ifndef DEWEATHER_MODEL_BASE_WORKER_POOL_H_
#define DEWEATHER_MODEL_BASE_WORKER_POOL_H_

#include <array>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "model/base/mutex.h"

namespace deweather {

// Which waiting task starts next; of equals the one that was posted first. What ends the work of others
// comes before what begins new work, so that a full server finishes what it has.
enum class TaskOrder { kFirst, kSecond, kThird, kLong };  // kLong: tens of milliseconds and more

inline constexpr int kMostOvertaking = 64;

class WorkerPool {
 public:
  // REQUIRES: threads >= 1.
  explicit WorkerPool(int threads);

  // Runs every task, those that tasks post included, then joins.
  ~WorkerPool();

  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void Post(std::function<void()> task, TaskOrder order = TaskOrder::kSecond);

 private:
  void Loop();
  bool LongMayStart() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !long_.empty() && running_long_ < max_long_;
  }
  std::deque<std::function<void()>>* NextShort() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RunShort(std::deque<std::function<void()>>& tasks) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RunLong() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int max_long_;

  Mutex mutex_;
  CondVar work_;
  std::array<std::deque<std::function<void()>>, 3> short_ ABSL_GUARDED_BY(mutex_);  // by order
  std::deque<std::function<void()>> long_ ABSL_GUARDED_BY(mutex_);
  int running_long_ ABSL_GUARDED_BY(mutex_) = 0;
  int overtaking_ ABSL_GUARDED_BY(mutex_) =
      0;  // short ones that started while a long one might have
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  std::vector<std::thread> threads_;  // last: they use all of the above
};

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_WORKER_POOL_H_
