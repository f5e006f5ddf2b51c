#include "server/breakdown.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <csignal>

#include "model/base/stopwatch.h"

namespace deweather {

void Breakdown::Report(const absl::Status& status) {
  spdlog::critical("{}", status.ToString());
  MutexLock lock(mutex_);
  status_.Update(status);
  if (waits_for_signal_) kill(getpid(), SIGTERM);
  reported_.NotifyAll();
}

void Breakdown::EndWaitForSignal() {
  MutexLock lock(mutex_);
  waits_for_signal_ = false;
}

absl::Status Breakdown::WaitFor(absl::Duration time) {
  const Stopwatch watch;
  MutexLock lock(mutex_);
  while (status_.ok() && watch.elapsed() < time) reported_.WaitFor(mutex_, watch.LeftOf(time));
  return status_;
}

}  // namespace deweather
