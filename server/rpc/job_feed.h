// Who waits for news of a job. A call tells that there are some, not what: who was woken looks into the
// store, so that a wake-up which comes at a bad moment is looked after later, and none is lost.
//
// Threads  thread-safe; no function given to it is called under its lock

#ifndef DEWEATHER_SERVER_RPC_JOB_FEED_H_
#define DEWEATHER_SERVER_RPC_JOB_FEED_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "model/base/mutex.h"

namespace deweather {

class JobFeed {
 public:
  // `on_change` is called after each change from now on; perhaps still while Remove runs. Returns the
  // watcher's number.
  int64_t Add(const std::string& job, std::function<void()> on_change);
  void Remove(const std::string& job, int64_t number);

  // For JobStore::OnChange. Calls those who wait for that job.
  void Notify(const std::string& job);

 private:
  using Watchers = std::map<int64_t, std::function<void()>>;

  Mutex mutex_;
  std::map<std::string, Watchers> jobs_ ABSL_GUARDED_BY(mutex_);  // none without watchers
  int64_t next_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_JOB_FEED_H_
