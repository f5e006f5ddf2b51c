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
      pool.Post([&ran] { ++ran; }, i % 2 == 0 ? TaskOrder::kSecond : TaskOrder::kLong);
    }
  }
  EXPECT_EQ(ran, 100);
}

TEST(WorkerPoolTest, RunsWhatTasksPost) {
  std::atomic<int> ran = 0;
  {
    WorkerPool pool(2);
    for (int i = 0; i < 10; ++i) {
      pool.Post([&] { pool.Post([&] { pool.Post([&ran] { ++ran; }, TaskOrder::kLong); }); });
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
        TaskOrder::kLong);
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
    pool.Post([&order] { order.push_back('l'); }, TaskOrder::kLong);
    pool.Post([&order] { order.push_back('s'); });
    release.Raise();
  }
  EXPECT_THAT(order, testing::ElementsAre('s', 'l'));
}

TEST(WorkerPoolTest, WhatEndsWorkComesBeforeWhatBeginsIt) {
  const Signal release;
  std::vector<int> order;
  {
    WorkerPool pool(1);
    const Signal held;
    pool.Post([held, release] {
      held.Raise();
      release.Wait();
    });
    held.Wait();
    pool.Post([&order] { order.push_back(3); }, TaskOrder::kThird);
    pool.Post([&order] { order.push_back(2); }, TaskOrder::kSecond);
    pool.Post([&order] { order.push_back(1); }, TaskOrder::kFirst);
    pool.Post([&order] { order.push_back(11); }, TaskOrder::kFirst);
    release.Raise();
  }
  EXPECT_THAT(order, testing::ElementsAre(1, 11, 2, 3));
}

TEST(WorkerPoolTest, ALongTaskIsOvertakenOnlySoOften) {
  const Signal release;
  int short_ones = 0;
  int before_the_long_one = -1;
  {
    WorkerPool pool(1);
    const Signal held;
    pool.Post([held, release] {
      held.Raise();
      release.Wait();
    });
    held.Wait();
    pool.Post([&] { before_the_long_one = short_ones; }, TaskOrder::kLong);
    for (int i = 0; i < 3 * kMostOvertaking; ++i) pool.Post([&short_ones] { ++short_ones; });
    release.Raise();
  }
  EXPECT_EQ(before_the_long_one, kMostOvertaking);
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
