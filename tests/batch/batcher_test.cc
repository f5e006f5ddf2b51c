#include "server/batch/batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <new>
#include <stdexcept>
#include <thread>
#include <utility>

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

// Holds the executor in a task, so that what a test pushes meanwhile makes one batch.
class Hold {
 public:
  explicit Hold(Batcher& batcher) {
    const Signal held;
    batcher.Post([held, released = released_] {
      held.Raise();
      released.Wait();
    });
    held.Wait();
  }
  void Release() { released_.Raise(); }

 private:
  Signal released_;
};

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
  Batcher batcher(8, [&first](absl::Span<const Tile> tiles) {
    if (std::exchange(first, false)) throw 42;
    return RestoreAll(tiles);
  });
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
  Batcher batcher(8, [&ran](absl::Span<const Tile> tiles) {
    ran += static_cast<int>(tiles.size());
    return RestoreAll(tiles);
  });
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
  Batcher batcher(8, [&ran](absl::Span<const Tile> tiles) {
    for (const Tile& tile : tiles) ran.push_back(tile.rect.x);
    return RestoreAll(tiles);
  });
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
  Batcher batcher(8, [&](absl::Span<const Tile> tiles) {
    sizes.push_back(tiles.size());
    call->cancelled = true;  // in the middle of the batch
    return Results(tiles.size(), absl::InternalError("planted"));
  });
  Hold hold(batcher);
  batcher.Push(Tiles(call, 0, 2));
  hold.Release();
  answers_.Await(2);
  EXPECT_THAT(sizes, ElementsAre(2));
  EXPECT_EQ(CodeOf(0), absl::StatusCode::kCancelled);
}

TEST_F(BatcherTest, TasksRunBetweenBatchesOnTheSameThread) {
  std::vector<std::thread::id> threads;
  Batcher batcher(1, [&threads](absl::Span<const Tile> tiles) {
    threads.push_back(std::this_thread::get_id());
    return RestoreAll(tiles);
  });
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
  EXPECT_THAT(batches_before, ElementsAre(0, 1));
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

// Pushers, droppers and failing batches at once: for ThreadSanitizer, and nothing is lost.
TEST_F(BatcherTest, ConcurrentCallersAreAllAnsweredOnce) {
  constexpr int kThreads = 4;
  constexpr int kCalls = 50;
  constexpr int kTiles = 6;
  {
    Batcher batcher(8, [](absl::Span<const Tile> tiles) {
      if (tiles.size() == 4) throw std::runtime_error("planted");
      return RestoreAll(tiles);
    });
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
