#include "server/batch/batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <new>
#include <set>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "model/base/device_failure.h"
#include "tests/batch/fake_tile.h"
#include "tests/batch/signal.h"

namespace deweather {
namespace {

using Results = std::vector<absl::StatusOr<RestoredTile>>;
using testing::ElementsAre;

// A restored tile that says which tile it was.
RestoredTile Restored(const Tile& tile) { return {.pixels = {static_cast<float>(tile.rect.x)}}; }

Results RestoreAll(absl::Span<const Tile> tiles) {
  Results results;
  for (const Tile& tile : tiles) results.push_back(Restored(tile));
  return results;
}

// Collects answers and lets a test wait for them.
class Answers {
 public:
  // Answers of tile `index` go here.
  TileDone For(int index) {
    return [this, index](absl::StatusOr<RestoredTile> result) {
      MutexLock lock(mutex_);
      answers_.emplace(index, std::move(result));
      changed_.NotifyAll();
    };
  }

  // Waits for `count` answers in all.
  void Await(size_t count) {
    MutexLock lock(mutex_);
    while (answers_.size() < count) changed_.Wait(mutex_);
  }

  size_t count(int index) {
    MutexLock lock(mutex_);
    return answers_.count(index);
  }
  size_t size() {
    MutexLock lock(mutex_);
    return answers_.size();
  }
  absl::StatusOr<RestoredTile> of(int index) {
    MutexLock lock(mutex_);
    const auto found = answers_.find(index);
    return found == answers_.end() ? absl::NotFoundError("not answered") : found->second;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::multimap<int, absl::StatusOr<RestoredTile>> answers_ ABSL_GUARDED_BY(mutex_);
};

// Holds an executor in a task, so that what a test pushes meanwhile makes one batch.
class Hold {
 public:
  explicit Hold(Batcher& batcher, int device = 0) {
    const Signal held;
    batcher.Post(
        [held, released = released_] {
          held.Raise();
          released.Wait();
        },
        device);
    held.Wait();
  }
  void Release() { released_.Raise(); }

 private:
  Signal released_;
};

// Lets nobody on until so many have come.
class Barrier {
 public:
  explicit Barrier(int count) : missing_(count) {}

  void Arrive() {
    MutexLock lock(mutex_);
    --missing_;
    changed_.NotifyAll();
    while (missing_ > 0) changed_.Wait(mutex_);
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  int missing_ ABSL_GUARDED_BY(mutex_);
};

// Runs an empty task, and with it whatever the executor would do before.
void Flush(Batcher& batcher, int device = 0) {
  for (int i = 0; i < 2; ++i) {  // of two tasks one has the tiles' turn before it
    const Signal ran;
    batcher.Post([ran] { ran.Raise(); }, device);
    ran.Wait();
  }
}

absl::Status DeviceFailure() {
  return MarkDeviceFailure(absl::InternalError("an illegal memory access"));
}

// A run that notes the sizes of its batches. One executor.
class Recorder {
 public:
  explicit Recorder(RunBatch run = RestoreAll) : run_(std::move(run)) {}

  RunBatch run() {
    return [this](absl::Span<const Tile> tiles) {
      sizes.push_back(tiles.size());
      return run_(tiles);
    };
  }

  std::vector<size_t> sizes;

 private:
  RunBatch run_;
};

// Has no memory for more than `most` tiles.
RunBatch ShortOfMemory(size_t most) {
  return [most](absl::Span<const Tile> tiles) -> Results {
    if (tiles.size() > most) throw std::bad_alloc();
    return RestoreAll(tiles);
  };
}

class BatcherTest : public testing::Test {
 protected:
  std::vector<Tile> Tiles(const std::shared_ptr<Call>& call, int first, int count) {
    std::vector<Tile> tiles;
    for (int i = first; i < first + count; ++i) {
      tiles.push_back(MakeTile(call, model_, i, 8, answers_.For(i)));
    }
    return tiles;
  }

  // Runs `count` tiles in one batch and waits for their answers.
  void RunTogether(const RunBatch& run, int count) {
    Batcher batcher({.max_batch = 8}, {run});
    Hold hold(batcher);
    batcher.Push(Tiles(MakeCall(), 0, count));
    hold.Release();
    answers_.Await(static_cast<size_t>(count));
  }

  absl::StatusCode CodeOf(int index) { return answers_.of(index).status().code(); }

  const std::shared_ptr<const Restorer> model_ = FakeModel();
  Answers answers_;
};

TEST_F(BatcherTest, EachTileGetsItsOwnResult) {
  RunTogether(RestoreAll, 5);
  for (int i = 0; i < 5; ++i) EXPECT_THAT(answers_.of(i)->pixels, ElementsAre(i));
}

TEST_F(BatcherTest, TilesOfABatchShareItsNumberAndTime) {
  RunTogether(RestoreAll, 4);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(answers_.of(i)->batch, 1);
    EXPECT_EQ(answers_.of(i)->infer, answers_.of(0)->infer);
    EXPECT_GE(answers_.of(i)->wait, absl::ZeroDuration());
  }
}

TEST_F(BatcherTest, ExceptionBlamesOnlyTheCulprit) {
  const RunBatch run = [](absl::Span<const Tile> tiles) {
    for (const Tile& tile : tiles) {
      if (tile.rect.x == 2) throw std::runtime_error("planted");
    }
    return RestoreAll(tiles);
  };
  RunTogether(run, 4);
  for (const int good : {0, 1, 3}) EXPECT_THAT(answers_.of(good)->pixels, ElementsAre(good));
  EXPECT_EQ(CodeOf(2), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(answers_.of(2).status().message()), testing::HasSubstr("planted"));
}

TEST_F(BatcherTest, ErrorOfOneTileIsItsOwn) {
  const RunBatch run = [](absl::Span<const Tile> tiles) {
    Results results = RestoreAll(tiles);
    for (size_t i = 0; i < tiles.size(); ++i) {
      if (tiles[i].rect.x == 1) results[i] = absl::InternalError("not finite");
    }
    return results;
  };
  RunTogether(run, 4);
  for (const int good : {0, 2, 3}) EXPECT_TRUE(answers_.of(good).ok());
  EXPECT_EQ(CodeOf(1), absl::StatusCode::kInternal);
}

TEST_F(BatcherTest, WhatFailsOnlyInCompanySucceedsAlone) {
  const RunBatch run = [](absl::Span<const Tile> tiles) {
    if (tiles.size() == 1) return RestoreAll(tiles);
    return Results(tiles.size(), absl::ResourceExhaustedError("too much at once"));
  };
  RunTogether(run, 4);
  for (int i = 0; i < 4; ++i) EXPECT_THAT(answers_.of(i)->pixels, ElementsAre(i));
}

TEST_F(BatcherTest, OutOfMemoryIsResourceExhausted) {
  RunTogether([](absl::Span<const Tile>) -> Results { throw std::bad_alloc(); }, 2);
  EXPECT_EQ(CodeOf(0), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(CodeOf(1), absl::StatusCode::kResourceExhausted);
}

TEST_F(BatcherTest, WrongNumberOfResultsIsInternal) {
  RunTogether([](absl::Span<const Tile>) { return Results{}; }, 2);
  EXPECT_EQ(CodeOf(0), absl::StatusCode::kInternal);
  EXPECT_EQ(CodeOf(1), absl::StatusCode::kInternal);
}

TEST_F(BatcherTest, SurvivesWhateverIsThrown) {
  bool first = true;
  const RunBatch run = [&first](absl::Span<const Tile> tiles) {
    if (std::exchange(first, false)) throw 42;
    return RestoreAll(tiles);
  };
  Batcher batcher({.max_batch = 8}, {run});
  batcher.Push(Tiles(MakeCall(), 0, 1));
  answers_.Await(1);
  EXPECT_EQ(CodeOf(0), absl::StatusCode::kInternal);
  batcher.Push(Tiles(MakeCall(), 1, 1));
  answers_.Await(2);
  EXPECT_TRUE(answers_.of(1).ok());
}

TEST_F(BatcherTest, SurvivesAnAnswerThatThrows) {
  Batcher batcher({.max_batch = 8}, {RestoreAll});
  std::vector<Tile> tiles;
  tiles.push_back(MakeTile(MakeCall(), model_, 0, 8, [](const absl::StatusOr<RestoredTile>&) {
    throw std::runtime_error("planted");
  }));
  batcher.Push(std::move(tiles));
  batcher.Push(Tiles(MakeCall(), 1, 1));
  answers_.Await(1);
  EXPECT_TRUE(answers_.of(1).ok());
}

TEST_F(BatcherTest, LateTileNeverEntersABatch) {
  std::atomic<int> ran = 0;
  const RunBatch run = [&ran](absl::Span<const Tile> tiles) {
    ran += static_cast<int>(tiles.size());
    return RestoreAll(tiles);
  };
  Batcher batcher({.max_batch = 8}, {run});
  batcher.Push(Tiles(MakeCall(At(0)), 0, 3));
  answers_.Await(3);
  EXPECT_EQ(CodeOf(0), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(ran, 0);
}

TEST_F(BatcherTest, DropAnswersWhatWaitsAtOnce) {
  Batcher batcher({.max_batch = 8}, {RestoreAll});
  Hold hold(batcher);
  const auto call = MakeCall();
  batcher.Push(Tiles(call, 0, 3));
  batcher.Push(Tiles(MakeCall(), 10, 1));
  EXPECT_EQ(batcher.Depth().tiles, 4);
  batcher.Drop(*call, absl::CancelledError("planted"));
  EXPECT_EQ(answers_.size(), 3u) << "answered by Drop itself, on this thread";
  EXPECT_EQ(batcher.Depth().tiles, 1);
  hold.Release();
  answers_.Await(4);
  EXPECT_EQ(CodeOf(2), absl::StatusCode::kCancelled);
  EXPECT_TRUE(answers_.of(10).ok());
}

TEST_F(BatcherTest, CancelInTheQueueKeepsItOutOfTheBatch) {
  std::vector<int> ran;
  const RunBatch run = [&ran](absl::Span<const Tile> tiles) {
    for (const Tile& tile : tiles) ran.push_back(tile.rect.x);
    return RestoreAll(tiles);
  };
  Batcher batcher({.max_batch = 8}, {run});
  Hold hold(batcher);
  const auto call = MakeCall();
  batcher.Push(Tiles(call, 0, 2));
  batcher.Push(Tiles(MakeCall(), 10, 1));
  call->cancelled = true;
  hold.Release();
  answers_.Await(3);
  EXPECT_THAT(ran, ElementsAre(10));
  EXPECT_EQ(CodeOf(1), absl::StatusCode::kCancelled);
}

TEST_F(BatcherTest, CancelledTileOfAFailedBatchIsNotRunAgain) {
  const auto call = MakeCall();
  std::vector<size_t> sizes;
  const RunBatch run = [&](absl::Span<const Tile> tiles) {
    sizes.push_back(tiles.size());
    call->cancelled = true;  // in the middle of the batch
    return Results(tiles.size(), absl::InternalError("planted"));
  };
  Batcher batcher({.max_batch = 8}, {run});
  Hold hold(batcher);
  batcher.Push(Tiles(call, 0, 2));
  hold.Release();
  answers_.Await(2);
  EXPECT_THAT(sizes, ElementsAre(2));
  EXPECT_EQ(CodeOf(0), absl::StatusCode::kCancelled);
}

TEST_F(BatcherTest, TasksRunBetweenBatchesOnTheSameThread) {
  std::vector<std::thread::id> threads;
  const RunBatch run = [&threads](absl::Span<const Tile> tiles) {
    threads.push_back(std::this_thread::get_id());
    return RestoreAll(tiles);
  };
  Batcher batcher({.max_batch = 1}, {run});
  Hold hold(batcher);
  batcher.Push(Tiles(MakeCall(), 0, 2));
  std::vector<size_t> batches_before;
  for (int i = 0; i < 2; ++i) {
    batcher.Post([&] {
      batches_before.push_back(threads.size());
      EXPECT_TRUE(threads.empty() || threads.back() == std::this_thread::get_id());
    });
  }
  hold.Release();
  answers_.Await(2);
  const Signal last;
  batcher.Post([last] { last.Raise(); });
  last.Wait();
  EXPECT_THAT(batches_before, ElementsAre(1, 2)) << "the hold was a task too";
}

TEST_F(BatcherTest, SurvivesATaskThatThrows) {
  Batcher batcher({.max_batch = 8}, {RestoreAll});
  batcher.Post([] { throw std::runtime_error("planted"); });
  batcher.Push(Tiles(MakeCall(), 0, 1));
  answers_.Await(1);
  EXPECT_TRUE(answers_.of(0).ok());
}

TEST_F(BatcherTest, DestructionAnswersWhatWaitsAndRunsTasks) {
  std::atomic<int> tasks = 0;
  std::thread releaser;
  {
    Batcher batcher({.max_batch = 1}, {RestoreAll});
    Hold hold(batcher);
    batcher.Push(Tiles(MakeCall(), 0, 3));
    for (int i = 0; i < 3; ++i) batcher.Post([&tasks] { ++tasks; });
    releaser = std::thread([hold]() mutable { hold.Release(); });
  }
  releaser.join();
  EXPECT_EQ(tasks, 3);
  ASSERT_EQ(answers_.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(answers_.of(i).ok() || CodeOf(i) == absl::StatusCode::kUnavailable);
  }
}

TEST_F(BatcherTest, TaskThatATaskPostsAtTheEndRuns) {
  std::atomic<int> tasks = 0;
  {
    Batcher batcher({.max_batch = 1}, {RestoreAll, RestoreAll});
    batcher.Post([&] {
      batcher.Post([&] { batcher.Post([&tasks] { ++tasks; }, 0); }, 1);
      ++tasks;
    });
  }
  EXPECT_EQ(tasks, 2);
}

TEST_F(BatcherTest, PushInDestructionIsAnsweredAtOnce) {
  {
    Batcher batcher({.max_batch = 8, .max_batch_delay = absl::Hours(1)}, {RestoreAll});
    std::vector<Tile> tiles;
    tiles.push_back(MakeTile(MakeCall(), model_, 0, 8, [&](const absl::StatusOr<RestoredTile>&) {
      batcher.Push(Tiles(MakeCall(), 1, 1));
      EXPECT_EQ(CodeOf(1), absl::StatusCode::kUnavailable);
    }));
    batcher.Push(std::move(tiles));
  }
  EXPECT_EQ(answers_.size(), 1u);
}

// A batch is made after the task that comes before it, not beside it.
TEST_F(BatcherTest, TilesThatAreCancelledDuringATaskDoNotRun) {
  const Signal running;
  const Signal go_on;
  Recorder recorder([&](absl::Span<const Tile> tiles) {
    running.Raise();
    go_on.Wait();
    return RestoreAll(tiles);
  });
  const auto call = MakeCall();
  Batcher batcher({.max_batch = 8}, {recorder.run()});
  batcher.Push(Tiles(MakeCall(), 0, 1));
  running.Wait();
  batcher.Push(Tiles(call, 10, 2));
  batcher.Post([call] { call->cancelled = true; });
  go_on.Raise();
  answers_.Await(3);
  EXPECT_EQ(CodeOf(10), absl::StatusCode::kCancelled);
  EXPECT_THAT(recorder.sizes, ElementsAre(1));
}

TEST_F(BatcherTest, NonFiniteTileFailsAloneInBothRuns) {
  std::vector<size_t> sizes;
  const RunBatch run = [&sizes](absl::Span<const Tile> tiles) {
    sizes.push_back(tiles.size());
    Results results = RestoreAll(tiles);
    for (size_t i = 0; i < tiles.size(); ++i) {
      if (tiles[i].rect.x % 4 == 3) results[i] = absl::InternalError("a non-finite pixel");
    }
    return results;
  };
  RunTogether(run, 8);
  EXPECT_THAT(sizes, ElementsAre(8, 1, 1));
  for (int i = 0; i < 8; ++i) EXPECT_EQ(answers_.of(i).ok(), i % 4 != 3) << i;
}

TEST_F(BatcherTest, RunsOfABatchHaveTheirOwnNumbers) {
  RunTogether(ShortOfMemory(2), 4);
  EXPECT_EQ(answers_.of(0)->batch, answers_.of(1)->batch);
  EXPECT_EQ(answers_.of(2)->batch, answers_.of(3)->batch);
  EXPECT_NE(answers_.of(0)->batch, answers_.of(2)->batch);
}

class BatcherMemoryTest : public BatcherTest {};

TEST_F(BatcherMemoryTest, BatchRunsAgainInHalves) {
  Recorder recorder(ShortOfMemory(4));
  RunTogether(recorder.run(), 8);
  EXPECT_THAT(recorder.sizes, ElementsAre(8, 4, 4));
  for (int i = 0; i < 8; ++i) EXPECT_THAT(answers_.of(i)->pixels, ElementsAre(i));
}

TEST_F(BatcherMemoryTest, HalvesAreHalvedAgain) {
  Recorder recorder(ShortOfMemory(1));
  RunTogether(recorder.run(), 4);
  EXPECT_THAT(recorder.sizes, ElementsAre(4, 2, 1, 1, 1, 1)) << "what failed is not tried again";
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(answers_.of(i).ok());
}

TEST_F(BatcherMemoryTest, LoneTileIsAnswered) {
  Recorder recorder(ShortOfMemory(0));
  RunTogether(recorder.run(), 2);
  EXPECT_THAT(recorder.sizes, ElementsAre(2, 1, 1));
  for (int i = 0; i < 2; ++i) EXPECT_EQ(CodeOf(i), absl::StatusCode::kResourceExhausted);
}

TEST_F(BatcherMemoryTest, StatusCountsAsWellAsAnException) {
  Recorder recorder([](absl::Span<const Tile> tiles) {
    if (tiles.size() <= 2) return RestoreAll(tiles);
    return Results(tiles.size(), absl::ResourceExhaustedError("out of device memory"));
  });
  RunTogether(recorder.run(), 4);
  EXPECT_THAT(recorder.sizes, ElementsAre(4, 2, 2));
}

TEST_F(BatcherMemoryTest, LaterBatchesAreSmallerUntilATrialIsOver) {
  bool short_of_memory = true;
  Recorder recorder([&](absl::Span<const Tile> tiles) {
    return ShortOfMemory(std::exchange(short_of_memory, false) ? 4 : 8)(tiles);
  });
  constexpr int kTiles = 8 + (kMemoryTrial - 2) * 4 + 8;
  RunTogether(recorder.run(), kTiles);
  std::vector<size_t> expected(1 + kMemoryTrial, 4);
  expected.front() = 8;
  expected.push_back(8);
  EXPECT_EQ(recorder.sizes, expected);
}

TEST_F(BatcherMemoryTest, FailureOfOneTileOnlyLimitsNothing) {
  Recorder recorder([](absl::Span<const Tile> tiles) {
    Results results = RestoreAll(tiles);
    if (tiles.front().rect.x == 0) results.front() = absl::ResourceExhaustedError("planted");
    return results;
  });
  RunTogether(recorder.run(), 16);
  EXPECT_THAT(recorder.sizes, ElementsAre(8, 1, 8));
}

TEST_F(BatcherMemoryTest, TileWithoutRoomEvenAloneLimitsNoOtherBatch) {
  Recorder recorder([](absl::Span<const Tile> tiles) {
    for (const Tile& tile : tiles) {
      if (tile.rect.x == 0) throw std::bad_alloc();
    }
    return RestoreAll(tiles);
  });
  RunTogether(recorder.run(), 16);
  EXPECT_EQ(recorder.sizes.back(), 8u) << "of the tiles that came after it";
  for (int i = 0; i < 16; ++i) EXPECT_EQ(answers_.of(i).ok(), i != 0) << i;
}

TEST_F(BatcherMemoryTest, CulpritInAHalfIsBlamedAlone) {
  Recorder recorder([](absl::Span<const Tile> tiles) {
    for (const Tile& tile : tiles) {
      if (tile.rect.x == 5 && tiles.size() <= 4) throw std::runtime_error("planted");
    }
    return ShortOfMemory(4)(tiles);
  });
  RunTogether(recorder.run(), 8);
  EXPECT_THAT(recorder.sizes, ElementsAre(8, 4, 4, 1, 1, 1, 1));
  for (int i = 0; i < 8; ++i) EXPECT_EQ(answers_.of(i).ok(), i != 5) << i;
}

TEST_F(BatcherMemoryTest, CancelledTilesAreNotInTheHalves) {
  const auto call = MakeCall();
  Recorder recorder([&call](absl::Span<const Tile> tiles) {
    call->cancelled = true;
    return ShortOfMemory(2)(tiles);
  });
  Batcher batcher({.max_batch = 4}, {recorder.run()});
  Hold hold(batcher);
  batcher.Push(Tiles(call, 0, 2));
  batcher.Push(Tiles(MakeCall(), 10, 2));
  hold.Release();
  answers_.Await(4);
  EXPECT_THAT(recorder.sizes, ElementsAre(4, 2));
  EXPECT_EQ(CodeOf(0), absl::StatusCode::kCancelled);
  EXPECT_TRUE(answers_.of(11).ok());
}

class BatcherDeviceTest : public BatcherTest {
 protected:
  BatcherOptions Options(int max_batch) {
    return {.max_batch = max_batch, .on_device_failure = [this](const absl::Status& status) {
              EXPECT_TRUE(IsDeviceFailure(status));
              ++reports_;
              reported_.Raise();
            }};
  }

  std::atomic<int> reports_ = 0;
  const Signal reported_;
};

TEST_F(BatcherDeviceTest, FailureAnswersAllAndNothingRunsAfterIt) {
  Recorder recorder(
      [](absl::Span<const Tile> tiles) { return Results(tiles.size(), DeviceFailure()); });
  Batcher batcher(Options(4), {recorder.run()});
  Hold hold(batcher);
  batcher.Push(Tiles(MakeCall(), 0, 10));
  hold.Release();
  answers_.Await(10);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(CodeOf(i), absl::StatusCode::kUnavailable);
  EXPECT_EQ(answers_.of(9).status().message(), "the device failed: an illegal memory access");
  EXPECT_THAT(recorder.sizes, ElementsAre(4)) << "no retry, no other batch";
  EXPECT_EQ(reports_, 1);
}

TEST_F(BatcherDeviceTest, FailureOfOneTileIsTheBatchs) {
  Recorder recorder([](absl::Span<const Tile> tiles) {
    Results results = RestoreAll(tiles);
    results.back() = DeviceFailure();
    return results;
  });
  Batcher batcher(Options(4), {recorder.run()});
  Hold hold(batcher);
  batcher.Push(Tiles(MakeCall(), 0, 4));
  hold.Release();
  answers_.Await(4);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(CodeOf(i), absl::StatusCode::kUnavailable);
  EXPECT_THAT(recorder.sizes, ElementsAre(4));
}

TEST_F(BatcherDeviceTest, LaterTilesAreAnsweredAtOnceAndTasksRun) {
  Batcher batcher(Options(4), {[](absl::Span<const Tile> tiles) {
                    return Results(tiles.size(), DeviceFailure());
                  }});
  batcher.Push(Tiles(MakeCall(), 0, 1));
  answers_.Await(1);
  batcher.Push(Tiles(MakeCall(), 1, 2));
  EXPECT_EQ(answers_.size(), 3u) << "answered by Push itself, on this thread";
  EXPECT_EQ(CodeOf(2), absl::StatusCode::kUnavailable);
  EXPECT_EQ(batcher.Depth().tiles, 0);
  Flush(batcher);
  EXPECT_EQ(reports_, 1);
}

TEST_F(BatcherDeviceTest, IsReportedBeforeTilesAreAnswered) {
  Batcher batcher(
      {.max_batch = 4,
       .on_device_failure =
           [this](const absl::Status&) { reports_ = 1 + static_cast<int>(answers_.size()); }},
      {[](absl::Span<const Tile> tiles) { return Results(tiles.size(), DeviceFailure()); }});
  batcher.Push(Tiles(MakeCall(), 0, 1));
  answers_.Await(1);
  EXPECT_EQ(reports_, 1);
}

TEST_F(BatcherDeviceTest, FailureInARetryEndsTheRetries) {
  Recorder recorder([](absl::Span<const Tile> tiles) {
    if (tiles.size() > 1) throw std::runtime_error("planted");
    if (tiles.front().rect.x == 0) return RestoreAll(tiles);
    return Results(1, DeviceFailure());
  });
  Batcher batcher(Options(4), {recorder.run()});
  Hold hold(batcher);
  batcher.Push(Tiles(MakeCall(), 0, 4));
  hold.Release();
  answers_.Await(4);
  EXPECT_THAT(recorder.sizes, ElementsAre(4, 1, 1));
  EXPECT_TRUE(answers_.of(0).ok());
  for (int i = 1; i < 4; ++i) EXPECT_EQ(CodeOf(i), absl::StatusCode::kUnavailable);
}

TEST_F(BatcherDeviceTest, ThreeThatFailAtOnceAreReportedOnce) {
  std::atomic<int> runs = 0;
  {
    Barrier all_run(3);
    const RunBatch run = [&](absl::Span<const Tile> tiles) {
      ++runs;
      all_run.Arrive();
      return Results(tiles.size(), DeviceFailure());
    };
    Batcher batcher(Options(1), {run, run, run});
    batcher.Push(Tiles(MakeCall(), 0, 9));
    answers_.Await(9);
  }
  EXPECT_EQ(runs, 3);
  EXPECT_EQ(reports_, 1);
  for (int i = 0; i < 9; ++i) EXPECT_EQ(CodeOf(i), absl::StatusCode::kUnavailable);
}

TEST_F(BatcherDeviceTest, BatchThatRunsElsewhereKeepsItsResult) {
  Barrier both_run(2);
  const RunBatch failing = [&](absl::Span<const Tile> tiles) {
    both_run.Arrive();
    return Results(tiles.size(), DeviceFailure());
  };
  const RunBatch good = [&](absl::Span<const Tile> tiles) {
    both_run.Arrive();
    reported_.Wait();
    return RestoreAll(tiles);
  };
  Batcher batcher(Options(1), {failing, good});
  batcher.Push(Tiles(MakeCall(), 0, 3));
  answers_.Await(3);
  int good_answers = 0;
  for (int i = 0; i < 3; ++i) good_answers += answers_.of(i).ok() ? 1 : 0;
  EXPECT_EQ(good_answers, 1);
}

TEST_F(BatcherDeviceTest, ReportThatThrowsIsSurvived) {
  Batcher batcher(
      {.max_batch = 4,
       .on_device_failure = [](const absl::Status&) { throw std::runtime_error("planted"); }},
      {[](absl::Span<const Tile> tiles) { return Results(tiles.size(), DeviceFailure()); }});
  batcher.Push(Tiles(MakeCall(), 0, 2));
  answers_.Await(2);
  EXPECT_EQ(CodeOf(1), absl::StatusCode::kUnavailable);
}

TEST_F(BatcherDeviceTest, FailureNeedsNoReport) {
  RunTogether([](absl::Span<const Tile> tiles) { return Results(tiles.size(), DeviceFailure()); },
              2);
  EXPECT_EQ(CodeOf(1), absl::StatusCode::kUnavailable);
}

class BatcherHangTest : public BatcherDeviceTest {
 protected:
  static absl::Status Hung() { return MarkDeviceFailure(absl::UnavailableError("it hangs")); }
};

TEST_F(BatcherHangTest, WhatIsInHandAndWhatWaitsIsAnswered) {
  const Signal begun, woken;
  Batcher batcher(Options(4), {[&](absl::Span<const Tile> tiles) {
                    begun.Raise();
                    woken.Wait();
                    return RestoreAll(tiles);
                  }});
  batcher.Push(Tiles(MakeCall(), 0, 1));
  begun.Wait();
  batcher.Push(Tiles(MakeCall(), 1, 4));
  EXPECT_EQ(batcher.Pulses().at(0).of, Pulse::Of::kBatch);
  batcher.GiveUp(0, Hung());
  EXPECT_EQ(answers_.size(), 5u) << "answered by GiveUp itself, on this thread";
  for (int i = 0; i < 5; ++i) EXPECT_EQ(CodeOf(i), absl::StatusCode::kUnavailable);
  EXPECT_EQ(answers_.of(0).status().message(), "the device failed: it hangs");
  EXPECT_EQ(reports_, 1);
  woken.Raise();
  Flush(batcher);
  EXPECT_EQ(answers_.size(), 5u) << "what the run gave goes nowhere";
}

TEST_F(BatcherHangTest, TilesThatWereToRunAgainAreAnswered) {
  const Signal begun, woken;
  Batcher batcher(Options(4), {[&](absl::Span<const Tile> tiles) {
                    if (tiles.size() > 1) throw std::bad_alloc();
                    begun.Raise();
                    woken.Wait();
                    return RestoreAll(tiles);
                  }});
  Hold hold(batcher);
  batcher.Push(Tiles(MakeCall(), 0, 4));
  hold.Release();
  begun.Wait();
  batcher.GiveUp(0, Hung());
  EXPECT_EQ(answers_.size(), 4u);
  woken.Raise();
  Flush(batcher);
  EXPECT_EQ(answers_.size(), 4u);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(answers_.count(i), 1u);
}

TEST_F(BatcherHangTest, AnotherDevicesBatchKeepsItsResult) {
  Barrier all_here(3);
  const Signal woken;
  const RunBatch run = [&](absl::Span<const Tile> tiles) {
    all_here.Arrive();
    woken.Wait();
    return RestoreAll(tiles);
  };
  Batcher batcher(Options(1), {run, run});
  batcher.Push(Tiles(MakeCall(), 0, 2));
  all_here.Arrive();
  batcher.GiveUp(1, Hung());
  EXPECT_EQ(answers_.size(), 1u);
  woken.Raise();
  answers_.Await(2);
  EXPECT_TRUE(answers_.of(0).ok() != answers_.of(1).ok());
}

TEST_F(BatcherHangTest, PulseTellsWhatADeviceIsAt) {
  Batcher batcher(Options(4), {RestoreAll});
  const absl::Time before = absl::Now();
  Hold hold(batcher);
  const Pulse pulse = batcher.Pulses().at(0);
  EXPECT_EQ(pulse.of, Pulse::Of::kTask);
  EXPECT_GE(pulse.since, before);
  EXPECT_EQ(batcher.Pulses().at(0), pulse);
  hold.Release();
  batcher.Push(Tiles(MakeCall(), 0, 1));
  answers_.Await(1);
  EXPECT_EQ(batcher.Pulses().at(0), Pulse());
}

class BatcherCostTest : public BatcherTest {
 protected:
  // Four tiles that tell their cost.
  std::shared_ptr<BatchCost> CostAfter(const RunBatch& run) {
    auto cost = std::make_shared<BatchCost>();
    Batcher batcher({.max_batch = 8}, {run});
    Hold hold(batcher);
    std::vector<Tile> tiles = Tiles(MakeCall(), 0, 4);
    for (Tile& tile : tiles) tile.cost = cost;
    batcher.Push(std::move(tiles));
    hold.Release();
    answers_.Await(4);
    return cost;
  }
};

TEST_F(BatcherCostTest, IsLearntFromABatch) {
  const auto cost = CostAfter(RestoreAll);
  ASSERT_TRUE(answers_.of(0).ok());
  const absl::Duration elapsed = answers_.of(0)->infer * 4;
  EXPECT_NEAR(absl::ToDoubleMicroseconds(cost->Fit().Of(4 * 8 * 8)),
              absl::ToDoubleMicroseconds(elapsed), 0.01);
}

TEST_F(BatcherCostTest, IsNotLearntFromFailures) {
  const auto cost = CostAfter([](absl::Span<const Tile>) -> Results { throw std::bad_alloc(); });
  EXPECT_FALSE(cost->Fit().known());
}

TEST_F(BatcherCostTest, IsNotLearntFromABatchWithAFailedTile) {
  const auto cost = CostAfter([](absl::Span<const Tile> tiles) {
    return Results(tiles.size(), absl::InternalError("planted"));
  });
  EXPECT_FALSE(cost->Fit().known());
}

class BatcherDelayTest : public BatcherTest {
 protected:
  const BatcherOptions hour_ = {.max_batch = 4, .max_batch_delay = absl::Hours(1)};
};

TEST_F(BatcherDelayTest, FewTilesWaitForMore) {
  Recorder recorder;
  Batcher batcher(hour_, {recorder.run()});
  batcher.Push(Tiles(MakeCall(), 0, 3));
  Flush(batcher);
  EXPECT_EQ(batcher.Depth().tiles, 3);
  batcher.Push(Tiles(MakeCall(), 10, 3));
  answers_.Await(4);
  Flush(batcher);
  EXPECT_THAT(recorder.sizes, ElementsAre(4));
  EXPECT_EQ(batcher.Depth().tiles, 2);
}

TEST_F(BatcherDelayTest, OnlyAsLongAsTheDelay) {
  const absl::Duration delay = absl::Milliseconds(2);
  Batcher batcher({.max_batch = 4, .max_batch_delay = delay}, {RestoreAll});
  batcher.Push(Tiles(MakeCall(), 0, 1));
  answers_.Await(1);
  ASSERT_TRUE(answers_.of(0).ok());
  EXPECT_GE(answers_.of(0)->wait, delay);
}

TEST_F(BatcherDelayTest, FullBatchOfAnotherModelRuns) {
  Batcher batcher(hour_, {RestoreAll});
  std::vector<Tile> waiting;
  waiting.push_back(MakeTile(MakeCall(), FakeModel(), 0, 8, answers_.For(0)));
  batcher.Push(std::move(waiting));
  batcher.Push(Tiles(MakeCall(), 10, 4));
  answers_.Await(4);
  EXPECT_EQ(batcher.Depth().tiles, 1);
}

TEST_F(BatcherDelayTest, WaitingTilesKeepNoExecutor) {
  Batcher batcher(hour_, {RestoreAll, RestoreAll});
  batcher.Push(Tiles(MakeCall(), 0, 1));
  Flush(batcher, 0);
  Flush(batcher, 1);
  EXPECT_EQ(batcher.Depth().tiles, 1);
}

TEST_F(BatcherDelayTest, DestructionDoesNotWait) {
  {
    Batcher batcher(hour_, {RestoreAll});
    batcher.Push(Tiles(MakeCall(), 0, 1));
  }
  EXPECT_EQ(CodeOf(0), absl::StatusCode::kUnavailable);
}

TEST_F(BatcherDelayTest, EndlessDelayIsNoBusyLoop) {
  Batcher batcher({.max_batch = 2, .max_batch_delay = absl::InfiniteDuration()}, {RestoreAll});
  batcher.Push(Tiles(MakeCall(), 0, 1));
  Flush(batcher);
  EXPECT_EQ(batcher.Depth().tiles, 1);
  batcher.Push(Tiles(MakeCall(), 1, 1));
  answers_.Await(2);
}

class BatcherDevicesTest : public BatcherTest {};

TEST_F(BatcherDevicesTest, RunAtTheSameTimeAndNeverTheSameTile) {
  Barrier both_run(2);
  Mutex mutex;
  std::multiset<int> ran;
  const auto run_of = [&](std::atomic<bool>* first) {
    return [&, first](absl::Span<const Tile> tiles) {
      if (first->exchange(false)) both_run.Arrive();
      MutexLock lock(mutex);
      for (const Tile& tile : tiles) ran.insert(tile.rect.x);
      return RestoreAll(tiles);
    };
  };
  std::array<std::atomic<bool>, 2> first = {true, true};
  {
    Batcher batcher({.max_batch = 2}, {run_of(&first[0]), run_of(&first[1])});
    batcher.Push(Tiles(MakeCall(), 0, 101));
    answers_.Await(101);
  }
  EXPECT_EQ(ran.size(), 101u);
  for (int i = 0; i < 101; ++i) {
    EXPECT_EQ(ran.count(i), 1u) << i;
    EXPECT_THAT(answers_.of(i)->pixels, ElementsAre(i));
  }
}

TEST_F(BatcherDevicesTest, NumberTheirBatchesTogether) {
  Barrier both_run(2);
  const RunBatch run = [&](absl::Span<const Tile> tiles) {
    both_run.Arrive();
    return RestoreAll(tiles);
  };
  Batcher batcher({.max_batch = 1}, {run, run});
  batcher.Push(Tiles(MakeCall(), 0, 2));
  answers_.Await(2);
  EXPECT_EQ(answers_.of(0)->batch + answers_.of(1)->batch, 1 + 2);
}

TEST_F(BatcherDevicesTest, EachHasItsOwnThreadForItsTasks) {
  std::array<std::thread::id, 2> task_threads;
  Mutex mutex;
  std::array<std::thread::id, 2> run_threads;
  Barrier both_run(2);
  const auto run_of = [&](size_t device) {
    return [&, device](absl::Span<const Tile> tiles) {
      both_run.Arrive();
      MutexLock lock(mutex);
      run_threads[device] = std::this_thread::get_id();
      return RestoreAll(tiles);
    };
  };
  {
    Batcher batcher({.max_batch = 1}, {run_of(0), run_of(1)});
    batcher.Push(Tiles(MakeCall(), 0, 2));
    answers_.Await(2);
    for (const int device : {0, 1}) {
      batcher.Post(
          [&task_threads, device] {
            task_threads[static_cast<size_t>(device)] = std::this_thread::get_id();
          },
          device);
    }
  }
  EXPECT_EQ(task_threads, run_threads);
  EXPECT_NE(task_threads[0], task_threads[1]);
}

TEST_F(BatcherDevicesTest, OneThatIsHeldDoesNotHoldTheOther) {
  Batcher batcher({.max_batch = 4}, {RestoreAll, RestoreAll});
  Hold hold(batcher, 0);
  batcher.Push(Tiles(MakeCall(), 0, 9));
  answers_.Await(9);
  hold.Release();
}

TEST_F(BatcherDevicesTest, MemoryLimitIsEachOnesOwn) {
  Recorder recorder;
  Batcher batcher({.max_batch = 4}, {ShortOfMemory(2), recorder.run()});
  {
    Hold hold(batcher, 1);
    batcher.Push(Tiles(MakeCall(), 0, 4));
    answers_.Await(4);
    hold.Release();
  }
  Hold hold_first(batcher, 0);
  Hold hold_second(batcher, 1);
  batcher.Push(Tiles(MakeCall(), 10, 4));
  hold_second.Release();
  answers_.Await(8);
  hold_first.Release();
  EXPECT_THAT(recorder.sizes, ElementsAre(4));
}

// Pushers, droppers and failing batches at once: for ThreadSanitizer, and nothing is lost.
TEST_F(BatcherTest, ConcurrentCallersAreAllAnsweredOnce) {
  constexpr int kThreads = 4;
  constexpr int kCalls = 50;
  constexpr int kTiles = 6;
  {
    const RunBatch run = [](absl::Span<const Tile> tiles) {
      if (tiles.size() == 4) throw std::runtime_error("planted");
      return ShortOfMemory(tiles.front().rect.x % 5 == 0 ? 2 : 8)(tiles);
    };
    Batcher batcher({.max_batch = 8}, {run, run, run});
    std::vector<std::thread> callers;
    callers.reserve(kThreads);
    for (int thread = 0; thread < kThreads; ++thread) {
      callers.emplace_back([&, thread] {
        for (int i = 0; i < kCalls; ++i) {
          const auto call = MakeCall(i % 7 == 0 ? At(0) : absl::InfiniteFuture());
          batcher.Push(Tiles(call, (thread * kCalls + i) * kTiles, kTiles));
          if (i % 3 != 0) continue;
          call->cancelled = true;
          batcher.Drop(*call, absl::CancelledError("dropped"));
        }
      });
    }
    for (std::thread& caller : callers) caller.join();
    answers_.Await(size_t{kThreads} * kCalls * kTiles);
    EXPECT_EQ(batcher.Depth().tiles, 0);
  }
  for (int i = 0; i < kThreads * kCalls * kTiles; ++i) ASSERT_EQ(answers_.count(i), 1u) << i;
}

}  // namespace
}  // namespace deweather
