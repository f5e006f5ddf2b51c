#include "training/jobs/outcome.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <string>

#include "model/base/error_reason.h"
#include "training/jobs/running_program.h"

namespace deweather {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);
const TrainingServiceOptions kOptions = {
    .max_failures = 3, .first_retry = absl::Seconds(5), .max_memory_bytes = 1000};

Job Running(int failures = 0) {
  return {.state = JobState::kRunning, .attempts = failures + 1, .failures = failures};
}

JobChange After(const Job& job, const ProgramEnd& end) {
  return AfterExit(job, end, kOptions, kNow);
}

// --- after an exit ---

TEST(OutcomeTest, DelaysDoubleUpToTenMinutes) {
  const absl::Duration first = absl::Seconds(5);
  EXPECT_EQ(RetryDelay(1, first), absl::Seconds(5));
  EXPECT_EQ(RetryDelay(2, first), absl::Seconds(10));
  EXPECT_EQ(RetryDelay(4, first), absl::Seconds(40));
  EXPECT_EQ(RetryDelay(8, first), absl::Minutes(10));
  EXPECT_EQ(RetryDelay(1'000'000, first), absl::Minutes(10));
  EXPECT_EQ(RetryDelay(1'000, absl::ZeroDuration()), absl::ZeroDuration());
}

TEST(OutcomeTest, CrashIsTriedAgainLater) {
  const JobChange change = After(Running(1), {.exit = {.status = 1}, .last_line = "no luck"});
  EXPECT_EQ(change.action, JobAction::kRequeue);
  EXPECT_TRUE(change.failure);
  EXPECT_EQ(change.retry_time, kNow + absl::Seconds(10));
  EXPECT_EQ(change.reason, "exit status 1: no luck; failure 2 of 3 at most");
}

TEST(OutcomeTest, LastCrashFails) {
  const JobChange change = After(Running(2), {.exit = {.signal = SIGKILL}});
  EXPECT_EQ(change.action, JobAction::kFail);
  EXPECT_TRUE(change.failure);
  EXPECT_THAT(change.reason, StartsWith("killed by signal 9"));
  EXPECT_THAT(change.reason, HasSubstr("failure 3 of 3"));
}

TEST(OutcomeTest, WrongConfigurationFailsAtOnce) {
  const JobChange change = After(Running(), {.exit = {.status = 2}, .last_line = "steps is 0"});
  EXPECT_EQ(change.action, JobAction::kFail);
  EXPECT_FALSE(change.failure);
  EXPECT_EQ(change.reason, "exit status 2: steps is 0");
}

TEST(OutcomeTest, StoppedFromOutsideIsNoFailure) {
  for (const ChildExit exit : {ChildExit{.status = kStoppedStatus}, ChildExit{.signal = SIGTERM}}) {
    const JobChange change = After(Running(2), {.exit = exit, .saved = true});
    EXPECT_EQ(change.action, JobAction::kRequeue);
    EXPECT_FALSE(change.failure);
    EXPECT_EQ(change.retry_time, kNow + absl::Seconds(20));  // after its third attempt
    const JobChange again = After(Running(2), {.exit = exit});
    EXPECT_EQ(again.action, JobAction::kFail);
    EXPECT_TRUE(again.failure);
  }
}

TEST(OutcomeTest, WhatWeEndedIsNoFailure) {
  const JobChange shutdown =
      After(Running(2), {.exit = {.status = 1}, .told = StopRequest{StopCause::kShutdown, "down"}});
  EXPECT_EQ(shutdown.action, JobAction::kRequeue);
  EXPECT_FALSE(shutdown.failure);
  EXPECT_EQ(shutdown.retry_time, std::nullopt);
  EXPECT_EQ(shutdown.reason, "down");
  const JobChange limit = After(
      Running(), {.exit = {.signal = SIGKILL}, .told = StopRequest{StopCause::kLimit, "too much"}});
  EXPECT_EQ(limit.action, JobAction::kFail);
  EXPECT_EQ(limit.reason, "too much");
}

// Who obeys with status 0 has no result unless it says so.
TEST(OutcomeTest, ResultOfWhoWasToldToStop) {
  const StopRequest told = {StopCause::kShutdown, "down"};
  EXPECT_TRUE(HasResult({}));
  EXPECT_FALSE(HasResult({.told = told}));
  EXPECT_TRUE(HasResult({.told = told, .finished = true}));
  EXPECT_FALSE(HasResult({.exit = {.status = 1}, .told = told, .finished = true}));
  EXPECT_EQ(After(Running(), {.told = told}).action, JobAction::kRequeue);
}

TEST(OutcomeTest, FullDiskCountsNoFailure) {
  for (const JobChange& change :
       {After(Running(2), {.exit = {.signal = SIGBUS}, .disk_full = true}),
        After(Running(2), {.exit = {.status = kStoppedStatus}, .disk_full = true}),
        AfterSuccess(Running(2), absl::ResourceExhaustedError("full"), true, kOptions, kNow)}) {
    EXPECT_EQ(change.action, JobAction::kRequeue);
    EXPECT_FALSE(change.failure);
    EXPECT_THAT(change.reason, StartsWith("the disk of the jobs is full"));
    EXPECT_EQ(change.retry_time, kNow + absl::Seconds(20));
  }
}

TEST(OutcomeTest, StartThatMayGoBetterIsTriedAgain) {
  const JobChange missing =
      AfterFailedStart(Running(), absl::NotFoundError("no 'x'"), kOptions, kNow);
  EXPECT_EQ(missing.action, JobAction::kFail);
  EXPECT_EQ(missing.reason, "cannot be started: NOT_FOUND: no 'x'");
  const JobChange full =
      AfterFailedStart(Running(2), absl::ResourceExhaustedError("processes"), kOptions, kNow);
  EXPECT_EQ(full.action, JobAction::kRequeue);
  EXPECT_FALSE(full.failure);
  EXPECT_EQ(full.retry_time, kNow + absl::Seconds(20));
  const absl::Status away =
      WithReason(absl::FailedPreconditionError("its folder is gone"), "DATASET_UNUSABLE");
  for (const absl::Status& status : {away, absl::UnavailableError("the disk is away")}) {
    EXPECT_EQ(AfterFailedStart(Running(), status, kOptions, kNow).action, JobAction::kRequeue);
    EXPECT_EQ(AfterSuccess(Running(), status, false, kOptions, kNow).action, JobAction::kRequeue);
  }
}

TEST(OutcomeTest, SuccessNeedsItsModel) {
  const JobChange good = AfterSuccess(Running(), std::string("abc"), false, kOptions, kNow);
  EXPECT_EQ(good.action, JobAction::kSucceed);
  EXPECT_EQ(good.model_version, "abc");
  const JobChange torn =
      AfterSuccess(Running(), absl::DataLossError("torn"), false, kOptions, kNow);
  EXPECT_EQ(torn.action, JobAction::kFail);
  EXPECT_THAT(torn.reason, HasSubstr("DATA_LOSS: torn"));
  const JobChange full =
      AfterSuccess(Running(), absl::ResourceExhaustedError("full"), false, kOptions, kNow);
  EXPECT_EQ(full.action, JobAction::kRequeue);
  EXPECT_TRUE(full.failure);
  EXPECT_EQ(full.retry_time, kNow + absl::Seconds(5));
}

TEST(OutcomeTest, WhatIsCancelledSucceedsOrIsCancelled) {
  const Job job = {.state = JobState::kCancelling, .reason = "a caller"};
  for (const JobAction action : {JobAction::kRequeue, JobAction::kFail}) {
    const JobChange change = InState(job, {.action = action, .reason = "x", .failure = true});
    EXPECT_EQ(change.action, JobAction::kStopped);
    EXPECT_EQ(change.reason, "a caller");
    EXPECT_FALSE(change.failure);
  }
  EXPECT_EQ(InState(job, {.action = JobAction::kSucceed}).action, JobAction::kSucceed);
  EXPECT_EQ(InState(Running(), {.action = JobAction::kFail}).action, JobAction::kFail);
}

// Whatever the exit, the step is a legal one.
TEST(OutcomeTest, ChangesAreLegal) {
  for (const JobState state : {JobState::kRunning, JobState::kCancelling}) {
    for (const int failures : {0, 2}) {
      for (const ChildExit exit : {ChildExit{.status = 1}, ChildExit{.status = 2},
                                   ChildExit{.status = kStoppedStatus}, ChildExit{.signal = 9}}) {
        Job job = Running(failures);
        job.state = state;
        EXPECT_TRUE(Next(state, InState(job, After(job, {.exit = exit})).action).has_value());
      }
    }
  }
}

// --- limits ---

TEST(OutcomeTest, LimitsNameValueAndLimit) {
  EXPECT_EQ(BeyondMemory(1000, kOptions), std::nullopt);
  EXPECT_EQ(BeyondMemory(1001, kOptions), "used 1001 bytes of memory; max_memory_bytes is 1000");
  EXPECT_EQ(BeyondMemory(int64_t{1} << 60, {.max_memory_bytes = 0}), std::nullopt);

  const TrainingServiceOptions hour = {.max_time = absl::Hours(1)};
  EXPECT_EQ(BeyondTime(absl::Hours(1), hour), std::nullopt);
  EXPECT_EQ(BeyondTime(absl::Minutes(61), hour), "ran for 1h1m; max_time is 1h");
  EXPECT_EQ(BeyondTime(absl::Hours(1'000'000), {}), std::nullopt);

  const TrainingServiceOptions disk = {.max_disk_bytes = 1000};
  EXPECT_EQ(BeyondDisk(10, 1099, disk), std::nullopt);
  EXPECT_EQ(BeyondDisk(0, 5000, disk), std::nullopt);  // others did it
  EXPECT_EQ(BeyondDisk(10, 1101, disk),
            "wrote 10 bytes, and the folders of all jobs have 1101; max_disk_bytes is 1000");
}

// --- signals ---

TEST(StopLadderTest, TermThenKillEachSecond) {
  StopLadder ladder;
  EXPECT_EQ(ladder.Next(false, kNow), 0);
  ladder.Begin(kNow, absl::Seconds(30));
  EXPECT_EQ(ladder.Next(false, kNow), SIGTERM);
  EXPECT_EQ(ladder.Next(false, kNow + absl::Seconds(29)), 0);
  EXPECT_EQ(ladder.Next(false, kNow + absl::Seconds(30)), SIGKILL);
  EXPECT_EQ(ladder.Next(false, kNow + absl::Seconds(30.5)), 0);
  EXPECT_EQ(ladder.Next(true, kNow + absl::Seconds(31)), SIGKILL);
}

TEST(StopLadderTest, WhatTheLeaderLeavesIsToldToo) {
  StopLadder ladder;
  ladder.Begin(kNow, absl::Seconds(30));
  EXPECT_EQ(ladder.Next(false, kNow), SIGTERM);
  EXPECT_EQ(ladder.Next(true, kNow + absl::Seconds(1)), SIGTERM);
  EXPECT_EQ(ladder.Next(true, kNow + absl::Seconds(2)), 0);
}

TEST(StopLadderTest, SecondTimeIsNeverLater) {
  StopLadder ladder;
  ladder.Begin(kNow, absl::Seconds(30));
  ladder.Begin(kNow + absl::Seconds(20), absl::Seconds(30));
  EXPECT_EQ(ladder.Next(false, kNow + absl::Seconds(30)), SIGKILL);
  StopLadder sooner;
  sooner.Begin(kNow, absl::Seconds(30));
  sooner.Begin(kNow, absl::ZeroDuration());
  EXPECT_EQ(sooner.Next(false, kNow), SIGKILL);
}

// --- what is started ---

TEST(ProgramOfTest, LaunchThenTheRun) {
  const ChildOptions child = ProgramOf("abc", "/jobs",
                                       {.launch = {"torchrun", "--no-python", "train"},
                                        .idle = false,
                                        .niceness = 7,
                                        .threads = 3,
                                        .gpu = "0,1"});
  EXPECT_THAT(child.arguments, ElementsAre("torchrun", "--no-python", "train", "run", "--config",
                                           "/jobs/abc/config.textproto", "--progress", "lines"));
  EXPECT_THAT(child.environment,
              ElementsAre("DEWEATHER_JOB=abc", "DEWEATHER_JOBS=/jobs", "OMP_WAIT_POLICY=PASSIVE",
                          "OMP_NUM_THREADS=3", "CUDA_VISIBLE_DEVICES=0,1"));
  EXPECT_FALSE(child.limits.idle);
  EXPECT_EQ(child.limits.niceness, 7);
}

TEST(ProgramOfTest, DefaultIsTheProgramBesideOurs) {
  const ChildOptions child = ProgramOf("abc", "/jobs", {});
  ASSERT_FALSE(child.arguments.empty());
  EXPECT_THAT(child.arguments[0], StartsWith("/"));
  EXPECT_THAT(child.arguments[0], testing::EndsWith("/deweather-train"));
  EXPECT_THAT(child.environment, Not(Contains(StartsWith("OMP_NUM_THREADS"))));
  EXPECT_THAT(child.environment, Not(Contains(StartsWith("CUDA_VISIBLE_DEVICES"))));
}

TEST(TrainProgramTest, AnythingElseIsMarkedAndLimitedLikeAJob) {
  const ChildOptions child =
      TrainProgram("evaluation", "/jobs", {.launch = {"torchrun"}, .niceness = 7, .gpu = "1"});
  EXPECT_THAT(child.arguments, ElementsAre(testing::EndsWith("/deweather-train")));
  EXPECT_THAT(child.environment,
              testing::IsSupersetOf(
                  {"DEWEATHER_JOBS=/jobs", "DEWEATHER_JOB=evaluation", "CUDA_VISIBLE_DEVICES=1"}));
  EXPECT_TRUE(child.limits.idle);
  EXPECT_EQ(child.limits.niceness, 7);
}

}  // namespace
}  // namespace deweather
