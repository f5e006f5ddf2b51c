#include "server/batch/call.h"

#include "absl/strings/str_cat.h"

namespace deweather {
namespace {

// A caller whose deadline passes cancels, and its clock and the wire are not exact: so close to the
// deadline a cancel is that.
constexpr absl::Duration kDeadlineSkew = absl::Milliseconds(50);

}  // namespace

absl::Status StillWanted(const Call& call, absl::Time now) {
  if (now >= call.deadline) {
    return absl::DeadlineExceededError(
        absl::StrCat("the deadline passed ", absl::FormatDuration(now - call.deadline), " ago"));
  }
  if (call.cancelled && call.deadline - now <= kDeadlineSkew) {
    return absl::DeadlineExceededError("the caller gave up as its deadline passed");
  }
  if (call.cancelled) return absl::CancelledError("the caller cancelled the request");
  return absl::OkStatus();
}

}  // namespace deweather
