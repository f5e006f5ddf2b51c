#include "server/batch/batcher.h"

#include <exception>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "spdlog/spdlog.h"

namespace deweather {
namespace {

// Whatever a caller's function throws stops here: the executor thread must survive it.
template <typename Function>
absl::Status Guarded(Function&& function) {
  try {
    function();
    return absl::OkStatus();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory");
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("unexpected exception: ", error.what()));
  } catch (...) {
    return absl::InternalError("unexpected exception");
  }
}

void Answer(Tile& tile, absl::StatusOr<RestoredTile> result) {
  const TileDone done = std::move(tile.done);
  const absl::Status status = Guarded([&] { done(std::move(result)); });
  if (!status.ok()) spdlog::error("a tile's answer failed: {}", status.ToString());
}

}  // namespace

Batcher::Batcher(BatcherOptions options, std::vector<RunBatch> devices)
    : options_(std::move(options)), devices_(std::move(devices)), queue_(options_.max_batch), executor_([this] { Loop(); }) {}

Batcher::~Batcher() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  work_.NotifyAll();
  executor_.join();
}

void Batcher::Push(std::vector<Tile> tiles) {
  const absl::Time now = absl::Now();
  {
    MutexLock lock(mutex_);
    for (Tile& tile : tiles) queue_.Push(std::move(tile), now);
  }
  work_.NotifyOne();
}

void Batcher::Drop(const Call& call, const absl::Status& status) {
  std::vector<Tile> dropped;
  {
    MutexLock lock(mutex_);
    dropped = queue_.Remove(call);
  }
  for (Tile& tile : dropped) Answer(tile, status);
}

void Batcher::Post(std::function<void()> task) {
  {
    MutexLock lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  work_.NotifyOne();
}

QueueDepth Batcher::Depth() const {
  const absl::Time now = absl::Now();
  MutexLock lock(mutex_);
  return queue_.Depth(now);
}

void Batcher::Loop() {
  for (;;) {
    Work work = WaitForWork();
    for (TileQueue::Dropped& dropped : work.popped.dropped) {
      Answer(dropped.tile, std::move(dropped.status));
    }
    if (work.task) {
      const absl::Status status = Guarded(work.task);
      if (!status.ok()) spdlog::error("a task on the executor failed: {}", status.ToString());
    }
    if (!work.popped.batch.empty()) RunAndAnswer(std::move(work.popped.batch));
    if (work.stop) return;
  }
}

Batcher::Work Batcher::WaitForWork() {
  Work work;
  MutexLock lock(mutex_);
  while (!stopping_ && queue_.empty() && tasks_.empty()) work_.Wait(mutex_);
  if (!tasks_.empty()) {
    work.task = std::move(tasks_.front());
    tasks_.pop_front();
  }
  if (!stopping_) {
    work.popped = queue_.PopBatch(absl::Now());
    return work;
  }
  for (Tile& tile : queue_.RemoveAll()) {
    work.popped.dropped.push_back({std::move(tile), absl::UnavailableError("the server stops")});
  }
  work.stop = tasks_.empty();
  return work;
}

void Batcher::RunAndAnswer(std::vector<Tile> batch) {
  const absl::Time start = absl::Now();
  std::vector<absl::StatusOr<RestoredTile>> results = Run(batch);
  const absl::Duration share = (absl::Now() - start) / static_cast<int64_t>(batch.size());
  ++batches_;
  for (size_t i = 0; i < batch.size(); ++i) {
    if (!results[i].ok() && batch.size() > 1) results[i] = RunAlone(batch[i]);
    if (results[i].ok()) {
      results[i]->batch = batches_;
      results[i]->wait = start - batch[i].enqueued;
      results[i]->infer = share;
    }
    Answer(batch[i], std::move(results[i]));
  }
}

// One result for each tile, whatever `run_` does.
std::vector<absl::StatusOr<RestoredTile>> Batcher::Run(absl::Span<const Tile> tiles) {
  std::vector<absl::StatusOr<RestoredTile>> results;
  absl::Status status = Guarded([&] { results = devices_.front()(tiles); });
  if (status.ok() && results.size() == tiles.size()) return results;
  if (status.ok()) {
    status = absl::InternalError(
        absl::StrCat("a batch of ", tiles.size(), " tiles gave ", results.size(), " results"));
  }
  return std::vector<absl::StatusOr<RestoredTile>>(tiles.size(), status);
}

absl::StatusOr<RestoredTile> Batcher::RunAlone(const Tile& tile) {
  absl::Status wanted = StillWanted(*tile.call, absl::Now());
  if (!wanted.ok()) return wanted;
  return std::move(Run(absl::MakeConstSpan(&tile, 1)).front());
}

}  // namespace deweather
