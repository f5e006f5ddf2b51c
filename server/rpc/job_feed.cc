#include "server/rpc/job_feed.h"

#include <utility>

namespace deweather {

int64_t JobFeed::Add(const std::string& job, std::function<void()> on_change) {
  MutexLock lock(mutex_);
  jobs_[job].emplace(next_, std::move(on_change));
  return next_++;
}

void JobFeed::Remove(const std::string& job, int64_t number) {
  MutexLock lock(mutex_);
  const auto found = jobs_.find(job);
  if (found == jobs_.end()) return;
  found->second.erase(number);
  if (found->second.empty()) jobs_.erase(found);
}

void JobFeed::Notify(const std::string& job) {
  Watchers watchers;
  {
    MutexLock lock(mutex_);
    const auto found = jobs_.find(job);
    if (found == jobs_.end()) return;
    watchers = found->second;
  }
  for (const auto& [number, on_change] : watchers) on_change();
}

}  // namespace deweather
