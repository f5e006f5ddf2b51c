#include "client/stop_signal.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <utility>

#include "absl/time/clock.h"

namespace deweather {
namespace {

constexpr absl::Duration kTurn = absl::Milliseconds(100);

// A signal's handler may touch nothing else.
std::atomic<bool> stop_requested = false;
static_assert(std::atomic<bool>::is_always_lock_free);

void Stop(int) { stop_requested = true; }

}  // namespace

const std::atomic<bool>& StopOnSignal() {
  struct sigaction action {};
  action.sa_handler = Stop;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  return stop_requested;
}

bool SleepUnless(const std::atomic<bool>& stop, absl::Duration time) {
  for (const absl::Time end = absl::Now() + time; !stop;) {
    const absl::Duration left = end - absl::Now();
    if (left <= absl::ZeroDuration()) break;
    absl::SleepFor(std::min(left, kTurn));
  }
  return !stop;
}

std::jthread CancelOn(const std::atomic<bool>& stop, grpc::ClientContext& context) {
  return CancelWhen([&stop] { return stop.load(); }, context);
}

std::jthread CancelWhen(std::function<bool()> wish, grpc::ClientContext& context) {
  return std::jthread([wish = std::move(wish), &context](std::stop_token over) {
    std::mutex mutex;
    std::condition_variable_any turn;
    std::unique_lock lock(mutex);
    while (!wish() && !over.stop_requested()) {
      turn.wait_for(lock, over, absl::ToChronoMilliseconds(kTurn), wish);
    }
    if (wish()) context.TryCancel();
  });
}

}  // namespace deweather
