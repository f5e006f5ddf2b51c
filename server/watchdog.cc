#include "server/watchdog.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "model/base/device_failure.h"

namespace deweather {
namespace {

constexpr absl::Duration kMostBetweenLooks = absl::Seconds(1);
constexpr absl::Duration kFirstRun = absl::Minutes(5);

absl::Status Why(int device, const Pulse& pulse, absl::Duration time, absl::Duration limit) {
  return MarkDeviceFailure(absl::UnavailableError(absl::StrFormat(
      "device %d has worked on one %s for %s; after %s (batching.max_batch_time) it counts as hung",
      device, pulse.of == Pulse::Of::kBatch ? "batch" : "task",
      absl::FormatDuration(absl::Trunc(time, absl::Milliseconds(1))),
      absl::FormatDuration(limit))));
}

}  // namespace

Watchdog::Watchdog(absl::Duration max_batch_time)
    : max_batch_time_(max_batch_time > absl::ZeroDuration() ? max_batch_time
                                                            : absl::InfiniteDuration()),
      max_task_time_(std::max(max_batch_time_, kFirstRun)) {}

std::optional<Watchdog::Hang> Watchdog::Look(const std::vector<Pulse>& pulses, absl::Time now) {
  const absl::Duration passed =
      std::clamp(now - last_look_, absl::ZeroDuration(), kMostBetweenLooks);
  last_look_ = now;
  seen_.resize(pulses.size());
  std::optional<Hang> hang;
  for (size_t device = 0; device < pulses.size(); ++device) {
    const Pulse& pulse = pulses[device];
    Seen& seen = seen_[device];
    seen.time = seen.pulse == pulse ? seen.time + passed : absl::ZeroDuration();
    seen.pulse = pulse;
    if (pulse.of == Pulse::Of::kNothing) continue;
    const absl::Duration limit = pulse.of == Pulse::Of::kBatch ? max_batch_time_ : max_task_time_;
    if (seen.time < limit || hang.has_value()) continue;
    const auto index = static_cast<int>(device);
    hang = Hang{index, Why(index, pulse, seen.time, limit)};
  }
  return hang;
}

std::optional<int> LooksPerNotice(const char* watchdog_usec, const char* watchdog_pid,
                                  int process) {
  int64_t microseconds = 0;
  if (watchdog_usec == nullptr || !absl::SimpleAtoi(watchdog_usec, &microseconds) ||
      microseconds <= 0) {
    return std::nullopt;
  }
  int asked = process;
  if (watchdog_pid != nullptr && (!absl::SimpleAtoi(watchdog_pid, &asked) || asked != process)) {
    return std::nullopt;
  }
  const int64_t looks = microseconds / 3 / absl::ToInt64Microseconds(kWatchInterval);
  return static_cast<int>(std::clamp<int64_t>(looks, 1, std::numeric_limits<int>::max()));
}

}  // namespace deweather
