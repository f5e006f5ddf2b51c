#include "server/rpc/watch_call.h"

#include <vector>

#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"
#include "server/rpc/training_convert.h"

namespace deweather {
namespace {

constexpr int kPageEvents = 100;

absl::Status CheckReached(int64_t after, const Job& job) {
  if (after >= 0 && after <= job.last_event) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("after_event is %d; it must be 0 to %d, the last event of job '%s'", after,
                      job.last_event, job.id));
}

}  // namespace

// The job before its events: once it has ended, its last event is the last for ever.
absl::StatusOr<WatchCall::Page> WatchCall::Find() {
  DW_ASSIGN_OR_RETURN(const Job job, FindJob(training_, request().id()));
  DW_RETURN_IF_ERROR(CheckReached(after_, job));
  DW_ASSIGN_OR_RETURN(const std::vector<JobEvent> events,
                      training_.store.Events(job.id, after_, kPageEvents));
  Page page;
  for (const JobEvent& event : events) page.messages.push_back(ToMessage(event));
  if (!events.empty()) after_ = events.back().number;
  page.last = IsTerminal(job.state) && after_ >= job.last_event;
  return page;
}

}  // namespace deweather
