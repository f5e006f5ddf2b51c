#include "training/jobs/running_program.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>

#include <csignal>
#include <functional>

#include "absl/cleanup/cleanup.h"
#include "absl/time/clock.h"
#include "model/base/file.h"

namespace deweather {
namespace {

bool Eventually(const std::function<bool()>& holds) {
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  while (!holds()) {
    if (absl::Now() > deadline) return false;
    sched_yield();
  }
  return true;
}

// As a job of its own.
RunningProgram Started(const std::string& script) {
  const std::string id = UniqueName("test-");
  return StartProgram(id, {.arguments = {"sh", "-c", script},
                           .environment = {std::string(kJobVariable) + "=" + id}})
      .value();
}

TEST(RunningProgram, IsLeftWhileAnyOfItsProcessesIs) {
  const RunningProgram program = Started("setsid sleep 1000 & exit 0");
  EXPECT_TRUE(Eventually([&] { return program.poll().has_value(); }));
  EXPECT_TRUE(program.left());
  EXPECT_GT(program.resident_bytes(), 0);
  program.signal(SIGKILL);
  EXPECT_TRUE(Eventually([&] { return !program.left(); }));
}

TEST(RunningProgram, IsLeftWhileAnyOfItsGroupIsMarkedOrNot) {
  const RunningProgram program = Started("env -i sleep 1000 & exit 0");
  EXPECT_TRUE(Eventually([&] { return program.poll().has_value(); }));
  EXPECT_TRUE(program.left());
  program.signal(SIGTERM);
  EXPECT_TRUE(Eventually([&] { return !program.left(); }));
}

// A state must not follow while a worker may run.
TEST(RunningProgram, IsLeftWhereNobodyCanTell) {
  const RunningProgram program = Started("exit 0");
  EXPECT_TRUE(Eventually([&] { return program.poll().has_value(); }));
  EXPECT_FALSE(program.left());
  rlimit before = {};
  getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const absl::Cleanup restore = [&] { setrlimit(RLIMIT_NOFILE, &before); };
  EXPECT_TRUE(program.left());
}

}  // namespace
}  // namespace deweather
