#include "server/repeat.h"

#include <condition_variable>
#include <mutex>
#include <utility>

namespace deweather {

std::jthread Repeat(std::function<absl::Duration(const std::stop_token&)> task) {
  return std::jthread([task = std::move(task)](const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any stopped;
    std::unique_lock lock(mutex);
    while (!stop.stop_requested()) {
      const absl::Duration pause = task(stop);
      if (pause == absl::InfiniteDuration()) return;
      stopped.wait_for(lock, stop, absl::ToChronoNanoseconds(pause), [] { return false; });
    }
  });
}

}  // namespace deweather
