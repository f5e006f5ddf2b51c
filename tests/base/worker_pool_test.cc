#include "model/base/worker_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/batch/signal.h"

namespace deweather {
namespace {

TEST(WorkerPoolTest, RunsEveryTaskBeforeItIsGone) {
  std::atomic<int> ran = 0;
  {
    WorkerPool pool(3);
    for (int i = 0; i < 100; ++i) {
      pool.Post([&ran] { ++ran; }, i % 2 == 0 ? TaskLength::kShort : TaskLength::kLong);
    }
  }
  EXPECT_EQ(ran, 100);
}

TEST(WorkerPoolTest, RunsWhatTasksPost) {
  std::atomic<int> ran = 0;
  {
    WorkerPool pool(2);
    for (int i = 0; i < 10; ++i) {
      pool.Post([&] { pool.Post([&] { pool.Post([&ran] { ++ran; }, TaskLength::kLong); }); });
    }
  }
  EXPECT_EQ(ran, 10);
}

TEST(WorkerPoolTest, OneThreadRunsShortTasksInOrder) {
  std::vector<int> order;
  {
    WorkerPool pool(1);
    for (int i = 0; i < 5; ++i) pool.Post([&order, i] { order.push_back(i); });
  }
  EXPECT_THAT(order, testing::ElementsAre(0, 1, 2, 3, 4));
}

TEST(WorkerPoolTest, LongTasksLeaveAThreadForShortOnes) {
  const Signal release;
  std::atomic<int> long_ones = 0;
  WorkerPool pool(2);
  for (int i = 0; i < 3; ++i) {
    pool.Post(
        [&] {
          ++long_ones;
          release.Wait();
        },
        TaskLength::kLong);
  }
  for (int i = 0; i < 20; ++i) {
    const Signal done;
    pool.Post([done] { done.Raise(); });
    done.Wait();  // would never end if the long ones held both threads
  }
  EXPECT_LE(long_ones, 1);
  release.Raise();
}

TEST(WorkerPoolTest, ShortTasksOvertakeWaitingLongOnes) {
  const Signal release;
  std::vector<char> order;
  {
    WorkerPool pool(1);
    const Signal held;
    pool.Post([held, release] {
      held.Raise();
      release.Wait();
    });
    held.Wait();
    pool.Post([&order] { order.push_back('l'); }, TaskLength::kLong);
    pool.Post([&order] { order.push_back('s'); });
    release.Raise();
  }
  EXPECT_THAT(order, testing::ElementsAre('s', 'l'));
}

// For ThreadSanitizer.
TEST(WorkerPoolTest, ManyThreadsMayPost) {
  std::atomic<int> ran = 0;
  {
    WorkerPool pool(4);
    std::vector<std::thread> posters;
    posters.reserve(4);
    for (int i = 0; i < 4; ++i) {
      posters.emplace_back([&] {
        for (int j = 0; j < 500; ++j) pool.Post([&ran] { ++ran; });
      });
    }
    for (std::thread& poster : posters) poster.join();
  }
  EXPECT_EQ(ran, 2000);
}

}  // namespace
}  // namespace deweather
