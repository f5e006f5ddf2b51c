// Whether a new version of a model may go live: both versions measured on pairs, by deweather-train in a
// process of its own.
//
// Math     bar - psnr_rgb(new) <= max_regression_db, where the bar is psnr_rgb(live), or that of the inputs
//          where the live version has no file
// Threads  thread-safe; blocks for as long as the measurement takes
// Errors   FAILED_PRECONDITION (REGRESSION) with both figures · INTERNAL (EVALUATION_FAILED) it cannot be
//          measured, or not in time · CANCELLED by `stop`

#ifndef DEWEATHER_SERVER_RPC_JUDGE_H_
#define DEWEATHER_SERVER_RPC_JUDGE_H_

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/base/server_options.h"
#include "server/restore/live_models.h"

namespace deweather {

struct JudgeOptions {
  std::string dataset = {};  // its name
  std::string dir = {};      // holds input/ and gt/
  double max_regression_db = 0.1;
  absl::Duration timeout = absl::Minutes(30);
  std::string trace_parent = {};  // of the request
  std::stop_token stop = {};
};

// Runs deweather-train with these arguments to its end; what it printed.
using RunTrain = std::function<absl::StatusOr<std::string>(
    const std::vector<std::string>& arguments, const JudgeOptions& options)>;

// The one beside this program, in a child under the limits of jobs. It is marked as one of JOBS, so that the
// next life of a server that was killed ends it (training/jobs/earlier_life.h); one that begins while programs
// of an earlier life are being ended goes with them.
RunTrain TrainInChild(const std::string& jobs, const TrainingServiceOptions& training);

absl::Status Judge(const Candidate& candidate, const JudgeOptions& options,
                   const RunTrain& run_train);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_JUDGE_H_
