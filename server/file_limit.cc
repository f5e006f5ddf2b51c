#include "server/file_limit.h"

#include <sys/resource.h>

#include <algorithm>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

namespace deweather {

int64_t RaiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return std::numeric_limits<int64_t>::max();
  rlimit raised = {limit.rlim_max, limit.rlim_max};
  if (setrlimit(RLIMIT_NOFILE, &raised) != 0) raised = limit;
  return static_cast<int64_t>(
      std::min<rlim_t>(raised.rlim_cur, std::numeric_limits<int64_t>::max()));
}

absl::StatusOr<int> ConnectionsWithin(int64_t max_files, int wanted, int ports) {
  const int64_t room = std::min<int64_t>((max_files - kOtherFiles) / ports, wanted);
  if (room > 0) return static_cast<int>(room);
  return absl::FailedPreconditionError(
      absl::StrFormat("this process may open %d files (ulimit -n); a server needs more than %d",
                      max_files, kOtherFiles + ports - 1));
}

}  // namespace deweather
