#include "server/repeat.h"

#include <condition_variable>
#include <mutex>
#include <utility>

namespace deweather {

std::jthread Repeat(absl::Duration interval, std::function<bool(const std::stop_token&)> task) {
  return std::jthread([interval, task = std::move(task)](const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any stopped;
    std::unique_lock lock(mutex);
    while (!stop.stop_requested() && task(stop)) {
      stopped.wait_for(lock, stop, absl::ToChronoNanoseconds(interval), [] { return false; });
    }
  });
}

}  // namespace deweather
