// Starts the training side of a server: with the server, or as soon as its jobs are to be had.
//
//   another server has them   they are taken when it is gone; until then this one restores without them
//   the disk is full          they are opened when there is room
//   whatever else goes wrong  at the start it is the server's end; later it is told once and tried again
//
// Owns     the Training; a thread while it waits for one
// Threads  thread-safe, but for the destructor

#ifndef DEWEATHER_SERVER_TRAINING_STARTER_H_
#define DEWEATHER_SERVER_TRAINING_STARTER_H_

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/base/mutex.h"
#include "model/base/server_options.h"
#include "server/training.h"

namespace deweather {

// Training::Start, for this server; may give up with CANCELLED once it is told to stop.
using OpenTraining =
    std::function<absl::StatusOr<std::unique_ptr<Training>>(const std::stop_token&)>;

class TrainingStarter {
 public:
  // Errors of `open` but those that it waits for. What `open` uses must outlive the result.
  static absl::StatusOr<std::unique_ptr<TrainingStarter>> Start(const ServerOptions& options,
                                                                OpenTraining open, absl::Time now);

  // It stays until this object goes. FAILED_PRECONDITION there is none: NO_DATA_FOLDER, JOBS_OFF, or
  // JOBS_ELSEWHERE, which is UNAVAILABLE while the other server may be draining: for as long as this one would
  // take to drain. RESOURCE_EXHAUSTED DISK_FULL. What else keeps it from starting.
  absl::StatusOr<Training*> training(absl::Time now) const;

  // Waits for it no longer, and tells it to stop (Training::BeginStop). Blocks nobody; idempotent.
  void BeginStop();

 private:
  TrainingStarter(const ServerOptions& options, OpenTraining open, absl::Time now);

  absl::Status Try(const std::stop_token& stop);
  absl::Duration TryAgain(const std::stop_token& stop);

  const std::string data_dir_;
  const OpenTraining open_;
  const absl::Time patience_;  // when the old server must have ended
  absl::Status told_;          // last; its thread's, once that runs

  mutable Mutex mutex_;
  absl::Status why_not_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Training> training_ ABSL_GUARDED_BY(mutex_);

  std::jthread waiting_;  // last: it uses all of the above
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_TRAINING_STARTER_H_
