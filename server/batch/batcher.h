// The threads that run the model: one a device, which takes batches from the one queue, runs them
// and answers their tiles. An executor waits only when no batch and no task may go.
//
// Owns     the queue and the executor threads
// Threads  thread-safe; each of `devices` and the tasks posted to it run on its executor thread,
//          one at a time
// Errors   a batch that runs out of memory runs again in halves, and smaller ones follow for a
//          while (memory_limit.h); of another that fails, the failed tiles run again alone, and
//          only its own failure is a tile's answer: what the run gave, INTERNAL if it threw;
//          UNAVAILABLE for all after a device failure, for what a device that hangs has in hand, and
//          for what waits at destruction

#ifndef DEWEATHER_SERVER_BATCH_BATCHER_H_
#define DEWEATHER_SERVER_BATCH_BATCHER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/base/mutex.h"
#include "server/batch/call.h"
#include "server/batch/memory_limit.h"
#include "server/batch/pulse.h"
#include "server/batch/tile.h"
#include "server/batch/tile_queue.h"

namespace deweather {

struct BatcherOptions {
  int max_batch = 8;  // tiles, at most; >= 1
  // An idle executor waits so long for more tiles when those that wait do not fill the largest batch.
  absl::Duration max_batch_delay = absl::ZeroDuration();
  // Called once, on an executor thread and under no lock, when a run fails with IsDeviceFailure
  // (model/base/device_failure.h). From then on no batch starts, on no device, and every tile is
  // answered UNAVAILABLE; posted tasks still run.
  std::function<void(const absl::Status&)> on_device_failure = {};
};

class Batcher {
 public:
  // One executor thread for each of `devices`; all of them serve one queue. REQUIRES: at least one.
  Batcher(BatcherOptions options, std::vector<RunBatch> devices);

  // Finishes the running batches, runs the posted tasks, answers what waits.
  // REQUIRES: nobody pushes or posts any more, but for what tasks and answers do.
  ~Batcher();

  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  // After a device failure, and in destruction, the tiles are answered at once, on this thread.
  void Push(std::vector<Tile> tiles);

  // Answers the waiting tiles of a call with `status`, on the calling thread. What is in a batch
  // already runs to its end.
  void Drop(const Call& call, const absl::Status& status);

  // Runs `task` on a device's executor between batches, at most one task between two.
  void Post(std::function<void()> task, int device = 0);

  QueueDepth Depth() const;

  // By device.
  std::vector<Pulse> Pulses() const;

  // Treats a device whose run does not end as one that failed: `why` is reported, and its tiles are answered, on
  // the calling thread, with all others. What the run gives, if it ever ends, goes nowhere. The tiles'
  // `done` is copied for this: what it holds lives on until the run ends.
  void GiveUp(int device, const absl::Status& why);

 private:
  using Results = std::vector<absl::StatusOr<RestoredTile>>;

  // What one executor thread works with; nobody else touches it.
  struct Executor {
    RunBatch run;
    MemoryLimit memory;
    size_t device = 0;
    bool ran_task = false;       // and no batch since
    bool no_room_alone = false;  // a tile of the last batch ran out of memory alone
  };
  // At most one of a task and tiles; `stop`: nothing will come any more.
  struct Work {
    std::function<void()> task;
    TileQueue::Popped popped;
    bool stop = false;

    bool none() const { return !task && popped.batch.empty() && popped.dropped.empty(); }
  };
  // What others may see of an executor while it runs something.
  struct Watched {
    Pulse pulse;
    // Tiles that it has in hand and does not touch; emptied when they are given up.
    std::vector<const std::vector<Tile>*> lent;
  };

  void Loop(Executor& executor);
  void RunBatchOf(Executor& executor, std::vector<Tile> batch);
  Work WaitForWork(Executor& executor);
  bool MayStop() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Work NextWork(Executor& executor) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  TileQueue::Popped NextTiles(const Executor& executor) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Wait() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Refusal() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void SetPulse(const Executor& executor, const Pulse& pulse);
  void Lend(const Executor& executor, const std::vector<Tile>& tiles);
  bool TakeBack(const Executor& executor);
  void RunTaskOf(const Executor& executor, const std::function<void()>& task);
  void RunAndAnswer(Executor& executor, std::vector<Tile> batch);
  void AnswerOrRunAlone(Executor& executor, std::vector<Tile> batch, Results results);
  void RunAgain(Executor& executor, std::vector<Tile> tiles, int most);
  std::vector<Tile> TakeWanted(std::vector<Tile> tiles);
  void FailDevice(const absl::Status& failure, std::vector<Tile> batch);

  const BatcherOptions options_;
  const std::vector<int> batch_sizes_;
  std::atomic<int64_t> batches_ = 0;  // that have run

  mutable Mutex mutex_;
  CondVar work_;
  TileQueue queue_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::deque<std::function<void()>>> tasks_ ABSL_GUARDED_BY(mutex_);  // by device
  std::vector<Watched> watched_ ABSL_GUARDED_BY(mutex_);                          // by device
  size_t busy_ ABSL_GUARDED_BY(mutex_);  // executors that do not wait for work
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status device_failure_ ABSL_GUARDED_BY(mutex_);  // UNAVAILABLE once a device has failed

  std::vector<Executor> executors_;   // constant but for what is in them
  std::vector<std::thread> threads_;  // last: they use all of the above
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_BATCH_BATCHER_H_
