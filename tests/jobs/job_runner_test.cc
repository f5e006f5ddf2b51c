#include "training/jobs/job_runner.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <deque>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "model/base/error_reason.h"
#include "model/base/file.h"
#include "model/base/mutex.h"
#include "tests/new_folder.h"
#include "training/jobs/job_folder.h"
#include "training/jobs/job_log.h"
#include "training/jobs/outcome.h"
#include "training/jobs/take_over.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::ElementsAre;
using testing::Gt;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr absl::Duration kPatience = absl::Seconds(60);

// A program that a test plays. It obeys SIGTERM, unless it is told otherwise.
class FakeProgram {
 public:
  explicit FakeProgram(std::string job) : job_(std::move(job)) {}

  void Exit(ChildExit exit) {
    MutexLock lock(mutex_);
    if (!exit_) exit_ = exit;
  }
  void Print(const std::string& text) {
    MutexLock lock(mutex_);
    output_ += text;
  }
  void Use(int64_t bytes) {
    MutexLock lock(mutex_);
    bytes_ = bytes;
  }
  // Only SIGKILL ends it.
  void IgnoreTerm() {
    MutexLock lock(mutex_);
    obeys_ = false;
  }
  // Nothing ends it.
  void Survive() {
    MutexLock lock(mutex_);
    survives_ = true;
  }
  // Another process of it lives on until it is killed.
  void LeaveAnother() {
    MutexLock lock(mutex_);
    left_ = true;
  }

  const std::string& job() const { return job_; }
  bool runs() const {
    MutexLock lock(mutex_);
    return !exit_ || left_;
  }
  std::vector<int> signals() const {
    MutexLock lock(mutex_);
    return signals_;
  }

  std::optional<ChildExit> exit() const {
    MutexLock lock(mutex_);
    return exit_;
  }
  void Signal(int signal) {
    MutexLock lock(mutex_);
    signals_.push_back(signal);
    if (survives_) return;
    if (signal == SIGKILL) left_ = false;
    if (exit_) return;
    if (signal == SIGKILL) exit_ = ChildExit{.signal = SIGKILL};
    if (signal == SIGTERM && obeys_) exit_ = ChildExit{.status = kStoppedStatus};
  }
  int64_t bytes() const {
    MutexLock lock(mutex_);
    return bytes_;
  }
  std::string TakeOutput() {
    MutexLock lock(mutex_);
    return std::exchange(output_, "");
  }
  bool left() const {
    MutexLock lock(mutex_);
    return left_;
  }

 private:
  const std::string job_;
  mutable Mutex mutex_;
  std::optional<ChildExit> exit_ ABSL_GUARDED_BY(mutex_);
  std::vector<int> signals_ ABSL_GUARDED_BY(mutex_);
  std::string output_ ABSL_GUARDED_BY(mutex_);
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool obeys_ ABSL_GUARDED_BY(mutex_) = true;
  bool left_ ABSL_GUARDED_BY(mutex_) = false;
  bool survives_ ABSL_GUARDED_BY(mutex_) = false;
};

RunningProgram Played(const std::shared_ptr<FakeProgram>& fake) {
  return {.identity = {},
          .poll = [fake] { return fake->exit(); },
          .signal = [fake](int signal) { fake->Signal(signal); },
          .resident_bytes = [fake] { return fake->bytes(); },
          .output = [fake] { return fake->TakeOutput(); },
          .left = [fake] { return fake->left(); }};
}

class JobRunnerTest : public testing::Test {
 protected:
  using Program = std::shared_ptr<FakeProgram>;

  JobRunnerTest() {
    OpenStore();
    options_.jobs = jobs_;
    options_.training.first_retry = absl::ZeroDuration();
    options_.training.stop_grace = absl::Seconds(30);
    options_.prepare = [](const Job& job) { return absl::StrCat("# of ", job.id, "\n"); };
    options_.collect = [](const Job&, const std::string& path) { return ReadFile(path); };
    options_.launch = [this](const Job& job, const ChildOptions&) { return Launch(job); };
    options_.log = [this](const std::string& line) { Log("warn: " + line); };
    options_.tell = [this](const Job& job, const std::string& line, bool trouble) {
      EXPECT_THAT(line, testing::HasSubstr(job.id));
      Log((trouble ? "warn: " : "info: ") + line);
    };
    options_.now = [this] { return absl::Now() + absl::Seconds(clock_ahead_s_.load()); };
    options_.free_bytes = [this] { return free_bytes_.load(); };
  }

  void TearDown() override { runner_.reset(); }

  void OpenStore() {
    absl::StatusOr<std::unique_ptr<JobStore>> store = JobStore::Open(JobStorePath(jobs_));
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    store_->OnChange([this](const std::string&) {
      MutexLock lock(mutex_);
      changed_.NotifyAll();
    });
  }

  void StartRunner() { runner_ = std::make_unique<JobRunner>(*store_, options_); }
  // With programs that are processes: `script` is a shell's, $3 the configuration.
  void StartRunnerOf(const std::string& script) {
    options_.launch = nullptr;
    options_.training.launch = {"sh", "-c", script, "sh"};
    StartRunner();
  }

  std::string Submit(int priority = 0) {
    NewJob job{.model = "rain", .config = "x", .priority = priority};
    const absl::StatusOr<Job> submitted = store_->Submit(job, absl::Now());
    EXPECT_TRUE(submitted.ok()) << submitted.status();
    if (runner_) runner_->Wake();
    return submitted->id;
  }
  void Cancel(const std::string& id) {
    const JobChange change{.action = JobAction::kCancel, .reason = "by a test"};
    ASSERT_TRUE(store_->Apply(id, change, absl::Now()).ok());
    runner_->Wake();
  }
  Job Get(const std::string& id) const { return store_->Get(id).value(); }

  // Waits until `done` says so; what changes it tells `changed_`.
  template <typename Done>
  bool Await(Done done) {
    const absl::Time deadline = absl::Now() + kPatience;
    while (!done()) {
      if (absl::Now() > deadline) return false;
      MutexLock lock(mutex_);
      changed_.WaitFor(mutex_, absl::Milliseconds(10));
    }
    return true;
  }
  Job AwaitState(const std::string& id, JobState state) {
    EXPECT_TRUE(Await([&] { return Get(id).state == state; }))
        << Name(Get(id).state) << ", " << Get(id).reason;
    return Get(id);
  }
  // The program that is started next.
  Program AwaitProgram() {
    EXPECT_TRUE(Await([&] {
      MutexLock lock(mutex_);
      return started_.size() > taken_;
    }));
    MutexLock lock(mutex_);
    return started_.at(taken_++);
  }
  std::vector<std::string> log_of(const std::string& text) const {
    MutexLock lock(mutex_);
    std::vector<std::string> lines = log_;
    std::erase_if(lines, [&](const std::string& line) { return line.find(text) == line.npos; });
    return lines;
  }
  bool AwaitLog(const std::string& text, int times = 1) {
    return Await([&] { return std::ssize(log_of(text)) >= times; });
  }

  void LeaveModel(const std::string& id, const std::string& text = "v1") {
    fs::create_directories(JobRunFolder(jobs_, id));
    std::ofstream(JobRunFolder(jobs_, id) + "/rain.safetensors") << text;
  }
  void LeaveLog(const std::string& id, const std::string& text) {
    fs::create_directories(JobRunFolder(jobs_, id));
    std::ofstream(JobRunFolder(jobs_, id) + "/log.jsonl", std::ios::app) << text;
  }
  // As the run itself tells of its end.
  void LeaveEnd(const std::string& id, const std::string& event, const std::string& rest = "") {
    const std::string time =
        absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone());
    LeaveLog(id, absl::StrCat("{\"step\":9,\"time\":\"", time, "\",\"event\":\"", event, "\"", rest,
                              "}\n"));
  }
  void Finish(const Program& program) {
    LeaveModel(program->job());
    program->Exit({});
  }

  std::vector<JobEvent> Events(const std::string& id, JobEventKind kind) const {
    std::vector<JobEvent> events = store_->Events(id, 0, 100'000).value();
    std::erase_if(events, [kind](const JobEvent& event) { return event.kind != kind; });
    return events;
  }
  std::vector<JobState> States(const std::string& id) const {
    std::vector<JobState> states;
    for (const JobEvent& event : Events(id, JobEventKind::kState)) states.push_back(event.state);
    return states;
  }
  int most_at_once() const {
    MutexLock lock(mutex_);
    return most_at_once_;
  }

  const std::string jobs_ = fs::canonical(NewFolder()).string();
  std::unique_ptr<JobStore> store_;
  std::atomic<int64_t> clock_ahead_s_ = 0;
  std::atomic<int64_t> free_bytes_ = std::numeric_limits<int64_t>::max();
  std::atomic<bool> open_ = false;  // for a test's own use
  JobRunnerOptions options_;
  std::unique_ptr<JobRunner> runner_;

 private:
  void Log(const std::string& line) {
    MutexLock lock(mutex_);
    log_.push_back(line);
    changed_.NotifyAll();
  }
  absl::StatusOr<RunningProgram> Launch(const Job& job) {
    auto program = std::make_shared<FakeProgram>(job.id);
    MutexLock lock(mutex_);
    started_.push_back(program);
    most_at_once_ =
        std::max(most_at_once_, static_cast<int>(std::ranges::count_if(
                                    started_, [](const Program& one) { return one->runs(); })));
    changed_.NotifyAll();
    return Played(program);
  }

  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<Program> started_ ABSL_GUARDED_BY(mutex_);
  size_t taken_ ABSL_GUARDED_BY(mutex_) = 0;
  int most_at_once_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::string> log_ ABSL_GUARDED_BY(mutex_);
};

// --- the good way ---

TEST_F(JobRunnerTest, JobRunsToItsModel) {
  StartRunner();
  const std::string id = Submit();
  const Program program = AwaitProgram();
  EXPECT_EQ(program->job(), id);
  EXPECT_EQ(Get(id).state, JobState::kRunning);
  EXPECT_EQ(ReadFile(JobConfigPath(jobs_, id)).value(), absl::StrCat("# of ", id, "\n"));
  program->Print("hello\n");
  Finish(program);
  const Job job = AwaitState(id, JobState::kSucceeded);
  EXPECT_EQ(job.model_version, "v1");
  EXPECT_EQ(job.attempts, 1);
  EXPECT_EQ(job.failures, 0);
  EXPECT_GT(job.disk_bytes, 0);
  EXPECT_EQ(ReadLog(JobLogPath(jobs_, id), 0, 100).value().text, "hello\n");
  EXPECT_THAT(States(id), ElementsAre(JobState::kQueued, JobState::kRunning, JobState::kSucceeded));
  EXPECT_THAT(program->signals(), IsEmpty());
  EXPECT_THAT(store_->Processes().value(), IsEmpty());
  EXPECT_EQ(runner_->stats().started, 1);
  EXPECT_TRUE(AwaitLog(absl::StrCat("info: job ", id, " is RUNNING: started")));
  EXPECT_TRUE(AwaitLog(absl::StrCat("info: job ", id, " is SUCCEEDED: finished")));
}

// One of two tells no figure.
TEST_F(JobRunnerTest, PaceIsTheSumOfWhatIsKnown) {
  options_.training.max_running = 2;
  StartRunner();
  for (const char* const pace : {"null", "8"}) {
    const std::string id = Submit();
    AwaitProgram();
    LeaveLog(id, absl::StrCat(R"({"step":1,"time":"2100-01-01T00:00:00Z","loss/all":1,)",
                              R"("images_per_second":)", pace, "}\n"));
    ASSERT_TRUE(Await([&] { return Get(id).progress.has_value(); }));
  }
  EXPECT_EQ(runner_->stats().images_per_second, 8);
}

TEST_F(JobRunnerTest, WhatAProgramTellsBecomesEvents) {
  StartRunner();
  const std::string id = Submit();
  const Program program = AwaitProgram();
  const std::string time =
      absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now() + absl::Seconds(1), absl::UTCTimeZone());
  const auto line = [&](const std::string& rest) {
    return absl::StrCat("{\"step\":10,\"time\":\"", time, "\",", rest, "}\n");
  };
  LeaveLog(id, "garbage\n" + line(R"("event":"started","steps":40,"images_per_step":4)") +
                   line(R"("event":"warning","message":"careful")") +
                   line(R"("evaluation/rain/psnr_y":30)"));
  LeaveLog(id, absl::StrCat("{\"step\":20,\"time\":\"", time,
                            R"(","loss/all":0.5,"loss/rain":0.25,"images_per_second":8})", "\n"));
  ASSERT_TRUE(Await([&] { return Get(id).progress.has_value(); }));
  EXPECT_EQ(runner_->stats().images_per_second, 8);
  LeaveLog(id, line(R"("event":"checkpoint")") + "{\"step\":20");
  Finish(program);
  const Job job = AwaitState(id, JobState::kSucceeded);
  EXPECT_EQ(job.progress->steps, 40);
  EXPECT_EQ(job.evaluation->figures.at("rain/psnr_y"), 30);
  EXPECT_THAT(Events(id, JobEventKind::kCheckpoint), SizeIs(1));
  ASSERT_THAT(Events(id, JobEventKind::kWarning), SizeIs(1));
  EXPECT_EQ(Events(id, JobEventKind::kWarning)[0].text, "careful");
  const RunnerStats stats = runner_->stats();
  EXPECT_EQ(stats.images, 40);
  EXPECT_EQ(stats.images_per_second, 0);
  EXPECT_EQ(stats.losses.at("rain"), 0.25);
  EXPECT_EQ(stats.losses.at("all"), 0.5);
  EXPECT_EQ(stats.evaluation.at("rain/psnr_y"), 30);
}

TEST_F(JobRunnerTest, OneAtATimeByPriority) {
  const std::string low = Submit(-5), first = Submit(), second = Submit(), high = Submit(7);
  StartRunner();
  std::vector<std::string> order;
  for (int i = 0; i < 4; ++i) {
    const Program program = AwaitProgram();
    order.push_back(program->job());
    Finish(program);
  }
  EXPECT_THAT(order, ElementsAre(high, first, second, low));
  AwaitState(low, JobState::kSucceeded);
  EXPECT_EQ(most_at_once(), 1);
}

TEST_F(JobRunnerTest, AsManyAtATimeAsMayBe) {
  options_.training.max_running = 2;
  for (int i = 0; i < 4; ++i) Submit();
  StartRunner();
  const Program first = AwaitProgram(), second = AwaitProgram();
  Finish(first);
  Finish(AwaitProgram());
  Finish(second);
  Finish(AwaitProgram());
  ASSERT_TRUE(Await([&] { return store_->CountByState().value()[JobState::kSucceeded] == 4; }));
  EXPECT_EQ(most_at_once(), 2);
}

// --- crashes ---

TEST_F(JobRunnerTest, CrashIsFollowedByAnotherAttempt) {
  StartRunner();
  const std::string id = Submit();
  const Program first = AwaitProgram();
  first->Print("bad\xff luck\n\n=====\n");
  first->Exit({.status = 1});
  Finish(AwaitProgram());
  const Job job = AwaitState(id, JobState::kSucceeded);
  EXPECT_EQ(job.attempts, 2);
  EXPECT_EQ(job.failures, 1);
  EXPECT_EQ(runner_->stats().crashed, 1);
  const std::vector<JobEvent> states = Events(id, JobEventKind::kState);
  ASSERT_THAT(states, SizeIs(5));
  EXPECT_EQ(states[2].state, JobState::kQueued);
  EXPECT_EQ(states[2].text, "exit status 1: bad\xef\xbf\xbd luck; failure 1 of 3 at most");
  EXPECT_TRUE(AwaitLog(absl::StrCat("warn: job ", id, " is QUEUED: exit status 1")));
}

// torchrun ends with status 1 whatever its program ended with.
TEST_F(JobRunnerTest, RunItselfSaysWhyItFailed) {
  StartRunner();
  const std::string id = Submit();
  const Program program = AwaitProgram();
  program->Print("traceback : see https://pytorch.org\n");
  LeaveEnd(id, "failed", R"(,"code":"INVALID_ARGUMENT","message":"steps is 0","exit_status":2)");
  program->Exit({.status = 1});
  EXPECT_EQ(AwaitState(id, JobState::kFailed).reason,
            "exit status 2: INVALID_ARGUMENT: steps is 0");
  EXPECT_EQ(Get(id).attempts, 1);
}

TEST_F(JobRunnerTest, WhatAnEarlierAttemptSaidIsNotThisOnes) {
  StartRunner();
  const std::string id = Submit();
  LeaveLog(id, R"({"step":9,"time":"2020-01-01T00:00:00Z","event":"failed","exit_status":2})"
               "\n");
  AwaitProgram()->Exit({.status = 1});
  Finish(AwaitProgram());
  EXPECT_EQ(AwaitState(id, JobState::kSucceeded).failures, 1);
}

TEST_F(JobRunnerTest, StoppedAgainAndAgainWithoutACheckpointFails) {
  StartRunner();
  const std::string id = Submit();
  for (int i = 0; i < 3; ++i) AwaitProgram()->Exit({.status = kStoppedStatus});
  EXPECT_THAT(AwaitState(id, JobState::kFailed).reason, HasSubstr("before a checkpoint"));
}

TEST_F(JobRunnerTest, GivesUpAfterMaxFailures) {
  StartRunner();
  const std::string id = Submit();
  for (int i = 0; i < 3; ++i) AwaitProgram()->Exit({.signal = SIGSEGV});
  const Job job = AwaitState(id, JobState::kFailed);
  EXPECT_EQ(job.attempts, 3);
  EXPECT_EQ(job.failures, 3);
  EXPECT_THAT(job.reason, HasSubstr("signal 11"));
}

TEST_F(JobRunnerTest, NextAttemptWaits) {
  options_.training.first_retry = absl::Minutes(9);
  StartRunner();
  const std::string id = Submit();
  AwaitProgram()->Exit({.status = 1});
  const Job job = AwaitState(id, JobState::kQueued);
  ASSERT_TRUE(job.retry_time.has_value());
  EXPECT_GT(*job.retry_time, absl::Now() + absl::Minutes(8));
  const std::string other = Submit();
  const Program program = AwaitProgram();
  EXPECT_EQ(program->job(), other);
  Finish(program);
  AwaitState(other, JobState::kSucceeded);
  EXPECT_EQ(Get(id).attempts, 1);
}

TEST_F(JobRunnerTest, WrongConfigurationFailsAtOnce) {
  StartRunner();
  const std::string id = Submit();
  const Program program = AwaitProgram();
  program->Print("steps is 0");
  program->Exit({.status = kWrongUsageStatus});
  EXPECT_EQ(AwaitState(id, JobState::kFailed).reason, "exit status 2: steps is 0");
}

TEST_F(JobRunnerTest, WhatIsLeftOfAProgramIsEndedFirst) {
  options_.training.stop_grace = absl::ZeroDuration();
  StartRunner();
  const std::string id = Submit();
  const Program first = AwaitProgram();
  first->LeaveAnother();
  first->Exit({.status = 1});
  Finish(AwaitProgram());
  AwaitState(id, JobState::kSucceeded);
  EXPECT_THAT(first->signals(), Contains(SIGKILL));
  EXPECT_EQ(most_at_once(), 1);
}

// --- cancel ---

TEST_F(JobRunnerTest, CancelledWhileQueuedIsNeverStarted) {
  StartRunner();
  const std::string first = Submit(), second = Submit();
  const Program program = AwaitProgram();
  Cancel(second);
  EXPECT_EQ(Get(second).state, JobState::kCancelled);
  Finish(program);
  AwaitState(first, JobState::kSucceeded);
  EXPECT_EQ(Get(second).attempts, 0);
}

TEST_F(JobRunnerTest, CancelledWhileRunningIsToldToStop) {
  StartRunner();
  const std::string id = Submit();
  const Program program = AwaitProgram();
  Cancel(id);
  const Job job = AwaitState(id, JobState::kCancelled);
  EXPECT_EQ(job.reason, "by a test");
  EXPECT_EQ(job.failures, 0);
  EXPECT_THAT(program->signals(), ElementsAre(SIGTERM));
}

TEST_F(JobRunnerTest, WhoIgnoresSigtermIsKilled) {
  options_.training.stop_grace = absl::Milliseconds(300);
  StartRunner();
  const std::string id = Submit();
  const Program program = AwaitProgram();
  program->IgnoreTerm();
  Cancel(id);
  AwaitState(id, JobState::kCancelled);
  EXPECT_THAT(program->signals(), ElementsAre(SIGTERM, SIGKILL));
}

TEST_F(JobRunnerTest, CancelThatComesTooLateSucceeds) {
  StartRunner();
  const std::string id = Submit();
  const Program program = AwaitProgram();
  program->IgnoreTerm();
  Cancel(id);
  ASSERT_TRUE(Await([&] { return !program->signals().empty(); }));
  LeaveEnd(id, "finished");
  Finish(program);
  EXPECT_EQ(AwaitState(id, JobState::kSucceeded).model_version, "v1");
}

TEST_F(JobRunnerTest, CancelComesThroughWhenTheClockWasSetBack) {
  options_.training.stop_grace = absl::Milliseconds(300);
  StartRunner();
  const std::string id = Submit();
  const Program program = AwaitProgram();
  program->IgnoreTerm();
  clock_ahead_s_ = -3600;
  ASSERT_TRUE(store_->Apply(id, {.action = JobAction::kCancel}, absl::Now()).ok());  // no Wake
  ASSERT_TRUE(Await([&] { return !program->signals().empty(); }));
  clock_ahead_s_ = -7200;
  AwaitState(id, JobState::kCancelled);
  EXPECT_THAT(program->signals(), ElementsAre(SIGTERM, SIGKILL));
}

TEST_F(JobRunnerTest, ClockThatWasSetForwardTakesNoTime) {
  options_.training.max_time = absl::Hours(1);
  StartRunner();
  const std::string id = Submit();
  const Program program = AwaitProgram();
  clock_ahead_s_ = 360'000;
  ASSERT_TRUE(Await([&] { return Get(id).disk_bytes > 0; }));
  LeaveModel(id, std::string(5000, 'x'));
  ASSERT_TRUE(Await([&] { return Get(id).disk_bytes > 5000; }));  // limits were looked at, too
  Finish(program);
  AwaitState(id, JobState::kSucceeded);
}

// --- start that fails ---

TEST_F(JobRunnerTest, MissingProgramIsNamedAndFailsNoJob) {
  options_.launch = nullptr;
  options_.training.launch = {"/no/such/program"};
  options_.training.max_running = 2;
  const std::string first = Submit();
  for (int i = 0; i < 29; ++i) Submit();
  StartRunner();
  ASSERT_TRUE(Await([&] { return States(first).size() == 3; }));
  EXPECT_THAT(AwaitState(first, JobState::kQueued).reason, HasSubstr("/no/such/program"));
  EXPECT_EQ(Get(first).failures, 0);
  runner_.reset();
  const std::vector<Job> others = store_->List({.limit = 29}).value();
  for (const Job& job : others) EXPECT_EQ(job.attempts, 0);
  EXPECT_EQ(store_->CountByState().value()[JobState::kQueued], 30);
}

TEST_F(JobRunnerTest, DataSetThatIsAwayHoldsUpItsOwnJobAlone) {
  const std::string first = Submit(), second = Submit();
  options_.prepare = [&](const Job& job) -> absl::StatusOr<std::string> {
    if (job.id == second || open_) return "x";
    return WithReason(absl::FailedPreconditionError("its folder is gone"), "DATASET_UNUSABLE");
  };
  options_.training.first_retry = absl::Milliseconds(200);
  StartRunner();
  Program program = AwaitProgram();
  EXPECT_EQ(program->job(), second);
  Finish(program);
  AwaitState(second, JobState::kSucceeded);
  EXPECT_THAT(AwaitState(first, JobState::kQueued).reason, HasSubstr("its folder is gone"));
  open_ = true;
  Finish(AwaitProgram());
  EXPECT_EQ(AwaitState(first, JobState::kSucceeded).failures, 0);
}

TEST_F(JobRunnerTest, JobThatIsDeletedAsItIsStartedLeavesNoFolder) {
  options_.prepare = [&](const Job& job) -> absl::StatusOr<std::string> {
    const JobChange cancel{.action = JobAction::kCancel};
    EXPECT_TRUE(store_->Apply(job.id, cancel, absl::Now()).ok());
    RemoveFolder(DeleteJob(*store_, jobs_, job.id).value());
    fs::create_directories(JobFolder(jobs_, job.id));
    return "x";
  };
  const std::string id = Submit();
  StartRunner();
  ASSERT_TRUE(Await([&] { return !store_->Get(id).ok(); }));
  runner_.reset();
  EXPECT_FALSE(fs::exists(JobFolder(jobs_, id)));
}

TEST_F(JobRunnerTest, WhatCannotBePreparedFails) {
  options_.prepare = [](const Job&) { return absl::NotFoundError("data set 'x' is gone"); };
  StartRunner();
  const std::string first = Submit(), second = Submit();
  for (const std::string& id : {first, second}) {
    const Job job = AwaitState(id, JobState::kFailed);
    EXPECT_THAT(job.reason, HasSubstr("data set 'x' is gone"));
    EXPECT_EQ(job.attempts, 0);
  }
}

TEST_F(JobRunnerTest, FullDiskStartsNothingAndFailsNothing) {
  options_.prepare = [](const Job&) { return absl::ResourceExhaustedError("disk is full"); };
  StartRunner();
  const std::string id = Submit();
  EXPECT_TRUE(AwaitLog("disk is full"));
  EXPECT_EQ(Get(id).state, JobState::kQueued);
}

TEST_F(JobRunnerTest, NothingIsStartedBelowMinFreeBytes) {
  options_.training.min_free_bytes = 1000;
  free_bytes_ = 999;
  StartRunner();
  const std::string id = Submit();
  EXPECT_TRUE(AwaitLog("999 free bytes; min_free_bytes is 1000"));
  EXPECT_EQ(Get(id).attempts, 0);
}

TEST_F(JobRunnerTest, CrashOnAFullDiskIsNoFailure) {
  options_.training.min_free_bytes = 1000;
  StartRunner();
  const std::string id = Submit();
  const Program program = AwaitProgram();
  free_bytes_ = 999;
  program->Exit({.status = 1});
  EXPECT_THAT(AwaitState(id, JobState::kQueued).reason, HasSubstr("full: exit status 1"));
  EXPECT_EQ(Get(id).failures, 0);
}

TEST_F(JobRunnerTest, WhatCouldNotBeLoggedIsToldOfInItsPlace) {
  const std::string id = Submit();
  fs::create_directories(JobLogPath(jobs_, id));  // no file can be there
  StartRunner();
  const Program program = AwaitProgram();
  program->Print("abc");
  EXPECT_TRUE(AwaitLog("is lost for now", 2));  // the log's beginning, then this
  fs::remove(JobLogPath(jobs_, id));
  program->Print("def");
  Finish(program);
  AwaitState(id, JobState::kSucceeded);
  EXPECT_EQ(ReadLog(JobLogPath(jobs_, id), 0, 100).value().text,
            "\n[3 bytes could not be written]\ndef");
}

// --- collecting ---

TEST_F(JobRunnerTest, SlowCollectHoldsUpNobody) {
  options_.training.max_running = 2;
  const std::string slow = Submit(1), other = Submit();
  options_.collect = [&](const Job& job, const std::string& path) {
    EXPECT_TRUE(job.id != slow || Await([&] { return open_.load(); }));
    return ReadFile(path);
  };
  StartRunner();
  Finish(AwaitProgram());
  Finish(AwaitProgram());
  AwaitState(other, JobState::kSucceeded);
  Cancel(slow);
  EXPECT_EQ(Get(slow).state, JobState::kCancelling);
  open_ = true;
  AwaitState(slow, JobState::kSucceeded);
}

TEST_F(JobRunnerTest, CollectThatThrowsIsTriedAgain) {
  options_.collect = [&](const Job&, const std::string& path) {
    if (!open_.exchange(true)) throw std::bad_alloc();
    return ReadFile(path);
  };
  StartRunner();
  const std::string id = Submit();
  Finish(AwaitProgram());
  Finish(AwaitProgram());
  EXPECT_EQ(AwaitState(id, JobState::kSucceeded).failures, 1);
}

TEST_F(JobRunnerTest, ShutdownWaitsForACollect) {
  std::atomic<bool> collecting = false;
  options_.training.stop_grace = options_.kill_patience = absl::ZeroDuration();
  options_.collect = [&](const Job&, const std::string& path) {
    collecting = true;
    EXPECT_TRUE(Await([&] { return open_.load(); }));
    return ReadFile(path);
  };
  StartRunner();
  const std::string id = Submit();
  Finish(AwaitProgram());
  ASSERT_TRUE(Await([&] { return collecting.load(); }));
  runner_->BeginStop();
  open_ = true;
  runner_.reset();
  EXPECT_EQ(Get(id).state, JobState::kSucceeded);
}

TEST_F(JobRunnerTest, ModelThatCannotBeStoredFails) {
  options_.collect = [](const Job&, const std::string&) {
    return absl::StatusOr<std::string>(absl::DataLossError("it is torn"));
  };
  StartRunner();
  const std::string id = Submit();
  Finish(AwaitProgram());
  EXPECT_THAT(AwaitState(id, JobState::kFailed).reason, HasSubstr("it is torn"));
}

TEST_F(JobRunnerTest, FullDiskIsTriedAgain) {
  bool full = true;
  options_.collect = [&](const Job&, const std::string& path) -> absl::StatusOr<std::string> {
    if (std::exchange(full, false)) return absl::ResourceExhaustedError("disk is full");
    return ReadFile(path);
  };
  StartRunner();
  const std::string id = Submit();
  Finish(AwaitProgram());
  Finish(AwaitProgram());
  EXPECT_EQ(AwaitState(id, JobState::kSucceeded).failures, 1);
}

TEST_F(JobRunnerTest, SuccessWithoutAModelFails) {
  StartRunner();
  const std::string id = Submit();
  AwaitProgram()->Exit({});
  EXPECT_THAT(AwaitState(id, JobState::kFailed).reason, HasSubstr("left no model"));
}

// --- limits ---

TEST_F(JobRunnerTest, TooMuchMemoryIsKilled) {
  options_.training.max_memory_bytes = 1000;
  StartRunner();
  const std::string id = Submit();
  const Program program = AwaitProgram();
  program->Use(2000);
  EXPECT_EQ(AwaitState(id, JobState::kFailed).reason,
            "used 2000 bytes of memory; max_memory_bytes is 1000");
  EXPECT_THAT(program->signals(), ElementsAre(SIGKILL));
}

TEST_F(JobRunnerTest, TooLongIsStopped) {
  options_.training.max_time = absl::Milliseconds(1);
  StartRunner();
  const std::string id = Submit();
  const Program program = AwaitProgram();
  EXPECT_THAT(AwaitState(id, JobState::kFailed).reason, HasSubstr("max_time is 1ms"));
  EXPECT_THAT(program->signals(), ElementsAre(SIGTERM));
}

TEST_F(JobRunnerTest, TooMuchDiskIsStopped) {
  options_.training.max_disk_bytes = 1000;
  options_.training.min_free_bytes = 1000;
  StartRunner();
  const std::string id = Submit();
  const Program program = AwaitProgram();
  free_bytes_ = 249;
  ASSERT_TRUE(Await([&] { return Get(id).disk_bytes > 0; }));
  LeaveModel(id, std::string(5000, 'x'));
  EXPECT_THAT(AwaitState(id, JobState::kFailed).reason, HasSubstr("max_disk_bytes is 1000"));
  EXPECT_THAT(program->signals(), ElementsAre(SIGTERM));
  EXPECT_GE(Get(id).disk_bytes, 5000);
  const std::vector<JobEvent> warnings = Events(id, JobEventKind::kWarning);
  ASSERT_THAT(warnings, SizeIs(1));
  EXPECT_THAT(warnings[0].text, HasSubstr("free bytes"));
}

// --- lives of the server ---

TEST_F(JobRunnerTest, ShutdownQueuesTheJobAgain) {
  options_.training.max_running = 2;
  StartRunner();
  const std::string id = Submit(), cancelled = Submit();
  const Program first = AwaitProgram(), second = AwaitProgram();
  second->IgnoreTerm();
  Cancel(cancelled);
  ASSERT_TRUE(Await([&] { return !second->signals().empty(); }));
  second->Exit({.status = 1});
  runner_.reset();
  EXPECT_THAT(first->signals(), ElementsAre(SIGTERM));
  EXPECT_EQ(Get(id).state, JobState::kQueued);
  EXPECT_EQ(Get(id).reason, "the server went down");
  EXPECT_EQ(Get(id).failures, 0);
  EXPECT_EQ(Get(cancelled).state, JobState::kCancelled);
  EXPECT_THAT(store_->Processes().value(), IsEmpty());
  StartRunner();
  Finish(AwaitProgram());
  EXPECT_EQ(AwaitState(id, JobState::kSucceeded).attempts, 2);
}

// A launcher's `trap 'exit 0' TERM`: what it leaves is half trained.
TEST_F(JobRunnerTest, StatusZeroOfWhoWasToldToStopIsNoSuccess) {
  StartRunner();
  const std::string id = Submit();
  const Program program = AwaitProgram();
  program->IgnoreTerm();
  runner_->BeginStop();
  ASSERT_TRUE(Await([&] { return !program->signals().empty(); }));
  Finish(program);
  runner_.reset();
  EXPECT_EQ(Get(id).state, JobState::kQueued);
  EXPECT_EQ(Get(id).reason, "the server went down");
}

TEST_F(JobRunnerTest, ShutdownLeavesWhatNothingEndsToTheNextLife) {
  options_.training.stop_grace = absl::ZeroDuration();
  options_.kill_patience = absl::Milliseconds(300);
  StartRunner();
  const std::string id = Submit();
  const Program program = AwaitProgram();
  program->Survive();
  runner_.reset();
  EXPECT_THAT(program->signals(), Contains(SIGKILL));
  EXPECT_EQ(Get(id).state, JobState::kRunning);
}

// What a run told before its server was killed comes before the next attempt.
TEST_F(JobRunnerTest, EventsOfAnEarlierLifeAreToldFirst) {
  const std::string id = Submit();
  ASSERT_TRUE(store_->Apply(id, {.action = JobAction::kStart}, absl::Now()).ok());
  LeaveEnd(id, "checkpoint");
  StartRunner();
  Finish(AwaitProgram());
  AwaitState(id, JobState::kSucceeded);
  const std::vector<JobEvent> events = store_->Events(id, 0, 100).value();
  ASSERT_THAT(events, SizeIs(6));
  EXPECT_EQ(events[2].kind, JobEventKind::kCheckpoint);
  EXPECT_EQ(events[3].state, JobState::kQueued);
  EXPECT_TRUE(AwaitLog(absl::StrCat("info: job ", id, " is QUEUED: the server was restarted")));
}

TEST_F(JobRunnerTest, ShutdownKillsWhoDoesNotStop) {
  options_.training.stop_grace = absl::Milliseconds(200);
  StartRunner();
  const std::string id = Submit();
  const Program program = AwaitProgram();
  program->IgnoreTerm();
  runner_.reset();
  EXPECT_THAT(program->signals(), ElementsAre(SIGTERM, SIGKILL));
  EXPECT_EQ(Get(id).state, JobState::kQueued);
}

TEST_F(JobRunnerTest, JobsOfAnEarlierLifeGoOn) {
  const std::string ran = Submit(), cancelling = Submit();
  for (const std::string& id : {ran, cancelling}) {
    ASSERT_TRUE(store_->Apply(id, {.action = JobAction::kStart}, absl::Now()).ok());
  }
  const JobChange cancel{.action = JobAction::kCancel, .reason = "enough"};
  ASSERT_TRUE(store_->Apply(cancelling, cancel, absl::Now()).ok());
  StartRunner();
  Finish(AwaitProgram());
  const Job job = AwaitState(ran, JobState::kSucceeded);
  EXPECT_EQ(job.attempts, 2);
  EXPECT_EQ(job.failures, 0);
  EXPECT_EQ(AwaitState(cancelling, JobState::kCancelled).reason, "enough");
}

// The recorded one has no mark; the other was never recorded, and its job is unknown by now.
TEST_F(JobRunnerTest, KillOfProgramsOfAnEarlierLife) {
  const std::string id = Submit();
  ASSERT_TRUE(store_->Apply(id, {.action = JobAction::kStart}, absl::Now()).ok());
  absl::StatusOr<ChildProcess> recorded =
      ChildProcess::Start({.arguments = {"sh", "-c", "trap '' TERM; exec sleep 1000"}});
  ASSERT_TRUE(recorded.ok()) << recorded.status();
  absl::StatusOr<ChildProcess> unknown = ChildProcess::Start(
      {.arguments = {"setsid", "sleep", "1000"},
       .environment = {"DEWEATHER_JOB=abc", absl::StrCat("DEWEATHER_JOBS=", jobs_)}});
  ASSERT_TRUE(unknown.ok()) << unknown.status();
  const ProcessIdentity& process = recorded->identity();
  ASSERT_TRUE(store_->SetProcess({id, process.pid, process.start_ticks, process.boot_id}).ok());
  options_.training.stop_grace = absl::Milliseconds(200);
  bool alone = false;
  options_.launch = [&, launch = options_.launch](const Job& job, const ChildOptions& child) {
    alone = IsGone(process) && ProcessesWith("DEWEATHER_JOBS", jobs_).value().empty();
    return launch(job, child);
  };
  StartRunner();
  Finish(AwaitProgram());
  const Job job = AwaitState(id, JobState::kSucceeded);
  EXPECT_TRUE(alone);
  EXPECT_EQ(job.attempts, 2);
  EXPECT_EQ(Events(id, JobEventKind::kState)[2].text, "the server was restarted");
}

TEST_F(JobRunnerTest, NobodyElseIsKilled) {
  absl::StatusOr<ChildProcess> other = ChildProcess::Start(
      {.arguments = {"sleep", "1000"},
       .environment = {"DEWEATHER_JOB=abc", absl::StrCat("DEWEATHER_JOBS=", jobs_, "-other")}});
  ASSERT_TRUE(other.ok()) << other.status();
  const std::string id = Submit();
  // A number that is another's by now.
  ASSERT_TRUE(store_->SetProcess({id, other->identity().pid, 1, other->identity().boot_id}).ok());
  StartRunner();
  Finish(AwaitProgram());
  AwaitState(id, JobState::kSucceeded);
  EXPECT_FALSE(other->Poll().has_value());
  other->Signal(SIGKILL);
}

// --- real programs ---

TEST_F(JobRunnerTest, ProgramThatPrintsTenMegabytes) {
  options_.training.max_log_bytes = 100'000;
  StartRunnerOf(R"(head -c 10000000 /dev/zero | tr '\0' y; echo; echo last
                   mkdir -p ${3%/*}/run; printf v2 >${3%/*}/run/rain.safetensors)");
  const std::string id = Submit();
  EXPECT_EQ(AwaitState(id, JobState::kSucceeded).model_version, "v2");
  const LogPiece log = ReadLog(JobLogPath(jobs_, id), 10'000'000, 100).value();
  EXPECT_EQ(log.end, 10'000'006);
  EXPECT_EQ(log.text, "\nlast\n");
  EXPECT_LE(FolderBytes(JobFolder(jobs_, id)), 110'000);
}

TEST_F(JobRunnerTest, CancelEndsWhateverIsLeft) {
  options_.training.stop_grace = absl::Milliseconds(200);
  StartRunnerOf("trap '' TERM; setsid sh -c 'trap \"\" TERM; echo up; sleep 1000' & wait");
  const std::string id = Submit();
  ASSERT_TRUE(Await([&] { return ReadLog(JobLogPath(jobs_, id), 0, 10).value().text == "up\n"; }));
  EXPECT_THAT(ProcessesWith("DEWEATHER_JOB", id).value(), SizeIs(Gt(1u)));
  EXPECT_THAT(store_->Processes().value(), SizeIs(1));
  Cancel(id);
  AwaitState(id, JobState::kCancelled);
  EXPECT_THAT(ProcessesWith("DEWEATHER_JOB", id).value(), IsEmpty());
}

TEST_F(JobRunnerTest, ProgramKnowsItsJobAndKeepsOutOfTheWay) {
  StartRunnerOf("echo $DEWEATHER_JOB $DEWEATHER_JOBS $OMP_WAIT_POLICY $1 $2 $3; exit 2");
  const std::string id = Submit();
  EXPECT_EQ(AwaitState(id, JobState::kFailed).reason,
            absl::StrCat("exit status 2: ", id, " ", jobs_, " PASSIVE run --config ",
                         JobConfigPath(jobs_, id)));
}

TEST_F(JobRunnerTest, ProgramTakesPartInTheTraceOfItsRequestAlone) {
  setenv("TRACEPARENT", "of-the-server", 1);
  StartRunnerOf("echo trace=$TRACEPARENT; exit 2");
  const std::string trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const NewJob traced{.model = "rain", .config = "x", .trace_parent = trace};
  const std::string id = store_->Submit(traced, absl::Now())->id;
  runner_->Wake();
  EXPECT_THAT(AwaitState(id, JobState::kFailed).reason, testing::EndsWith("trace=" + trace));
  EXPECT_THAT(AwaitState(Submit(), JobState::kFailed).reason, testing::EndsWith("trace="));
  unsetenv("TRACEPARENT");
}

// --- trouble with the store ---

TEST_F(JobRunnerTest, StoreThatFailsIsTriedAgain) {
  StartRunner();
  const std::string id = Submit();
  const Program program = AwaitProgram();
  ASSERT_TRUE(Await([&] { return !store_->Processes().value().empty(); }));
  SQLite::Database database(JobStorePath(jobs_), SQLite::OPEN_READWRITE, 10'000);
  database.exec(
      "CREATE TRIGGER broken BEFORE UPDATE ON jobs "
      "BEGIN SELECT RAISE(ABORT, 'broken'); END");
  Finish(program);
  EXPECT_TRUE(AwaitLog("the end of a job's program"));
  EXPECT_EQ(Get(id).state, JobState::kRunning);
  database.exec("DROP TRIGGER broken");
  EXPECT_EQ(AwaitState(id, JobState::kSucceeded).attempts, 1);
}

TEST_F(JobRunnerTest, StoreThatFailsKeepsNobodyFromGoingDown) {
  StartRunner();
  const std::string id = Submit();
  const Program program = AwaitProgram();
  SQLite::Database database(JobStorePath(jobs_), SQLite::OPEN_READWRITE, 10'000);
  database.exec(
      "CREATE TRIGGER broken BEFORE UPDATE ON jobs "
      "BEGIN SELECT RAISE(ABORT, 'broken'); END");
  runner_.reset();
  EXPECT_FALSE(program->runs());
  EXPECT_EQ(Get(id).state, JobState::kRunning);
}

}  // namespace
}  // namespace deweather
