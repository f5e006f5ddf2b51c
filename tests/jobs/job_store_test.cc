#include "training/jobs/job_store.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cmath>
#include <filesystem>
#include <limits>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "model/base/error_reason.h"
#include "model/base/file.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;
using absl::StatusCode;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const absl::Time kNoon = absl::FromUnixSeconds(1'700'000'000);

// Actions that lead a new job to a state.
std::vector<JobAction> WayTo(JobState state) {
  switch (state) {
    case JobState::kQueued:
      return {};
    case JobState::kRunning:
      return {JobAction::kStart};
    case JobState::kCancelling:
      return {JobAction::kStart, JobAction::kCancel};
    case JobState::kSucceeded:
      return {JobAction::kStart, JobAction::kSucceed};
    case JobState::kFailed:
      return {JobAction::kFail};
    case JobState::kCancelled:
      return {JobAction::kCancel};
  }
  return {};
}

JobEvent Progress(int64_t step) {
  JobEvent event;
  event.time = kNoon;
  event.kind = JobEventKind::kProgress;
  event.progress = {.step = step, .steps = 1000};
  return event;
}
JobEvent Checkpoint(int64_t step) {
  JobEvent event;
  event.kind = JobEventKind::kCheckpoint;
  event.step = step;
  return event;
}
JobEvent Warning(const std::string& text) {
  JobEvent event;
  event.kind = JobEventKind::kWarning;
  event.text = text;
  return event;
}

class JobStoreTest : public testing::Test {
 protected:
  JobStoreTest()
      : folder_(absl::StrCat(testing::TempDir(), "/job_store.",
                             testing::UnitTest::GetInstance()->current_test_info()->name())),
        path_(folder_ + "/jobs.db") {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~JobStoreTest() override {
    store_.reset();
    fs::remove_all(folder_);
  }

  void Open() {
    store_.reset();
    auto store = JobStore::Open(path_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  absl::Status OpenError() {
    store_.reset();
    return JobStore::Open(path_).status();
  }
  Job Submit(const NewJob& job = {.model = "rain"}, absl::Time now = kNoon) {
    const auto made = store_->Submit(job, now);
    EXPECT_TRUE(made.ok()) << made.status();
    return made.value_or(Job());
  }
  Job SubmitTo(JobState state, const NewJob& job = {.model = "rain"}) {
    Job made = Submit(job);
    for (const JobAction action : WayTo(state)) made = Apply(made.id, {.action = action});
    EXPECT_EQ(made.state, state);
    return made;
  }
  Job Apply(const std::string& id, const JobChange& change, absl::Time now = kNoon) {
    const auto job = store_->Apply(id, change, now);
    EXPECT_TRUE(job.ok()) << job.status();
    return job.value_or(Job());
  }
  std::vector<std::string> List(const JobQuery& query) {
    std::vector<std::string> ids;
    const std::vector<Job> jobs = store_->List(query).value();
    for (const Job& job : jobs) ids.push_back(job.id);
    return ids;
  }
  std::string DueId(absl::Time now) {
    const auto due = store_->NextDue(now).value();
    return due.has_value() ? due->id : "";
  }
  // The first value that another connection finds.
  std::string Raw(const std::string& sql) {
    SQLite::Database database(path_, SQLite::OPEN_READWRITE);
    SQLite::Statement statement(database, sql);
    return statement.executeStep() ? statement.getColumn(0).getString() : "";
  }

  const std::string folder_;
  const std::string path_;
  std::unique_ptr<JobStore> store_;
};

void ExpectError(const absl::Status& status, StatusCode code, const std::string& reason,
                 const std::string& message = "") {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_EQ(ErrorReason(status), reason);
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

// --- submitting ---

TEST_F(JobStoreTest, AJobIsWhatWasSubmittedAlsoInTheNextLife) {
  Open();
  const NewJob submitted = {
      .model = "rain",
      .config = "name: \"rain\" # \xc3\xa4",
      .labels = {{"team", "a'b\"c\\"}, {"run", ""}},
      .priority = -7,
      .resumed_from = "0123456789ab",
      .request_id = "r-1",
      .request_digest = "d",
      .trace_parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"};
  const Job made = Submit(submitted, kNoon + absl::Microseconds(3));
  EXPECT_TRUE(IsJobId(made.id)) << made.id;
  for (int life = 0; life < 2; ++life) {
    const Job job = store_->Get(made.id).value();
    EXPECT_EQ(job.submitted.model, submitted.model);
    EXPECT_EQ(job.submitted.config, submitted.config);
    EXPECT_EQ(job.submitted.labels, submitted.labels);
    EXPECT_EQ(job.submitted.priority, submitted.priority);
    EXPECT_EQ(job.submitted.resumed_from, submitted.resumed_from);
    EXPECT_EQ(job.submitted.request_id, submitted.request_id);
    EXPECT_EQ(job.submitted.request_digest, submitted.request_digest);
    EXPECT_EQ(job.submitted.trace_parent, submitted.trace_parent);
    EXPECT_EQ(job.state, JobState::kQueued);
    EXPECT_EQ(job.create_time, kNoon + absl::Microseconds(3));
    EXPECT_FALSE(job.start_time || job.end_time || job.retry_time || job.progress);
    EXPECT_EQ(job.last_event, 1);
    const auto events = store_->Events(made.id, 0, 10).value();
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].kind, JobEventKind::kState);
    EXPECT_EQ(events[0].state, JobState::kQueued);
    Open();
  }
}

TEST_F(JobStoreTest, TheSameRequestIsTheSameJobInWhateverStateAndLife) {
  Open();
  const NewJob request = {.model = "rain", .request_id = "r-1", .request_digest = "one"};
  const std::string id = Submit(request).id;
  EXPECT_EQ(Submit(request).id, id);
  Apply(id, {.action = JobAction::kCancel});
  Open();
  EXPECT_EQ(Submit(request).id, id);
  EXPECT_EQ(Submit(request).state, JobState::kCancelled);
  NewJob other = request;
  other.request_digest = "two";
  ExpectError(store_->Submit(other, kNoon).status(), StatusCode::kAlreadyExists,
              "REQUEST_ID_REUSED", "'r-1'");
  EXPECT_EQ(List({}).size(), 1u);
  ASSERT_TRUE(store_->Delete(id).ok());
  EXPECT_NE(Submit(other).id, id);
  EXPECT_NE(Submit({.model = "rain"}).id, Submit({.model = "rain"}).id);  // no request_id
}

TEST_F(JobStoreTest, WhatIsInvalidIsNotTaken) {
  Open();
  EXPECT_EQ(store_->Submit({.priority = 101}, kNoon).status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(List({}), IsEmpty());
}

TEST_F(JobStoreTest, JobsThatAreNotThereAreUnknown) {
  Open();
  const std::string id = "0123456789ab";
  const JobProcess process = {.job_id = id};
  for (const absl::Status& status :
       {store_->Get(id).status(), store_->Apply(id, {}, kNoon).status(),
        store_->AddEvents(id, {Progress(1)}), store_->Events(id, 0, 1).status(),
        store_->SetProcess(process), store_->SetDiskBytes(id, 1), store_->Delete(id)}) {
    ExpectError(status, StatusCode::kNotFound, "UNKNOWN_JOB", id);
  }
  EXPECT_TRUE(store_->ClearProcess(id).ok());
}

// --- transitions ---

TEST_F(JobStoreTest, TransitionsAreThoseOfTheTableAndAnIllegalOneChangesNothing) {
  Open();
  for (const JobState state : kJobStates) {
    for (const JobAction action : kJobActions) {
      const Job before = SubmitTo(state);
      const auto after = store_->Apply(before.id, {.action = action, .reason = "why"}, kNoon);
      const std::optional<JobState> next = Next(state, action);
      const Job now = store_->Get(before.id).value();
      EXPECT_EQ(now.state, next.value_or(state)) << Name(state) << " " << Name(action);
      EXPECT_EQ(now.last_event, before.last_event + (next.has_value() ? 1 : 0));
      EXPECT_EQ(store_->Events(before.id, 0, 100).value().size(),
                static_cast<size_t>(now.last_event));
      EXPECT_EQ(after.ok(), next.has_value());
      if (after.ok()) continue;
      ExpectError(after.status(), StatusCode::kFailedPrecondition, "JOB_STATE",
                  std::string(Name(state)));
      EXPECT_THAT(std::string(after.status().message()), HasSubstr(std::string(Name(action))));
    }
  }
}

TEST_F(JobStoreTest, TransitionsKeepTimeReasonAndCounts) {
  Open();
  const std::string id = Submit().id;
  const auto at = [](int seconds) { return kNoon + absl::Seconds(seconds); };
  Job job = Apply(id, {.action = JobAction::kStart, .reason = "its turn"}, at(1));
  EXPECT_EQ(job.start_time, at(1));
  EXPECT_EQ(job.attempts, 1);
  job = Apply(id,
              {.action = JobAction::kRequeue,
               .reason = "signal 9 \xff",
               .failure = true,
               .retry_time = at(7)},
              at(2));
  EXPECT_EQ(job.reason, "signal 9 \xef\xbf\xbd");  // what is no UTF-8 cannot be sent
  EXPECT_EQ(job.failures, 1);
  EXPECT_EQ(job.retry_time, at(7));
  job = Apply(id, {.action = JobAction::kStart}, at(8));
  EXPECT_FALSE(job.retry_time.has_value());
  EXPECT_EQ(job.start_time, at(1));
  EXPECT_EQ(job.attempts, 2);
  EXPECT_FALSE(job.end_time.has_value());
  Apply(id, {.action = JobAction::kSucceed, .model_version = "abc"}, at(9));
  Open();
  job = store_->Get(id).value();
  EXPECT_EQ(job.end_time, at(9));
  EXPECT_EQ(job.model_version, "abc");
  EXPECT_EQ(job.failures, 1);
  const std::vector<JobEvent> events = store_->Events(id, 0, 100).value();
  ASSERT_EQ(events.size(), 5u);
  EXPECT_EQ(events[2].number, 3);
  EXPECT_EQ(events[2].time, at(2));
  EXPECT_EQ(events[2].state, JobState::kQueued);
  EXPECT_EQ(events[2].text, "signal 9 \xef\xbf\xbd");
  EXPECT_EQ(events[2].attempt, 1);
  EXPECT_EQ(events[3].attempt, 2);
}

TEST_F(JobStoreTest, NoJobEndsBeforeItBeganWhateverTheClockSays) {
  Open();
  const std::string id = Submit().id;
  Apply(id, {.action = JobAction::kStart}, kNoon - absl::Hours(1));
  const Job job = Apply(id, {.action = JobAction::kFail}, kNoon - absl::Hours(2));
  EXPECT_EQ(job.start_time, kNoon);
  EXPECT_EQ(job.end_time, kNoon);
}

// --- whose turn it is ---

TEST_F(JobStoreTest, TheHighestPriorityThatIsDueIsNextThenTheOldest) {
  Open();
  EXPECT_EQ(DueId(kNoon), "");
  const std::string first = Submit({.model = "a"}).id;
  const std::string second = Submit({.model = "b"}).id;
  EXPECT_EQ(DueId(kNoon), first);
  const std::string urgent = Submit({.model = "c", .priority = 5}).id;
  EXPECT_EQ(DueId(kNoon), urgent);
  Apply(urgent, {.action = JobAction::kStart});
  EXPECT_EQ(DueId(kNoon), first);
  const absl::Time retry = kNoon + absl::Seconds(10);
  Apply(urgent, {.action = JobAction::kRequeue, .retry_time = retry});
  EXPECT_EQ(DueId(kNoon), first);
  EXPECT_EQ(store_->NextRetry(kNoon).value(), retry);
  EXPECT_EQ(DueId(retry), urgent);
  EXPECT_EQ(store_->NextRetry(retry).value(), absl::InfiniteFuture());
  for (const std::string& id : {first, second}) Apply(id, {.action = JobAction::kCancel});
  EXPECT_EQ(DueId(kNoon), "");
}

TEST_F(JobStoreTest, AClockThatWasSetBackHoldsNoJobUp) {
  Open();
  const std::string id = Submit().id;
  Apply(id, {.action = JobAction::kStart});
  Apply(id, {.action = JobAction::kRequeue, .retry_time = kNoon + absl::Seconds(10)});
  EXPECT_EQ(DueId(kNoon), "");
  EXPECT_EQ(DueId(kNoon - absl::Hours(1)), id);
  EXPECT_EQ(store_->NextRetry(kNoon - absl::Hours(1)).value(), absl::InfiniteFuture());
}

// --- events ---

TEST_F(JobStoreTest, EventsOfEveryKindComeBack) {
  Open();
  const std::string id = SubmitTo(JobState::kRunning).id;
  const JobProgress progress = {.step = 10,
                                .steps = 100,
                                .loss = std::numeric_limits<double>::quiet_NaN(),
                                .terms = {{"loss/rain", 0.1}, {"balance", 1e-300}},
                                .images_per_second = 12.5,
                                .learning_rate = 3e-4,
                                .bad_steps = 2,
                                .remaining = absl::Seconds(90)};
  const JobEvaluation evaluation = {.step = 10, .figures = {{"rain/psnr_y", 31.25}}};
  JobEvent step = Progress(10), measured;
  step.time = kNoon + absl::Seconds(1);
  step.progress = progress;
  measured.kind = JobEventKind::kEvaluation;
  measured.evaluation = evaluation;
  ASSERT_TRUE(store_->AddEvents(id, {step, Checkpoint(10), Warning("a \xff \n b"), measured}).ok());
  Open();
  const auto events = store_->Events(id, 2, 100).value();
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].number, 3);
  EXPECT_EQ(events[0].kind, JobEventKind::kProgress);
  EXPECT_EQ(events[0].time, kNoon + absl::Seconds(1));
  EXPECT_EQ(events[1].kind, JobEventKind::kCheckpoint);
  EXPECT_EQ(events[1].step, 10);
  EXPECT_EQ(events[2].kind, JobEventKind::kWarning);
  EXPECT_EQ(events[2].text, "a \xef\xbf\xbd \n b");
  EXPECT_EQ(events[3].kind, JobEventKind::kEvaluation);
  const Job job = store_->Get(id).value();
  EXPECT_EQ(job.last_event, 6);
  ASSERT_TRUE(job.progress && job.evaluation);
  for (const JobProgress& told : {events[0].progress, *job.progress}) {
    EXPECT_EQ(told.step, 10);
    EXPECT_EQ(told.steps, 100);
    EXPECT_TRUE(std::isnan(told.loss));
    EXPECT_EQ(told.terms, progress.terms);
    EXPECT_EQ(told.images_per_second, 12.5);
    EXPECT_EQ(told.learning_rate, 3e-4);
    EXPECT_EQ(told.bad_steps, 2);
    EXPECT_EQ(told.remaining, absl::Seconds(90));
  }
  for (const JobEvaluation& told : {events[3].evaluation, *job.evaluation}) {
    EXPECT_EQ(told.step, 10);
    EXPECT_EQ(told.figures, evaluation.figures);
  }
}

TEST_F(JobStoreTest, EventsAreReadFromAnyNumberOnAndAtMostSoMany) {
  Open();
  const std::string id = SubmitTo(JobState::kRunning).id;
  ASSERT_TRUE(store_->AddEvents(id, {Progress(1), Progress(2), Progress(3)}).ok());
  const auto numbers = [&](int64_t after, int limit) {
    std::vector<int64_t> found;
    const std::vector<JobEvent> events = store_->Events(id, after, limit).value();
    for (const JobEvent& event : events) found.push_back(event.number);
    return found;
  };
  EXPECT_THAT(numbers(0, 100), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_THAT(numbers(1, 2), ElementsAre(2, 3));
  EXPECT_THAT(numbers(5, 2), IsEmpty());
}

TEST_F(JobStoreTest, AJobThatHasEndedTakesNoEventsAndNoProgramTellsAState) {
  Open();
  const std::string running = SubmitTo(JobState::kRunning).id;
  EXPECT_EQ(store_->AddEvents(running, {Progress(1), JobEvent()}).code(),
            StatusCode::kInvalidArgument);
  EXPECT_TRUE(store_->AddEvents(running, {}).ok());
  EXPECT_EQ(store_->Get(running)->last_event, 2);
  const std::string ended = SubmitTo(JobState::kFailed).id;
  ExpectError(store_->AddEvents(ended, {Progress(1)}), StatusCode::kFailedPrecondition, "JOB_STATE",
              "FAILED");
}

TEST_F(JobStoreTest, KeepsABoundedNumberOfEventsAndABoundedLog) {
  Open();
  const std::string id = SubmitTo(JobState::kRunning).id;
  for (int64_t batch = 0; batch < 10; ++batch) {
    std::vector<JobEvent> events;
    for (int64_t i = 1; i <= kMaxToldEvents / 10; ++i) {
      events.push_back(Progress(batch * kMaxToldEvents / 10 + i));
    }
    ASSERT_TRUE(store_->AddEvents(id, std::move(events)).ok());
  }
  EXPECT_EQ(store_->Get(id)->last_event, kMaxToldEvents + 2);
  ASSERT_TRUE(
      store_->AddEvents(id, {Progress(200'000), Warning("one more"), Checkpoint(200'000)}).ok());
  const Job job = store_->Get(id).value();
  EXPECT_EQ(job.progress->step, 200'000);
  EXPECT_EQ(job.last_event, kMaxToldEvents + 3);
  const auto last = store_->Events(id, kMaxToldEvents + 2, 10).value();
  ASSERT_EQ(last.size(), 1u);
  EXPECT_EQ(last[0].kind, JobEventKind::kCheckpoint);
  EXPECT_EQ(Raw("SELECT count(*) FROM events"), absl::StrCat(job.last_event));
  EXPECT_LE(fs::file_size(path_ + "-wal"), 16u << 20);
}

// --- lists ---

TEST_F(JobStoreTest, ListsByStateLabelsAndModelTheNewestFirst) {
  Open();
  const std::string a = Submit({.model = "rain", .labels = {{"team", "x"}, {"run", "1"}}}).id;
  const std::string b =
      SubmitTo(JobState::kRunning, {.model = "rain", .labels = {{"team", "x"}}}).id;
  const std::string c =
      SubmitTo(JobState::kFailed, {.model = "snow", .labels = {{"team", "y"}}}).id;
  EXPECT_THAT(List({}), ElementsAre(c, b, a));
  EXPECT_THAT(List({.limit = 2}), ElementsAre(c, b));
  EXPECT_THAT(List({.before = store_->Get(b)->sequence}), ElementsAre(a));
  EXPECT_THAT(List({.states = {JobState::kQueued, JobState::kFailed}}), ElementsAre(c, a));
  EXPECT_THAT(List({.states = {JobState::kCancelled}}), IsEmpty());
  EXPECT_THAT(List({.labels = {{"team", "x"}}}), ElementsAre(b, a));
  EXPECT_THAT(List({.labels = {{"team", "x"}, {"run", "1"}}}), ElementsAre(a));
  EXPECT_THAT(List({.labels = {{"team", "' OR 1"}}}), IsEmpty());
  EXPECT_THAT(List({.labels = {{"x", "team"}}}), IsEmpty());
  EXPECT_THAT(List({.states = {JobState::kRunning}, .labels = {{"team", "x"}}, .model = "rain"}),
              ElementsAre(b));
  EXPECT_THAT(List({.model = "snow"}), ElementsAre(c));
  const auto counts = store_->CountByState().value();
  EXPECT_EQ(counts.size(), kJobStates.size());
  EXPECT_EQ(counts.at(JobState::kQueued), 1);
  EXPECT_EQ(counts.at(JobState::kFailed), 1);
  EXPECT_EQ(counts.at(JobState::kSucceeded), 0);
}

TEST_F(JobStoreTest, EndsAreCountedSinceItWasOpened) {
  Open();
  EXPECT_THAT(store_->EndedByState(), IsEmpty());
  for (const JobState state : kJobStates) SubmitTo(state);
  SubmitTo(JobState::kFailed);
  using Ends = std::map<JobState, int64_t>;
  EXPECT_EQ(store_->EndedByState(),
            (Ends{{JobState::kSucceeded, 1}, {JobState::kFailed, 2}, {JobState::kCancelled, 1}}));
  Open();
  EXPECT_THAT(store_->EndedByState(), IsEmpty());
}

TEST_F(JobStoreTest, AThousandJobsByPagesWhileOthersAreAdded) {
  Open();
  std::vector<std::string> there;  // the newest first
  for (int i = 0; i < 1000; ++i) {
    NewJob job = {.model = "rain"};
    if (i % 3 == 0) job.labels["third"] = "yes";
    there.insert(there.begin(), Submit(job).id);
  }
  std::atomic<bool> stop = false;
  std::thread adds([&] {
    while (!stop) Submit({.model = "rain", .labels = {{"third", "yes"}}});
  });
  const auto all = [&](JobQuery query) {
    std::vector<std::string> ids;
    query.before = store_->Get(there.front())->sequence + 1;
    while (true) {
      const std::vector<Job> page = store_->List(query).value();
      for (const Job& job : page) ids.push_back(job.id);
      if (page.size() < static_cast<size_t>(query.limit)) return ids;
      query.before = page.back().sequence;
    }
  };
  for (const int size : {1, 7, 50}) EXPECT_EQ(all({.limit = size}), there) << size;
  const std::vector<std::string> thirds = all({.labels = {{"third", "yes"}}, .limit = 7});
  EXPECT_EQ(thirds.size(), 334u);
  EXPECT_EQ(std::set<std::string>(thirds.begin(), thirds.end()).size(), 334u);
  stop = true;
  adds.join();
}

// --- what else is kept of a job ---

TEST_F(JobStoreTest, ProcessesAreKeptOnePerJobAlsoInTheNextLife) {
  Open();
  const std::string a = Submit().id, b = SubmitTo(JobState::kRunning).id;
  ASSERT_TRUE(store_->SetProcess({.job_id = b, .pid = 7}).ok());
  ASSERT_TRUE(store_->SetProcess({.job_id = a, .pid = 1}).ok());
  ASSERT_TRUE(
      store_->SetProcess({.job_id = b, .pid = 8, .start_ticks = 1LL << 40, .boot_id = "boot"})
          .ok());
  ASSERT_TRUE(store_->ClearProcess(a).ok());
  Open();
  const auto processes = store_->Processes().value();
  ASSERT_EQ(processes.size(), 1u);
  EXPECT_EQ(processes[0].job_id, b);
  EXPECT_EQ(processes[0].pid, 8);
  EXPECT_EQ(processes[0].start_ticks, 1LL << 40);
  EXPECT_EQ(processes[0].boot_id, "boot");
}

TEST_F(JobStoreTest, OnlyAJobThatHasEndedIsDeletedWithAllThatIsKeptOfIt) {
  Open();
  for (const JobState state : kJobStates) {
    const Job job = SubmitTo(state, {.model = "rain", .labels = {{"a", "b"}}});
    ASSERT_TRUE(store_->SetProcess({.job_id = job.id}).ok());
    const absl::Status deleted = store_->Delete(job.id);
    EXPECT_EQ(deleted.ok(), IsTerminal(state)) << Name(state);
    if (!deleted.ok()) ExpectError(deleted, StatusCode::kFailedPrecondition, "JOB_STATE");
    EXPECT_EQ(store_->Get(job.id).ok(), !IsTerminal(state));
  }
  for (const char* table : {"labels", "processes", "events WHERE number = 1"}) {
    EXPECT_EQ(Raw(absl::StrCat("SELECT count(*) FROM ", table)), "3") << table;
  }
}

TEST_F(JobStoreTest, NoSequenceIsGivenTwice) {
  Open();
  const Job last = SubmitTo(JobState::kFailed);
  ASSERT_TRUE(store_->Delete(last.id).ok());
  Open();
  EXPECT_GT(Submit().sequence, last.sequence);
}

TEST_F(JobStoreTest, DiskBytesAreSummed) {
  Open();
  EXPECT_EQ(store_->DiskBytes().value(), 0);
  const std::string a = Submit().id, b = Submit().id;
  ASSERT_TRUE(store_->SetDiskBytes(a, 1LL << 40).ok());
  ASSERT_TRUE(store_->SetDiskBytes(b, 5).ok());
  EXPECT_EQ(store_->Get(a)->disk_bytes, 1LL << 40);
  EXPECT_EQ(store_->DiskBytes().value(), (1LL << 40) + 5);
}

TEST_F(JobStoreTest, ChangesAreToldAfterTheCommitUnderNoLock) {
  Open();
  std::vector<std::string> told;
  store_->OnChange([&](const std::string& id) {
    const auto job = store_->Get(id);  // would wait for ever under the lock
    told.push_back(job.ok() ? std::string(Name(job->state)) : "gone");
  });
  const NewJob request = {.model = "rain", .request_id = "r"};
  const std::string id = Submit(request).id;
  Submit(request);  // no change
  Apply(id, {.action = JobAction::kStart});
  EXPECT_FALSE(store_->Apply(id, {.action = JobAction::kStopped}, kNoon).ok());
  ASSERT_TRUE(store_->AddEvents(id, {Progress(1), Progress(2)}).ok());
  Apply(id, {.action = JobAction::kFail});
  ASSERT_TRUE(store_->Delete(id).ok());
  EXPECT_THAT(told, ElementsAre("QUEUED", "RUNNING", "RUNNING", "FAILED", "gone"));
}

TEST_F(JobStoreTest, ManyThreadsLoseNothing) {
  Open();
  constexpr int kThreads = 6, kJobs = 10;
  const std::string shared = SubmitTo(JobState::kRunning).id;
  std::atomic<int> told = 0;
  store_->OnChange([&](const std::string&) { ++told; });
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int job = 0; job < kJobs; ++job) {
        SubmitTo(JobState::kRunning);
        EXPECT_TRUE(store_->AddEvents(shared, {Progress(job), Progress(job)}).ok());
        EXPECT_TRUE(store_->NextDue(kNoon).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(told, kThreads * kJobs * 3);
  EXPECT_EQ(store_->CountByState()->at(JobState::kRunning), kThreads * kJobs + 1);
  const auto events = store_->Events(shared, 0, 1000).value();
  ASSERT_EQ(events.size(), 2u + kThreads * kJobs * 2);
  EXPECT_EQ(events.back().number, static_cast<int64_t>(events.size()));
}

// --- the file ---

TEST_F(JobStoreTest, ANewFileIsOfTheNewestVersion) {
  Open();
  EXPECT_EQ(Raw("PRAGMA user_version"), "2");
  EXPECT_EQ(Raw("PRAGMA journal_mode"), "wal");
  ASSERT_TRUE(WriteFileAtomically(path_ + "2", "").ok());  // its maker was killed before the schema
  EXPECT_TRUE(JobStore::Open(path_ + "2").ok());
}

TEST_F(JobStoreTest, AFileOfVersion1KeepsItsJobs) {
  Open();
  const Job before = Submit({.model = "rain", .request_id = "r"});
  store_.reset();
  Raw("ALTER TABLE jobs DROP COLUMN trace_parent");
  Raw("PRAGMA user_version = 1");
  Open();
  EXPECT_EQ(Raw("PRAGMA user_version"), "2");
  const Job after = store_->Get(before.id).value();
  EXPECT_EQ(after.submitted.request_id, "r");
  EXPECT_EQ(after.submitted.trace_parent, "");
  EXPECT_EQ(Submit({.model = "rain", .trace_parent = "t"}).submitted.trace_parent, "t");
}

TEST_F(JobStoreTest, AFileOfANewerVersionIsRefusedAndLeftAlone) {
  Open();
  store_.reset();
  Raw("PRAGMA user_version = 7");
  Raw("PRAGMA wal_checkpoint(TRUNCATE)");
  const std::string before = ReadFile(path_).value();
  const absl::Status status = OpenError();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(path_), HasSubstr("version 7"), HasSubstr("up to 2")));
  EXPECT_EQ(ReadFile(path_).value(), before);
}

class CorruptJobStoreTest : public JobStoreTest {
 protected:
  // Refused, by its name, and not touched.
  void ExpectDataLoss(const std::string& bytes) {
    ASSERT_TRUE(WriteFileAtomically(path_, bytes).ok());
    const absl::Status status = OpenError();
    EXPECT_EQ(status.code(), StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path_));
    EXPECT_EQ(ReadFile(path_).value(), bytes);
  }
  std::string WholeFile() {
    Open();
    for (int i = 0; i < 50; ++i) SubmitTo(JobState::kFailed, {.config = std::string(500, 'c')});
    store_.reset();
    return ReadFile(path_).value();
  }
};

TEST_F(CorruptJobStoreTest, WhatIsNoDatabase) {
  ExpectDataLoss("not a database");
  ExpectDataLoss(std::string(10'000, '\0'));
  ExpectDataLoss(std::string(10'000, 'x'));
}

TEST_F(CorruptJobStoreTest, ATruncatedFile) {
  const std::string whole = WholeFile();
  for (const size_t size : {size_t{20}, size_t{100}, size_t{4096}, size_t{5000}, whole.size() / 2,
                            whole.size() - 4096, whole.size() - 1}) {
    SCOPED_TRACE(size);
    ExpectDataLoss(whole.substr(0, size));
  }
}

TEST_F(CorruptJobStoreTest, APageOfGarbage) {
  const std::string whole = WholeFile();
  ASSERT_GT(whole.size(), 12u * 4096);
  for (const size_t page : {0, 1, 3, 9}) {
    SCOPED_TRACE(page);
    std::string bytes = whole;
    bytes.replace(page * 4096, 4096, std::string(4096, '\xa5'));
    ExpectDataLoss(bytes);
  }
}

TEST_F(JobStoreTest, AFileThatSomebodyReadsIsNotTakenForATornOne) {
  Open();
  const std::string id = Submit().id;
  SQLite::Database backup(path_, SQLite::OPEN_READONLY);
  SQLite::Statement read(backup, "SELECT id FROM jobs");
  ASSERT_TRUE(read.executeStep());
  for (int i = 0; i < 50; ++i) Submit({.model = "rain", .config = std::string(5000, 'c')});
  store_.reset();  // the log stays, as after a kill
  ASSERT_LT(fs::file_size(path_), 100'000);
  Open();
  EXPECT_TRUE(store_->Get(id).ok());
}

TEST_F(CorruptJobStoreTest, ADatabaseOfAnotherProgram) {
  SQLite::Database(path_, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE).exec("CREATE TABLE t(a)");
  ExpectDataLoss(ReadFile(path_).value());
}

TEST_F(CorruptJobStoreTest, ARowThatWasNeverWritten) {
  Open();
  const std::string id = SubmitTo(JobState::kRunning).id;
  Raw("UPDATE events SET event = '{\"state\": \"DANCING\", \"reason\": \"\", \"attempt\": 1}'");
  const absl::Status events = store_->Events(id, 0, 10).status();
  EXPECT_EQ(events.code(), StatusCode::kDataLoss) << events;
  EXPECT_THAT(std::string(events.message()), HasSubstr(path_));
  for (const char* change : {"progress = '{'", "progress = '[]'", "state = 'DANCING'"}) {
    Raw(absl::StrCat("UPDATE jobs SET ", change));
    EXPECT_EQ(store_->Get(id).status().code(), StatusCode::kDataLoss) << change;
    EXPECT_EQ(store_->List({}).status().code(), StatusCode::kDataLoss) << change;
  }
}

TEST_F(JobStoreTest, OnlyOneStoreHasAFile) {
  Open();
  const absl::Status second = JobStore::Open(path_).status();
  EXPECT_EQ(second.code(), StatusCode::kFailedPrecondition) << second;
  EXPECT_THAT(std::string(second.message()), HasSubstr(path_ + ".lock"));
  Submit();
  store_.reset();
  Open();
}

TEST_F(JobStoreTest, APlaceThatCannotBeWrittenIsUnavailable) {
  for (const std::string& path : {folder_ + "/absent/jobs.db", folder_}) {
    const absl::Status status = JobStore::Open(path).status();
    EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path));
  }
}

// --- a full disk ---

std::atomic<bool> disk_full = false;

ssize_t WriteUnlessFull(int file, const void* bytes, size_t count, off_t offset) {
  if (!disk_full) return pwrite(file, bytes, count, offset);
  errno = ENOSPC;
  return -1;
}

TEST_F(JobStoreTest, AFullDiskRefusesWhatIsNewAndBreaksNothing) {
  sqlite3_vfs* const vfs = sqlite3_vfs_find(nullptr);
  const auto replace = [&](sqlite3_syscall_ptr call) {
    for (const char* name : {"pwrite", "pwrite64"}) vfs->xSetSystemCall(vfs, name, call);
  };
  replace(reinterpret_cast<sqlite3_syscall_ptr>(WriteUnlessFull));
  Open();
  const std::string id = SubmitTo(JobState::kRunning).id;
  disk_full = true;
  ExpectError(store_->Submit({.model = "rain"}, kNoon).status(), StatusCode::kResourceExhausted,
              "DISK_FULL", path_);
  ExpectError(store_->AddEvents(id, {Progress(1)}), StatusCode::kResourceExhausted, "DISK_FULL");
  ExpectError(store_->Apply(id, {.action = JobAction::kSucceed}, kNoon).status(),
              StatusCode::kResourceExhausted, "DISK_FULL");
  EXPECT_EQ(store_->Get(id)->state, JobState::kRunning);
  EXPECT_THAT(List({}), ElementsAre(id));
  ExpectError(JobStore::Open(folder_ + "/other.db").status(), StatusCode::kResourceExhausted,
              "DISK_FULL", "other.db");
  disk_full = false;
  Apply(id, {.action = JobAction::kSucceed});
  Open();
  EXPECT_EQ(store_->Events(id, 0, 10).value().size(), 3u);
  replace(nullptr);
}

}  // namespace
}  // namespace deweather
