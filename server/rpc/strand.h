// Runs tasks one at a time, in the order in which they were posted, on the threads that post them.
// What only tasks of one strand touch needs no lock, and a task may call whatever posts to it again.
//
// Threads  thread-safe; tasks must not block, since they hold up those of other threads
// Cost     Post returns when its task has run, or at once if another thread runs tasks now

#ifndef DEWEATHER_SERVER_RPC_STRAND_H_
#define DEWEATHER_SERVER_RPC_STRAND_H_

#include <deque>
#include <functional>

#include "model/base/mutex.h"

namespace deweather {

class Strand {
 public:
  // The strand must outlive the call, and with it every task that the call may run.
  void Post(std::function<void()> task);

 private:
  // Empty: there is none, and nobody runs tasks any more.
  std::function<void()> Next();

  Mutex mutex_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_STRAND_H_
