#include "client/retry.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/stop_signal.h"

namespace deweather {

Backoff::Backoff(const RetryOptions& options) : options_(options), pause_(options.first_pause) {}

void Backoff::Answered() {
  if (failing()) options_.say("connected again");
  failing_since_.reset();
  silent_ = absl::ZeroDuration();
  pause_ = options_.first_pause;
}

grpc::Status Backoff::Silent(absl::Duration time) {
  silent_ = time;
  return {grpc::StatusCode::UNAVAILABLE, "no answer within " + absl::FormatDuration(time)};
}

std::optional<absl::Duration> Backoff::Next(absl::Time now) {
  if (!failing_since_) failing_since_ = now - silent_;
  const absl::Duration left = *failing_since_ + options_.patience - now;
  if (left <= absl::ZeroDuration()) return std::nullopt;
  const absl::Duration pause = std::min(pause_, left);
  pause_ = std::min(2 * pause_, options_.longest_pause);
  return pause;
}

bool IsBroken(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      return true;
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN:
      return ReasonOf(status).empty();
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return ReasonOf(status) == "STREAM_IDLE";
    default:
      return false;
  }
}

grpc::Status CallUntilAnswered(const RetryOptions& options, const std::atomic<bool>& stop,
                               const std::function<grpc::Status(Backoff&)>& attempt) {
  const grpc::Status stopped(grpc::StatusCode::CANCELLED, "interrupted");
  for (Backoff backoff(options);;) {
    const grpc::Status status = attempt(backoff);
    if (!IsBroken(status)) return status;
    if (stop) return stopped;
    if (!options.repeats) return status;
    const bool told = backoff.failing();
    const std::optional<absl::Duration> pause = backoff.Next(absl::Now());
    if (!pause) return status;
    if (!told) {
      options.say(absl::StrFormat("%s; trying again for up to %s", ErrorLine(options.words(status)),
                                  absl::FormatDuration(options.patience)));
    }
    if (!SleepUnless(stop, *pause)) return stopped;
  }
}

}  // namespace deweather
