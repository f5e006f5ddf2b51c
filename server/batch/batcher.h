// The thread that runs the model: takes batches from the queue, runs them, answers their tiles.
// Idle means empty: it waits only when no tile and no task does.
//
// Owns     the queue and the executor thread
// Threads  thread-safe; `run` and posted tasks run on the executor thread, one at a time
// Errors   a tile whose batch failed runs again alone, and only its own failure is its answer:
//          what `run` gave, INTERNAL if it threw; UNAVAILABLE a tile that waits at destruction

#ifndef DEWEATHER_SERVER_BATCH_BATCHER_H_
#define DEWEATHER_SERVER_BATCH_BATCHER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "model/base/mutex.h"
#include "server/batch/call.h"
#include "server/batch/tile.h"
#include "server/batch/tile_queue.h"

namespace deweather {

struct BatcherOptions {
  int max_batch = 8;  // tiles, at most; >= 1
  // An idle executor waits so long for more tiles when those that wait do not fill the largest batch.
  absl::Duration max_batch_delay = absl::ZeroDuration();
  // Called once, on an executor thread and under no lock, when a run fails with IsDeviceFailure
  // (model/base/device_failure.h). From then on nothing runs and every tile is answered UNAVAILABLE.
  std::function<void(const absl::Status&)> on_device_failure = {};
};

class Batcher {
 public:
  // One executor thread for each of `devices`; all of them serve one queue. REQUIRES: at least one.
  Batcher(BatcherOptions options, std::vector<RunBatch> devices);

  // Finishes the running batch, runs the posted tasks, answers what waits.
  // REQUIRES: nobody pushes or posts any more.
  ~Batcher();

  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  void Push(std::vector<Tile> tiles);

  // Answers the waiting tiles of a call with `status`, on the calling thread. What is in a batch
  // already runs to its end.
  void Drop(const Call& call, const absl::Status& status);

  // Runs `task` between batches, at most one of them between two.
  void Post(std::function<void()> task);

  QueueDepth Depth() const;

 private:
  struct Work {
    std::function<void()> task;
    TileQueue::Popped popped;
    bool stop = false;
  };

  void Loop();
  Work WaitForWork();
  void RunAndAnswer(std::vector<Tile> batch);
  std::vector<absl::StatusOr<RestoredTile>> Run(absl::Span<const Tile> tiles);
  absl::StatusOr<RestoredTile> RunAlone(const Tile& tile);

  const BatcherOptions options_;
  const std::vector<RunBatch> devices_;
  int64_t batches_ = 0;  // executor thread only

  mutable Mutex mutex_;
  CondVar work_;
  TileQueue queue_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  std::thread executor_;  // last: it uses all of the above
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_BATCH_BATCHER_H_
