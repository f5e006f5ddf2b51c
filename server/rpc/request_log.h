// A line of the log at the end of a call, for at most so many a second. Callers who may not call have a quota of
// their own: a flood of them hides no one else. Always have theirs calls that fail by the server's fault, and
// those that change something, if their callers may. A line says how many calls of its quota have none since the
// last one, and the last line of all tells the rest: lines about calls and `suppressed` add up to the calls.
//
// Threads  thread-safe
// Cost     a call without a line takes a lock and no more

#ifndef DEWEATHER_SERVER_RPC_REQUEST_LOG_H_
#define DEWEATHER_SERVER_RPC_REQUEST_LOG_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/base/mutex.h"
#include "server/log/log_line.h"
#include "server/rpc/arrival.h"
#include "server/rpc/call_figures.h"

namespace deweather {

// Of lines a second; those of one second may come at once.
//
// Threads  thread-compatible
class LineQuota {
 public:
  explicit LineQuota(int per_second) : per_second_(per_second), left_(per_second) {}

  // How many were left out since the last line; nothing: this one is left out as well. One that is due has its
  // line whatever is left.
  std::optional<int64_t> Take(bool due, absl::Time now);

  // Those that no line has told of.
  int64_t suppressed() const { return suppressed_; }

 private:
  const double per_second_;
  double left_;
  absl::Time refilled_ = absl::InfinitePast();
  int64_t suppressed_ = 0;
};

class RequestLog {
 public:
  explicit RequestLog(int max_per_second);
  // Tells how many calls had no line.
  ~RequestLog();
  RequestLog(const RequestLog&) = delete;
  RequestLog& operator=(const RequestLog&) = delete;

  // `service` is its full name.
  void Write(const std::string& service, const Arrival& arrival, const absl::Status& status,
             const CallFigures& figures, absl::Time now);

 private:
  Mutex mutex_;
  LineQuota quota_ ABSL_GUARDED_BY(mutex_);
  LineQuota refused_ ABSL_GUARDED_BY(mutex_);  // of callers who may not call
};

// What a line tells of a call; fields that say nothing are left out.
LogFields FieldsOf(const std::string& service, const Arrival& arrival, const absl::Status& status,
                   const CallFigures& figures, absl::Time now);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_REQUEST_LOG_H_
