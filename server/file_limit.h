// Descriptors: how many connections this process has room for.

#ifndef DEWEATHER_SERVER_FILE_LIMIT_H_
#define DEWEATHER_SERVER_FILE_LIMIT_H_

#include <cstdint>

#include "absl/status/statusor.h"

namespace deweather {

// For all that is no connection: files, pipes, jobs, scrapes.
inline constexpr int kOtherFiles = 256;

// Raises what this process may open to the most that it is allowed to, and gives that.
int64_t RaiseFileLimit();

// Of each port at most `wanted`, as far as `max_files` leave room for; FAILED_PRECONDITION if that is none.
absl::StatusOr<int> ConnectionsWithin(int64_t max_files, int wanted, int ports = 1);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_FILE_LIMIT_H_
