// Going on after a server was away: it restarts, a laptop sleeps, a network fails.

#ifndef DEWEATHER_CLIENT_RETRY_H_
#define DEWEATHER_CLIENT_RETRY_H_

#include <grpcpp/support/status.h>

#include <atomic>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/channel.h"

namespace deweather {

struct RetryOptions {
  absl::Duration patience = absl::Hours(1);              // without an answer, in an attempt too
  bool repeats = true;                                   // else there is one attempt
  absl::Duration first_pause = absl::Milliseconds(500);  // each is twice the one before
  absl::Duration longest_pause = absl::Seconds(2);
  std::function<absl::Status(const grpc::Status&)> words = FromGrpc;  // of the first failure
  Say say = SayOnStderr;        // that a server is away, and that it is back
  std::string request_id = {};  // of every attempt; empty: each has its own
};

// The pauses between attempts.
//
// Threads  thread-compatible
class Backoff {
 public:
  explicit Backoff(const RetryOptions& options);

  // The server is there: the next failure is a first one. Says so if it was away.
  void Answered();

  // The attempt that fails now was without an answer for so long. Returns what it fails with.
  grpc::Status Silent(absl::Duration time);

  // Before the next attempt, after one that failed at `now`; nullopt: there is to be none.
  std::optional<absl::Duration> Next(absl::Time now);

  // Whether an attempt has failed since the last answer.
  bool failing() const { return failing_since_.has_value(); }

 private:
  const RetryOptions options_;
  absl::Duration pause_;
  absl::Duration silent_ = absl::ZeroDuration();
  std::optional<absl::Time> failing_since_;
};

// Whether the server was away, the connection broke, or we read too slowly for it. What a server refuses
// itself has a reason.
bool IsBroken(const grpc::Status& status);

// The status of the first attempt that is not broken, or of the last before the patience ends; CANCELLED
// after `stop`. Says that it tries again, once for each time that the server is away.
grpc::Status CallUntilAnswered(const RetryOptions& options, const std::atomic<bool>& stop,
                               const std::function<grpc::Status(Backoff&)>& attempt);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_RETRY_H_
