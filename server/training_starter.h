// Starts the training side of a server: with the server, or as soon as its jobs are to be had.
//
//   another server has them   they are taken when it is gone; until then this one restores without them
//   the disk is full          they are opened when there is room
//
// Owns     the Training; a thread while it waits for one
// Threads  thread-safe, but for BeginStop and the destructor

#ifndef DEWEATHER_SERVER_TRAINING_STARTER_H_
#define DEWEATHER_SERVER_TRAINING_STARTER_H_

#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/base/mutex.h"
#include "model/base/server_options.h"
#include "server/restore/live_models.h"
#include "server/training.h"

namespace deweather {

class TrainingStarter {
 public:
  // Training::Start's errors but those that it waits for. `models` must outlive the result.
  static absl::StatusOr<std::unique_ptr<TrainingStarter>> Start(const ServerOptions& options,
                                                                LiveModels& models);

  // It stays until this object goes. FAILED_PRECONDITION there is none: NO_DATA_FOLDER, JOBS_OFF, or
  // JOBS_ELSEWHERE, which is UNAVAILABLE while the other server may be draining: for as long as this one would
  // take to drain. RESOURCE_EXHAUSTED DISK_FULL. What else kept it from starting later.
  absl::StatusOr<Training*> training() const;

  // Waits for it no longer, and tells it to stop (Training::BeginStop). Idempotent.
  void BeginStop();

 private:
  TrainingStarter(const ServerOptions& options, LiveModels& models);

  absl::Status Try();
  bool TryAgain();

  const ServerOptions options_;
  LiveModels& models_;
  const absl::Time patience_;  // when the old server must have ended

  mutable Mutex mutex_;
  absl::Status why_not_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Training> training_ ABSL_GUARDED_BY(mutex_);

  std::jthread waiting_;  // last: it uses all of the above
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_TRAINING_STARTER_H_
