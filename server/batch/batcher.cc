#include "server/batch/batcher.h"

#include <pthread.h>

#include <algorithm>
#include <exception>
#include <iterator>
#include <new>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/types/span.h"
#include "model/base/device_failure.h"
#include "spdlog/spdlog.h"

namespace deweather {
namespace {

using Results = std::vector<absl::StatusOr<RestoredTile>>;

// Whatever the queue says: a delay without end, or a clock that was set back.
constexpr absl::Duration kLongestWait = absl::Minutes(1);

// Whatever a caller's function throws stops here: the executor threads must survive it.
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

void RunTask(const std::function<void()>& task) {
  const absl::Status status = Guarded(task);
  if (!status.ok()) spdlog::error("a task on the executor failed: {}", status.ToString());
}

// One result for each tile, whatever `run` does.
Results RunGuarded(const RunBatch& run, absl::Span<const Tile> tiles) {
  Results results;
  absl::Status status = Guarded([&] { results = run(tiles); });
  if (status.ok() && results.size() == tiles.size()) return results;
  if (status.ok()) {
    status = absl::InternalError(
        absl::StrCat("a batch of ", tiles.size(), " tiles gave ", results.size(), " results"));
  }
  return Results(tiles.size(), status);
}

// The first failure of the device among the results; OK if there is none.
absl::Status DeviceFailureIn(const Results& results) {
  for (const absl::StatusOr<RestoredTile>& result : results) {
    if (!result.ok() && IsDeviceFailure(result.status())) return result.status();
  }
  return absl::OkStatus();
}

bool AllRanOutOfMemory(const Results& results) {
  return std::ranges::all_of(results, [](const absl::StatusOr<RestoredTile>& result) {
    return absl::IsResourceExhausted(result.status());
  });
}

bool AllGood(const Results& results) {
  return std::ranges::all_of(results, &absl::StatusOr<RestoredTile>::ok);
}

// A batch that ran.
struct Ran {
  int64_t number = 0;
  absl::Time start;
  absl::Duration elapsed;
};

void Complete(const std::vector<Tile>& batch, const Ran& ran, Results* results) {
  for (size_t i = 0; i < batch.size(); ++i) {
    absl::StatusOr<RestoredTile>& result = (*results)[i];
    if (!result.ok()) continue;
    result->batch = ran.number;
    result->wait = ran.start - batch[i].enqueued;
    result->infer = ran.elapsed / static_cast<int64_t>(batch.size());
  }
}

void Learn(const std::vector<Tile>& batch, absl::Duration elapsed) {
  const Tile& tile = batch.front();
  if (tile.cost == nullptr) return;
  const int64_t pixels = int64_t{tile.rect.width} * tile.rect.height;
  tile.cost->Add(pixels * static_cast<int64_t>(batch.size()), elapsed);
}

// Takes the first `count` out.
std::vector<Tile> TakeFirst(std::vector<Tile>& tiles, int count) {
  const auto end = tiles.begin() + count;
  std::vector<Tile> first(std::make_move_iterator(tiles.begin()), std::make_move_iterator(end));
  tiles.erase(tiles.begin(), end);
  return first;
}

}  // namespace

Batcher::Batcher(BatcherOptions options, std::vector<RunBatch> devices)
    : options_(std::move(options)),
      batch_sizes_(BatchSizes(options_.max_batch)),
      queue_(options_.max_batch, options_.max_batch_delay),
      tasks_(devices.size()),
      watched_(devices.size()),
      busy_(devices.size()) {
  executors_.reserve(devices.size());
  for (RunBatch& run : devices) {
    executors_.push_back({std::move(run), MemoryLimit(batch_sizes_), executors_.size()});
  }
  threads_.reserve(executors_.size());
  for (Executor& executor : executors_) {
    threads_.emplace_back([this, &executor] { Loop(executor); });
  }
}

Batcher::~Batcher() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  work_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

void Batcher::Push(std::vector<Tile> tiles) {
  const absl::Time now = absl::Now();
  absl::Status refusal;
  {
    MutexLock lock(mutex_);
    refusal = Refusal();
    for (Tile& tile : tiles) {
      if (refusal.ok()) queue_.Push(std::move(tile), now);
    }
  }
  if (refusal.ok()) return work_.NotifyAll();
  for (Tile& tile : tiles) Answer(tile, refusal);
}

void Batcher::Drop(const Call& call, const absl::Status& status) {
  std::vector<Tile> dropped;
  {
    MutexLock lock(mutex_);
    dropped = queue_.Remove(call);
  }
  for (Tile& tile : dropped) Answer(tile, status);
}

void Batcher::Post(std::function<void()> task, int device) {
  {
    MutexLock lock(mutex_);
    tasks_[static_cast<size_t>(device)].push_back(std::move(task));
  }
  work_.NotifyAll();
}

QueueDepth Batcher::Depth() const {
  const absl::Time now = absl::Now();
  MutexLock lock(mutex_);
  return queue_.Depth(now);
}

std::vector<Pulse> Batcher::Pulses() const {
  std::vector<Pulse> pulses;
  MutexLock lock(mutex_);
  for (const Watched& watched : watched_) pulses.push_back(watched.pulse);
  return pulses;
}

void Batcher::GiveUp(int device, const absl::Status& why) {
  std::vector<Tile> in_hand;
  {
    MutexLock lock(mutex_);
    Watched& watched = watched_[static_cast<size_t>(device)];
    for (const std::vector<Tile>* const tiles : std::exchange(watched.lent, {})) {
      std::ranges::copy(*tiles, std::back_inserter(in_hand));
    }
  }
  FailDevice(why, std::move(in_hand));
}

// Why no tile may come in; OK if it may.
absl::Status Batcher::Refusal() const {
  if (!device_failure_.ok()) return device_failure_;
  return stopping_ ? absl::UnavailableError("the server stops") : absl::OkStatus();
}

// The name, which `top -H` and perf show, passes on to the threads that the model starts.
void Batcher::Loop(Executor& executor) {
  pthread_setname_np(pthread_self(), "model");
  for (;;) {
    Work work = WaitForWork(executor);
    if (work.stop) return;
    for (TileQueue::Dropped& dropped : work.popped.dropped) {
      Answer(dropped.tile, std::move(dropped.status));
    }
    if (work.task) RunTaskOf(executor, work.task);
    if (!work.popped.batch.empty()) RunBatchOf(executor, std::move(work.popped.batch));
  }
}

// A tile for which there is no room even alone says nothing of how large batches may be.
void Batcher::RunBatchOf(Executor& executor, std::vector<Tile> batch) {
  const MemoryLimit before = executor.memory;
  executor.no_room_alone = false;
  RunAndAnswer(executor, std::move(batch));
  if (executor.no_room_alone) executor.memory = before;
}

Batcher::Work Batcher::WaitForWork(Executor& executor) {
  MutexLock lock(mutex_);
  --busy_;
  if (stopping_) work_.NotifyAll();
  for (;;) {
    Work work = NextWork(executor);
    if (!work.none()) {
      ++busy_;
      return work;
    }
    work.stop = MayStop();
    if (work.stop) return work;
    Wait();
  }
}

// Whoever is busy, or will be with a task, may post more of them: the executors stop together.
bool Batcher::MayStop() const {
  const auto empty = [](const std::deque<std::function<void()>>& tasks) { return tasks.empty(); };
  return stopping_ && busy_ == 0 && std::ranges::all_of(tasks_, empty);
}

// Tiles and tasks take turns. (A batch is popped when it is to run, and not before a task: it would
// grow old.)
Batcher::Work Batcher::NextWork(Executor& executor) {
  Work work;
  std::deque<std::function<void()>>& tasks = tasks_[executor.device];
  if (tasks.empty() || executor.ran_task) work.popped = NextTiles(executor);
  if (work.none() && !tasks.empty()) {
    work.task = std::move(tasks.front());
    tasks.pop_front();
  }
  executor.ran_task = work.task != nullptr;
  return work;
}

TileQueue::Popped Batcher::NextTiles(const Executor& executor) {
  if (!stopping_) return queue_.PopBatch(absl::Now(), executor.memory.tiles());
  TileQueue::Popped popped;
  for (Tile& tile : queue_.RemoveAll()) popped.dropped.push_back({std::move(tile), Refusal()});
  return popped;
}

void Batcher::Wait() {
  const std::optional<absl::Time> deadline = queue_.NextDeadline();
  if (!deadline.has_value()) return work_.Wait(mutex_);
  work_.WaitFor(mutex_, std::clamp(*deadline - absl::Now(), absl::ZeroDuration(), kLongestWait));
}

void Batcher::SetPulse(const Executor& executor, const Pulse& pulse) {
  MutexLock lock(mutex_);
  watched_[executor.device].pulse = pulse;
}

// The executor must not touch them until it has them back.
void Batcher::Lend(const Executor& executor, const std::vector<Tile>& tiles) {
  MutexLock lock(mutex_);
  watched_[executor.device].lent.push_back(&tiles);
}

// What was lent last; false: it was given up, and answered, meanwhile.
bool Batcher::TakeBack(const Executor& executor) {
  MutexLock lock(mutex_);
  std::vector<const std::vector<Tile>*>& lent = watched_[executor.device].lent;
  if (lent.empty()) return false;
  lent.pop_back();
  return true;
}

void Batcher::RunTaskOf(const Executor& executor, const std::function<void()>& task) {
  SetPulse(executor, {Pulse::Of::kTask, absl::Now()});
  RunTask(task);
  SetPulse(executor, {});
}

void Batcher::RunAndAnswer(Executor& executor, std::vector<Tile> batch) {
  const auto size = static_cast<int>(batch.size());
  const absl::Time start = absl::Now();
  Lend(executor, batch);
  SetPulse(executor, {Pulse::Of::kBatch, start});
  Results results = RunGuarded(executor.run, batch);
  SetPulse(executor, {});
  if (!TakeBack(executor)) return;
  const absl::Duration elapsed = std::max(absl::Now() - start, absl::ZeroDuration());
  const absl::Status failure = DeviceFailureIn(results);
  if (!failure.ok()) return FailDevice(failure, std::move(batch));
  if (size > 1 && AllRanOutOfMemory(results)) {
    executor.memory.Failed(size);
    return RunAgain(executor, std::move(batch), size / 2);
  }
  if (AllRanOutOfMemory(results)) executor.no_room_alone = true;
  Complete(batch, {++batches_, start, elapsed}, &results);
  if (AllGood(results)) {
    executor.memory.Succeeded(size);
    Learn(batch, elapsed);
  }
  AnswerOrRunAlone(executor, std::move(batch), std::move(results));
}

// A failed tile that had company runs again alone, so that it is not blamed for another's failure.
void Batcher::AnswerOrRunAlone(Executor& executor, std::vector<Tile> batch, Results results) {
  std::vector<Tile> failed;
  for (size_t i = 0; i < batch.size(); ++i) {
    if (results[i].ok() || batch.size() == 1) {
      Answer(batch[i], std::move(results[i]));
    } else {
      failed.push_back(std::move(batch[i]));
    }
  }
  RunAgain(executor, std::move(failed), 1);
}

// Runs tiles of a failed batch again, at most `most` at a time.
void Batcher::RunAgain(Executor& executor, std::vector<Tile> tiles, int most) {
  while (!(tiles = TakeWanted(std::move(tiles))).empty()) {
    const auto limit = std::min({static_cast<int>(tiles.size()), most, executor.memory.tiles()});
    std::vector<Tile> first = TakeFirst(tiles, LargestSize(batch_sizes_, limit));
    Lend(executor, tiles);
    RunAndAnswer(executor, std::move(first));
    if (!TakeBack(executor)) return;
  }
}

// Answers the tiles that are not to run any more; the others are returned.
std::vector<Tile> Batcher::TakeWanted(std::vector<Tile> tiles) {
  const absl::Time now = absl::Now();
  absl::Status device_failure;
  {
    MutexLock lock(mutex_);
    device_failure = device_failure_;
  }
  std::vector<Tile> wanted;
  for (Tile& tile : tiles) {
    absl::Status status = device_failure.ok() ? StillWanted(*tile.call, now) : device_failure;
    if (status.ok()) {
      wanted.push_back(std::move(tile));
    } else {
      Answer(tile, std::move(status));
    }
  }
  return wanted;
}

// Nothing runs after this: it is reported, if it is the first, before the tiles are answered.
void Batcher::FailDevice(const absl::Status& failure, std::vector<Tile> batch) {
  absl::Status answer =
      absl::UnavailableError(absl::StrCat("the device failed: ", failure.message()));
  bool first = false;
  {
    MutexLock lock(mutex_);
    first = device_failure_.ok();
    if (first) device_failure_ = answer;
    std::ranges::move(queue_.RemoveAll(), std::back_inserter(batch));
  }
  if (first && options_.on_device_failure) {
    const absl::Status status = Guarded([&] { options_.on_device_failure(failure); });
    if (!status.ok()) spdlog::error("the report of a device failure failed: {}", status.ToString());
  }
  for (Tile& tile : batch) Answer(tile, answer);
}

}  // namespace deweather
