// LiveModels over a folder of versions: promotions, rollbacks, restarts, replicas that follow.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "model/base/error_reason.h"
#include "model/base/file.h"
#include "model/version_store.h"
#include "server/restore/live_models.h"
#include "server/restore/metrics.h"
#include "tests/batch/signal.h"
#include "tests/restore/fake_model.h"
#include "tests/restore/promotion_fixture.h"
#include "tests/restore/stored_models.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr char kUnknown[] = "0123456789ab";

TEST_F(PromotionTest, APromotedVersionIsLiveAndRemembered) {
  const std::string a = Store("fme"), b = Store("moe");
  const auto first = replica_->Promote(a);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->name, "tiny");
  EXPECT_EQ(first->version, a);
  EXPECT_TRUE(first->is_default);
  EXPECT_EQ(replica_->tasks, 4);  // size 1 twice and once with uncertainty, size 2 once
  ExpectRecord(a, "");
  ASSERT_TRUE(replica_->Promote(b).ok());
  EXPECT_EQ(replica_->Live(), b);
  ExpectRecord(b, a);
}

TEST_F(PromotionTest, WarmUpSeedsTheCostOfABatch) {
  ASSERT_TRUE(replica_->Promote(Store("fme")).ok());
  const auto first = replica_->models.Pin("tiny");
  EXPECT_TRUE(first->cost->Fit().known());
  ASSERT_TRUE(replica_->Promote(Store("moe")).ok());
  EXPECT_NE(replica_->models.Pin("tiny")->cost, first->cost);
}

TEST_F(PromotionTest, OnlyTheLiveVersionHasASeries) {
  const std::string a = Store("fme"), b = Store("moe");
  ASSERT_TRUE(replica_->Promote(a).ok());
  ASSERT_TRUE(replica_->Promote(b).ok());
  const std::string text = prometheus::TextSerializer().Serialize(replica_->metrics.Collect());
  EXPECT_THAT(text, Not(HasSubstr(a)));
  EXPECT_THAT(text, HasSubstr(b));
}

TEST_F(PromotionTest, TheLiveVersionAgainIsNoWork) {
  const std::string a = Store("fme"), b = Store("moe");
  ASSERT_TRUE(replica_->Promote(a).ok());
  ASSERT_TRUE(replica_->Promote(b).ok());
  const int tasks = replica_->tasks;
  const auto again = replica_->Promote(b);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->version, b);
  EXPECT_EQ(replica_->tasks, tasks);
  ExpectRecord(b, a);
}

TEST_F(PromotionTest, RollbackGoesBackAndForth) {
  const std::string a = Store("fme"), b = Store("moe");
  ASSERT_TRUE(replica_->Promote(a).ok());
  ExpectRefused(replica_->Rollback().status(), absl::StatusCode::kFailedPrecondition,
                "NO_PREVIOUS_VERSION", a);
  ASSERT_TRUE(replica_->Promote(b).ok());
  ASSERT_TRUE(replica_->Rollback().ok());
  EXPECT_EQ(replica_->Live(), a);
  ExpectRecord(a, b);
  Restart();
  ASSERT_TRUE(replica_->models.LoadAll("tiny", {1}, replica_->executor).ok());
  ASSERT_TRUE(replica_->Rollback().ok());
  EXPECT_EQ(replica_->Live(), b);
  ExpectRecord(b, a);
}

TEST_F(PromotionTest, AFileThatWasReplacedCanBeRolledBackTo) {
  const std::string file = folder_ + "/tiny.safetensors";
  const std::string plain = WriteFixture(file, "tiny", "dense"), a = Store("fme");
  ASSERT_TRUE(replica_->models.Load("tiny", {1}, replica_->executor).ok());
  EXPECT_EQ(replica_->Live(), plain);
  ASSERT_TRUE(replica_->Promote(a).ok());
  ExpectRecord(a, plain);
  fs::remove(file);
  ASSERT_TRUE(replica_->Rollback().ok());
  EXPECT_EQ(replica_->Live(), plain);
  EXPECT_EQ(replica_->models.StatusOf("tiny")->versions.size(), 2u);
}

TEST_F(PromotionTest, AFileThatIsGoneCannotBeRolledBackTo) {
  const std::string file = folder_ + "/tiny.safetensors";
  WriteFixture(file, "tiny", "dense");
  ASSERT_TRUE(replica_->models.Load("tiny", {1}, replica_->executor).ok());
  WriteFixture(file, "tiny", "moe");
  const std::string a = Store("fme");
  ASSERT_TRUE(replica_->Promote(a).ok());
  EXPECT_THAT(replica_->log, ElementsAre(HasSubstr("its file has changed")));
  ExpectRefused(replica_->Rollback().status(), absl::StatusCode::kFailedPrecondition,
                "NO_PREVIOUS_VERSION", a);
}

TEST_F(PromotionTest, UnknownOnesAreNotFoundAndTheKnownOnesAreNamed) {
  const std::string a = Store("fme");
  ASSERT_TRUE(replica_->Promote(a).ok());
  const absl::Status version = replica_->Promote(kUnknown).status();
  ExpectRefused(version, absl::StatusCode::kNotFound, "UNKNOWN_VERSION", a);
  EXPECT_THAT(std::string(version.message()), HasSubstr(a));
  const absl::Status name =
      replica_->models.Promote("snow", kUnknown, {1}, replica_->executor).status();
  ExpectRefused(name, absl::StatusCode::kNotFound, "UNKNOWN_MODEL", a);
  EXPECT_THAT(std::string(name.message()), HasSubstr("tiny"));
  for (const std::string& bad : std::vector<std::string>{"", "../../../x", "0123456789AB"}) {
    ExpectRefused(replica_->Promote(bad).status(), absl::StatusCode::kInvalidArgument,
                  "INVALID_ARGUMENT", a);
    EXPECT_EQ(replica_->models.Promote(bad, a, {1}, replica_->executor).status().code() ==
                  absl::StatusCode::kInvalidArgument,
              bad != "0123456789AB");
  }
}

TEST_F(PromotionTest, ATornVersionIsRefusedAndListsGoOn) {
  const std::string a = Store("fme"), b = Store("moe"), c = Store("dense");
  ASSERT_TRUE(replica_->Promote(a).ok());
  const std::string path = VersionPath(folder_, "tiny", b);
  std::string bytes = ReadFile(path).value();
  bytes.back() ^= 1;
  ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
  fs::remove(folder_ + "/tiny/" + c + "/manifest.json");
  const absl::Status flipped = replica_->Promote(b).status();
  ExpectRefused(flipped, absl::StatusCode::kDataLoss, "TORN_VERSION", a);
  EXPECT_THAT(std::string(flipped.message()), HasSubstr(path));
  const absl::Status bare = replica_->Promote(c).status();
  ExpectRefused(bare, absl::StatusCode::kDataLoss, "TORN_VERSION", a);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(replica_->models.StatusOf("tiny").ok());
  EXPECT_THAT(replica_->log, ElementsAre(HasSubstr("manifest.json")));  // once
}

TEST_F(PromotionTest, AModelThatGivesNanIsRefused) {
  const std::string a = Store("fme"), nan = StoreNanModel(folder_, "tiny");
  ASSERT_TRUE(replica_->Promote(a).ok());
  const absl::Status status = replica_->Promote(nan).status();
  ExpectRefused(status, absl::StatusCode::kInternal, "MODEL_FAILED", a);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tiny version " + nan));
}

TEST_F(PromotionTest, WeightsThatAreNotFiniteAreRefusedByName) {
  const std::string a = Store("fme"), bad = StoreInfiniteModel(folder_, "tiny");
  ASSERT_TRUE(replica_->Promote(a).ok());
  const int tasks = replica_->tasks;
  const absl::Status status = replica_->Promote(bad).status();
  ExpectRefused(status, absl::StatusCode::kInternal, "MODEL_FAILED", a);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tensor 'tail.conv1.weight'"));
  EXPECT_THAT(std::string(status.message()), HasSubstr(bad));
  EXPECT_EQ(replica_->tasks, tasks);
}

TEST_F(PromotionTest, AJudgeSeesBothVersionsWarmAndBeforeTheSwap) {
  const std::string a = Store("fme"), b = Store("moe");
  std::vector<Candidate> seen;
  int tasks = 0;
  PromotionTerms terms;
  terms.judge = [&](const Candidate& candidate) {
    seen.push_back(candidate);
    tasks = replica_->tasks;
    EXPECT_NE(replica_->Live(), candidate.version);
    EXPECT_NE(Record().version, candidate.version);
    return absl::OkStatus();
  };
  ASSERT_TRUE(replica_->Promote(a, terms).ok());
  ASSERT_TRUE(replica_->Promote(b, terms).ok());
  ASSERT_TRUE(replica_->Promote(b, terms).ok());  // live already: nothing to judge
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].live_version, "");
  EXPECT_EQ(seen[0].live_path, "");
  EXPECT_EQ(seen[1].name, "tiny");
  EXPECT_EQ(seen[1].version, b);
  EXPECT_EQ(seen[1].path, VersionPath(folder_, "tiny", b));
  EXPECT_EQ(seen[1].live_version, a);
  EXPECT_EQ(seen[1].live_path, VersionPath(folder_, "tiny", a));
  EXPECT_EQ(tasks, 12);  // both have run by then, the live one before its own swap again
  EXPECT_EQ(replica_->Live(), b);
}

// Nobody waits for a judge; a decision that was made meanwhile stays.
TEST_F(PromotionTest, AJudgesVerdictIsOfWhatWasLive) {
  const std::string a = Store("fme"), b = Store("moe"), c = Store("dense");
  ASSERT_TRUE(replica_->Promote(a).ok());
  ASSERT_TRUE(replica_->Promote(b).ok());
  PromotionTerms terms;
  std::string live = a;
  const auto expect_changed = [&](const std::function<absl::Status()>& meanwhile) {
    terms.judge = [&](const Candidate&) { return meanwhile(); };
    ExpectRefused(replica_->Promote(c, terms).status(), absl::StatusCode::kAborted, "LIVE_CHANGED",
                  live);
  };
  expect_changed([&] { return replica_->Rollback().status(); });
  terms.canary_percent = 10;
  live = b;
  expect_changed([&] { return replica_->Promote(b).status(); });
  expect_changed([&] { return replica_->Try(a, 5).status(); });
  EXPECT_EQ(Record().canary, a);
  terms.judge = [&](const Candidate&) {  // on another server
    return WriteLive(folder_, "tiny", {.version = a, .previous = b});
  };
  EXPECT_EQ(ErrorReason(replica_->Promote(c, terms).status()), "LIVE_CHANGED");
  EXPECT_EQ(Record().version, a);
}

TEST_F(PromotionTest, OneIsJudgedAtATimeAndStays) {
  const std::string a = Store("fme"), b = Store("moe");
  PromotionTerms second, first;
  second.judge = [](const Candidate&) { return absl::OkStatus(); };
  first.judge = [&](const Candidate&) {
    const absl::Status busy = replica_->Promote(a, second).status();
    EXPECT_EQ(busy.code(), absl::StatusCode::kAborted);
    EXPECT_EQ(ErrorReason(busy), "PROMOTION_RUNNING");
    EXPECT_EQ(ErrorReason(replica_->models.DeleteVersion("tiny", b)), "VERSION_IN_USE");
    return absl::OkStatus();
  };
  ASSERT_TRUE(replica_->Promote(b, first).ok());
  EXPECT_EQ(replica_->Live(), b);
  EXPECT_TRUE(replica_->Promote(a, second).ok());
}

TEST_F(PromotionTest, AJudgesRefusalLeavesWhatIsLive) {
  const std::string a = Store("fme"), b = Store("moe");
  ASSERT_TRUE(replica_->Promote(a).ok());
  PromotionTerms terms;
  terms.judge = [](const Candidate&) {
    return WithReason(absl::FailedPreconditionError("worse"), "REGRESSION");
  };
  ExpectRefused(replica_->Promote(b, terms).status(), absl::StatusCode::kFailedPrecondition,
                "REGRESSION", a);
  terms.canary_percent = 10;
  ExpectRefused(replica_->Promote(b, terms).status(), absl::StatusCode::kFailedPrecondition,
                "REGRESSION", a);
  EXPECT_EQ(Record().canary, "");
  EXPECT_TRUE(replica_->Promote(b).ok());  // the turn was given back
}

TEST_F(PromotionTest, AnExecutorThatIsGoneIsUnavailable) {
  const std::string a = Store("fme");
  const Executor gone = [](const std::function<void()>&) {};
  const absl::Status status = replica_->models.Promote("tiny", a, {1}, gone).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(replica_->Live(), "");
  EXPECT_TRUE(replica_->Promote(a).ok());  // the turn was given back
}

TEST_F(PromotionTest, AStopEndsAWarmUp) {
  const std::string a = Store("fme");
  std::stop_source stop;
  stop.request_stop();
  const absl::Status status =
      replica_->models.Promote("tiny", a, {1, 2}, replica_->executor, stop.get_token()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(replica_->tasks, 0);
  EXPECT_EQ(Record().version, "");
}

TEST_F(PromotionTest, NoModelOverTheBudget) {
  const std::string a = Store("fme"), b = Store("moe");
  const auto bytes = [&](const std::string& version) {
    return ReadManifest(folder_, "tiny", version)->bytes;
  };
  replica_ = std::make_unique<Replica>(folder_, bytes(a) + bytes(b) - 1);
  ASSERT_TRUE(replica_->Promote(a).ok());
  const absl::Status status = replica_->Promote(b).status();
  ExpectRefused(status, absl::StatusCode::kResourceExhausted, "MODEL_BUDGET", a);
  EXPECT_THAT(std::string(status.message()), HasSubstr(std::to_string(bytes(b))));
  EXPECT_THAT(std::string(status.message()), HasSubstr(std::to_string(bytes(a) + bytes(b) - 1)));
  replica_ = std::make_unique<Replica>(folder_, bytes(a) + bytes(b));
  ASSERT_TRUE(replica_->models.Load("tiny", {1}, replica_->executor).ok());
  EXPECT_TRUE(replica_->Promote(b).ok());
}

TEST_F(PromotionTest, WithoutADataFolderNothingIsPromoted) {
  Metrics metrics({});
  LiveModels models({}, metrics);
  Install(models, {.name = "tiny"}, replica_->executor);
  for (const absl::Status& status :
       {models.Promote("tiny", kUnknown, {1}, replica_->executor).status(),
        models.Rollback("tiny", {1}, replica_->executor).status(),
        models.DeleteVersion("tiny", kUnknown)}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(ErrorReason(status), "NO_DATA_FOLDER");
  }
  models.Follow({1}, replica_->executor);
  EXPECT_THAT(models.Names(), ElementsAre("tiny"));
  EXPECT_THAT(models.StatusOf("tiny")->versions, IsEmpty());
}

TEST_F(PromotionTest, OnlyOnePromotionAtATime) {
  const std::string a = Store("fme"), b = Store("moe");
  Signal reached, go_on;
  const Executor held = [&](const std::function<void()>& task) {
    reached.Raise();
    go_on.Wait();
    task();
  };
  std::thread first([&] { EXPECT_TRUE(replica_->models.Promote("tiny", a, {1}, held).ok()); });
  reached.Wait();
  const absl::Status second = replica_->Promote(b).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ErrorReason(second), "PROMOTION_RUNNING");
  EXPECT_EQ(replica_->Rollback().status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ErrorReason(replica_->models.DeleteVersion("tiny", b)), "PROMOTION_RUNNING");
  ASSERT_TRUE(WriteLive(folder_, "tiny", {b, ""}).ok());
  replica_->Follow();
  EXPECT_EQ(replica_->Live(), "");
  go_on.Raise();
  first.join();
  EXPECT_EQ(replica_->Live(), a);
  EXPECT_EQ(Record().version, a);
}

TEST_F(PromotionTest, WhatIsInUseIsNotDeleted) {
  const std::string a = Store("fme"), b = Store("moe"), c = Store("dense");
  ASSERT_TRUE(replica_->Promote(a).ok());
  ASSERT_TRUE(replica_->Promote(b).ok());
  ASSERT_TRUE(replica_->Try(c, 10).ok());
  const auto expect_in_use = [&](const std::string& version, const std::string& use) {
    const absl::Status status = replica_->models.DeleteVersion("tiny", version);
    ExpectRefused(status, absl::StatusCode::kFailedPrecondition, "VERSION_IN_USE", b);
    EXPECT_THAT(std::string(status.message()), HasSubstr(version + " is " + use));
    EXPECT_TRUE(ReadVersion(folder_, "tiny", version).ok());
  };
  expect_in_use(a, "what a rollback goes to");
  expect_in_use(b, "live");
  expect_in_use(c, "on trial");
  ASSERT_TRUE(replica_->Rollback().ok());  // the end of the trial
  ASSERT_TRUE(replica_->models.DeleteVersion("tiny", c).ok());
  EXPECT_FALSE(fs::exists(folder_ + "/tiny/" + c));
  EXPECT_EQ(ErrorReason(replica_->models.DeleteVersion("tiny", c)), "UNKNOWN_VERSION");
  EXPECT_EQ(ErrorReason(replica_->models.DeleteVersion("snow", c)), "UNKNOWN_MODEL");
  for (const char* const bad : {"", "..", "../../x"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(replica_->models.DeleteVersion("tiny", bad)));
    EXPECT_TRUE(absl::IsInvalidArgument(replica_->models.DeleteVersion(bad, c)));
  }
  EXPECT_TRUE(replica_->Rollback().ok());
  EXPECT_EQ(replica_->Live(), a);
}

// This server and live.json may differ until the server has followed; either use counts.
TEST_F(PromotionTest, WhatIsInUseElsewhereIsNotDeleted) {
  const std::string a = Store("fme"), b = Store("moe"), c = Store("dense");
  Replica other(folder_);
  ASSERT_TRUE(replica_->Promote(a).ok());
  ASSERT_TRUE(WriteLive(folder_, "tiny", {.version = b, .canary = c, .canary_percent = 5}).ok());
  for (const std::string& version : {a, b, c}) {
    EXPECT_EQ(ErrorReason(replica_->models.DeleteVersion("tiny", version)), "VERSION_IN_USE");
  }
  EXPECT_TRUE(other.models.DeleteVersion("tiny", a).ok());
  EXPECT_EQ(replica_->Live(), a) << "memory outlives the file";
}

TEST_F(PromotionTest, NothingIsDeletedWhileNobodyKnowsWhatIsLive) {
  const std::string a = Store("fme"), b = Store("moe");
  ASSERT_TRUE(replica_->Promote(a).ok());
  ASSERT_TRUE(WriteFileAtomically(folder_ + "/tiny/live.json", "{").ok());
  EXPECT_TRUE(absl::IsDataLoss(replica_->models.DeleteVersion("tiny", b)));
  EXPECT_TRUE(ReadVersion(folder_, "tiny", b).ok());
}

TEST_F(PromotionTest, ATornVersionCanBeDeleted) {
  const std::string torn = Store("fme");
  fs::remove(folder_ + "/tiny/" + torn + "/manifest.json");
  EXPECT_TRUE(replica_->models.DeleteVersion("tiny", torn).ok());
  EXPECT_THAT(replica_->models.Names(), IsEmpty());
}

class RetentionTest : public PromotionTest {
 protected:
  // The version of the `age`th hour.
  std::string Add(const std::string& source, int hour) {
    return AddVersion(folder_, "tiny", source, source,
                      absl::FromUnixSeconds(1'700'000'000) + absl::Hours(hour))
        ->manifest.version;
  }
  std::vector<std::string> Stored() const {
    std::vector<std::string> stored;
    for (const VersionManifest& manifest : ListVersions(folder_, "tiny").versions) {
      stored.push_back(manifest.version);
    }
    return stored;
  }
};

TEST_F(RetentionTest, TheNewestOfJobsStayAndWhatIsInUse) {
  const std::string live = Add("job a", 0), before = Add("job b", 1), trial = Add("job c", 2);
  const std::string imported = Add("import of x", 3), old = Add("job d", 4);
  const std::string newer = Add("job e", 5), newest = Add("job f", 6);
  ASSERT_TRUE(WriteLive(folder_, "tiny", {live, before, trial, 5}).ok());
  replica_->models.PruneVersions("tiny", 3);
  EXPECT_EQ(Stored().size(), 7u);
  EXPECT_THAT(replica_->log, IsEmpty());
  replica_->models.PruneVersions("tiny", 2);
  EXPECT_THAT(Stored(), ElementsAre(newest, newer, imported, trial, before, live));
  EXPECT_THAT(replica_->log, ElementsAre(HasSubstr(old + " is deleted")));
  replica_->models.PruneVersions("snow", 2);
  EXPECT_THAT(replica_->models.Names(), ElementsAre("tiny"));
}

TEST_F(RetentionTest, APromotionComesFirstAndTheNextTimeDoes) {
  const std::string old = Add("job a", 0), newest = Add("job b", 1), chosen = Store("fme");
  Replica& replica = *replica_;
  const Executor pruning = [&](const std::function<void()>& task) {
    replica.models.PruneVersions("tiny", 1);
    task();
  };
  ASSERT_TRUE(replica.models.Promote("tiny", chosen, {1}, pruning).ok());
  EXPECT_THAT(Stored(), ElementsAre(chosen, newest, old));
  replica.models.PruneVersions("tiny", 1);
  EXPECT_THAT(Stored(), ElementsAre(chosen, newest));
}

TEST_F(PromotionTest, TheLiveVersionSurvivesARestart) {
  const std::string a = Store("fme"), b = Store("moe"), other = Store("dense", "other");
  Store("fme", "asleep");
  ASSERT_TRUE(replica_->Promote(a).ok());
  ASSERT_TRUE(replica_->Promote(b).ok());
  ASSERT_TRUE(replica_->models.Promote("other", other, {1}, replica_->executor).ok());
  Restart();
  const auto first = replica_->models.LoadAll("other", {1}, replica_->executor);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->name, "other");
  EXPECT_EQ(replica_->Live(), b);
  EXPECT_EQ(replica_->Live("other"), other);
  EXPECT_EQ(replica_->models.Pin("")->info.name, "other");
  EXPECT_EQ(replica_->Live("asleep"), "");
  EXPECT_THAT(replica_->models.Names(), ElementsAre("asleep", "other", "tiny"));
}

TEST_F(PromotionTest, ABrokenModelIsLeftOutAtTheStart) {
  const std::string a = Store("fme"), other = Store("dense", "other");
  ASSERT_TRUE(replica_->Promote(a).ok());
  fs::resize_file(VersionPath(folder_, "tiny", a), 100);
  Restart();
  ASSERT_TRUE(replica_->models.LoadAll("other", {1}, replica_->executor).ok());
  EXPECT_EQ(replica_->Live(), "");
  EXPECT_THAT(replica_->log, ElementsAre(HasSubstr("tiny is left out")));
  Restart();
  EXPECT_EQ(replica_->models.LoadAll("tiny", {1}, replica_->executor).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(PromotionTest, AnOnlyVersionIsLoadedByItsName) {
  const std::string a = Store("fme");
  ASSERT_TRUE(replica_->models.Load("tiny", {1}, replica_->executor).ok());
  EXPECT_EQ(replica_->Live(), a);
  Store("moe");
  Restart();
  EXPECT_EQ(replica_->models.Load("tiny", {1}, replica_->executor).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(PromotionTest, ReplicasFollowEachOther) {
  const std::string a = Store("fme"), b = Store("moe");
  Replica other(folder_);
  ASSERT_TRUE(replica_->Promote(a).ok());
  other.Follow();
  EXPECT_EQ(other.Live(), a);
  ASSERT_TRUE(other.Promote(b).ok());
  other.Follow();
  EXPECT_EQ(other.Live(), b);
  EXPECT_EQ(replica_->Live(), a);
  replica_->Follow();
  EXPECT_EQ(replica_->Live(), b);
  ASSERT_TRUE(replica_->Rollback().ok());
  replica_->Follow();
  EXPECT_EQ(replica_->Live(), a);
  const int tasks = other.tasks;
  other.Follow();
  EXPECT_EQ(other.Live(), a);
  EXPECT_GT(other.tasks, tasks);
  const int followed = other.tasks;
  for (int i = 0; i < 3; ++i) other.Follow();
  EXPECT_EQ(other.tasks, followed);
}

TEST_F(PromotionTest, WhatWasAskedForAtTheStartIsNotUndoneByFollowing) {
  const std::string a = Store("fme");
  ASSERT_TRUE(replica_->Promote(a).ok());
  const std::string file = folder_ + "/elsewhere.safetensors";
  const std::string chosen = WriteFixture(file, "tiny", "dense");
  Restart();
  ASSERT_TRUE(replica_->models.LoadAll(file, {1}, replica_->executor).ok());
  replica_->Follow();
  EXPECT_EQ(replica_->Live(), chosen);
  ASSERT_TRUE(replica_->Promote(a).ok());
  ExpectRecord(a, chosen);
}

TEST_F(PromotionTest, WhatCannotBeFollowedIsLoggedOnceAndTriedAgain) {
  const std::string a = Store("fme"), b = Store("moe");
  ASSERT_TRUE(replica_->Promote(a).ok());
  const std::string weights = VersionPath(folder_, "tiny", b);
  fs::rename(weights, weights + ".away");
  ASSERT_TRUE(WriteLive(folder_, "tiny", {b, a}).ok());
  const absl::Time now = absl::Now();
  for (int i = 0; i < 3; ++i) replica_->Follow(now + absl::Seconds(i));
  EXPECT_EQ(replica_->Live(), a);
  EXPECT_THAT(replica_->log, ElementsAre(HasSubstr(weights)));
  fs::rename(weights + ".away", weights);
  replica_->Follow(now + absl::Seconds(30));
  EXPECT_EQ(replica_->Live(), a);
  replica_->Follow(now + absl::Seconds(90));
  EXPECT_EQ(replica_->Live(), b);
}

TEST_F(PromotionTest, ATornLiveFileIsLoggedAndReplaced) {
  const std::string a = Store("fme"), b = Store("moe");
  ASSERT_TRUE(replica_->Promote(a).ok());
  ASSERT_TRUE(WriteFileAtomically(folder_ + "/tiny/live.json", "{").ok());
  for (int i = 0; i < 3; ++i) replica_->Follow();
  EXPECT_THAT(replica_->log, ElementsAre(HasSubstr("live.json")));
  EXPECT_EQ(replica_->Live(), a);
  ASSERT_TRUE(replica_->Promote(b).ok());
  ExpectRecord(b, a);
}

TEST_F(PromotionTest, AFullDiskLeavesWhatIsLive) {
  const std::string a = Store("fme"), b = Store("moe");
  ASSERT_TRUE(replica_->Promote(a).ok());
  fs::remove(folder_ + "/tiny/live.json");
  fs::create_directory(folder_ + "/tiny/live.json");  // so that it cannot be written
  EXPECT_FALSE(replica_->Promote(b).ok());
  EXPECT_EQ(replica_->Live(), a);
}

}  // namespace
}  // namespace deweather
