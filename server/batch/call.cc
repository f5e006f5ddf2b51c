#include "server/batch/call.h"

#include "absl/strings/str_cat.h"
#include "model/base/deadline.h"

namespace deweather {

absl::Status StillWanted(const Call& call, absl::Time now) {
  if (now >= call.deadline) {
    return absl::DeadlineExceededError(
        absl::StrCat("the deadline passed ", absl::FormatDuration(now - call.deadline), " ago"));
  }
  if (call.cancelled && IsDeadlines(now, call.deadline)) {
    return absl::DeadlineExceededError("the caller gave up as its deadline passed");
  }
  if (call.cancelled) return absl::CancelledError("the caller cancelled the request");
  return absl::OkStatus();
}

}  // namespace deweather
