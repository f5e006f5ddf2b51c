// The first runs of a model, before anybody's picture depends on it.
//
// Threads  blocks the caller; the runs are tasks of the executor, one size at a time, so that
//          batches of live models go in between
// Errors   INTERNAL the model fails, changes the shape of its tiles or gives pixels that are not
//          finite; CANCELLED by `stop`, looked at between runs; UNAVAILABLE the executor is gone

#ifndef DEWEATHER_SERVER_RESTORE_WARM_UP_H_
#define DEWEATHER_SERVER_RESTORE_WARM_UP_H_

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/batch/batch_cost.h"
#include "server/restore/restore.h"

namespace deweather {

struct Restorer;

struct WarmUpOptions {
  std::vector<int> batch_sizes;  // tiles, ascending; none: nothing is run
  Executor executor;
  std::stop_token stop = {};
  // Told which sizes could not be recorded (Restorer::record), and why. May be empty.
  std::function<void(const std::string&)> log = {};
};

// Runs the first size once and has every size recorded where the model can do that, the largest first: the
// others find room in its memory. Then runs every size; what each took goes to `cost`, but for the very
// first run, which is cold. The last size runs until every task has been in it. Where tokens are routed the
// first size runs with uncertainty too, which goes to `map_cost`.
absl::Status WarmUp(const Restorer& model, const WarmUpOptions& options, BatchCost& cost,
                    BatchCost& map_cost);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RESTORE_WARM_UP_H_
