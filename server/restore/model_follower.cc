#include "server/restore/model_follower.h"

#include <vector>

#include "absl/time/clock.h"

namespace deweather {

ModelFollower::ModelFollower(LiveModels& models, RestorePipeline& pipeline, absl::Duration period)
    : models_(models), pipeline_(pipeline), period_(period), thread_([this] { Loop(); }) {}

ModelFollower::~ModelFollower() {
  stop_.request_stop();
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  stopped_.NotifyAll();
  thread_.join();
}

void ModelFollower::Loop() {
  const std::vector<int> sizes = pipeline_.batch_sizes();
  const Executor executor = pipeline_.executor();
  MutexLock lock(mutex_);
  while (!stopping_) {
    mutex_.Unlock();
    models_.Follow(sizes, executor, stop_.get_token());
    mutex_.Lock();
    const absl::Time next = absl::Now() + period_;
    while (!stopping_ && absl::Now() < next) stopped_.WaitFor(mutex_, next - absl::Now());
  }
}

}  // namespace deweather
