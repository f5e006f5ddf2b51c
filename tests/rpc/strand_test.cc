#include "server/rpc/strand.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "tests/batch/signal.h"

namespace deweather {
namespace {

using ::testing::ElementsAre;

TEST(StrandTest, RunsInOrderAndAtOnce) {
  Strand strand;
  std::vector<int> ran;
  for (int i = 0; i < 3; ++i) {
    strand.Post([&ran, i] { ran.push_back(i); });
    EXPECT_EQ(ran.size(), static_cast<size_t>(i + 1));
  }
  EXPECT_THAT(ran, ElementsAre(0, 1, 2));
}

TEST(StrandTest, WhatATaskPostsRunsAfterIt) {
  Strand strand;
  std::vector<int> ran;
  strand.Post([&] {
    strand.Post([&] { ran.push_back(2); });
    ran.push_back(1);
  });
  EXPECT_THAT(ran, ElementsAre(1, 2));
}

TEST(StrandTest, PostDoesNotWaitForAnotherThreadsTask) {
  Strand strand;
  const Signal running, go_on;
  std::vector<int> ran;
  std::thread first([&] {
    strand.Post([&] {
      running.Raise();
      go_on.Wait();
      ran.push_back(1);
    });
  });
  running.Wait();
  strand.Post([&] { ran.push_back(2); });
  go_on.Raise();
  first.join();
  EXPECT_THAT(ran, ElementsAre(1, 2));
}

TEST(StrandTest, TasksOfManyThreadsNeverMeet) {
  constexpr int kThreads = 4, kTasks = 1000;
  Strand strand;
  int ran = 0;  // no lock
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int task = 0; task < kTasks; ++task) strand.Post([&ran] { ++ran; });
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ran, kThreads * kTasks);
}

}  // namespace
}  // namespace deweather
