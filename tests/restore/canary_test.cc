// Versions on trial: who gets them, what is counted of them, how a trial ends.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/file.h"
#include "tests/restore/pipeline_fixture.h"
#include "tests/restore/promotion_fixture.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Pair;

constexpr double kInverseGoldenRatio = 0.6180339887498949;

class CanaryTest : public PromotionTest {
 protected:
  // a is live, b on trial.
  void Try(double percent) {
    ASSERT_TRUE(replica_->Promote(a_).ok());
    const auto live = replica_->Try(b_, percent);
    ASSERT_TRUE(live.ok()) << live.status();
    EXPECT_EQ(live->version, a_);
  }
  void ExpectTrial(const std::string& version, double percent) {
    EXPECT_THAT(replica_->OnTrial(), Pair(version, percent));
    EXPECT_EQ(Record().canary, version);
    EXPECT_EQ(Record().canary_percent, percent);
  }
  void StartAgain() {
    Restart();
    ASSERT_TRUE(replica_->models.LoadAll("tiny", {1}, replica_->executor).ok());
  }
  static std::string Series(const std::string& version) {
    return absl::StrCat("{model=\"tiny\",version=\"", version, "\"}");
  }

  const std::string a_ = Store("fme"), b_ = Store("moe"), c_ = Store("dense");
};

TEST_F(CanaryTest, ACanaryTakesItsShareAndTheLiveVersionStays) {
  Try(10);
  EXPECT_EQ(replica_->Live(), a_);
  ExpectRecord(a_, "");
  ExpectTrial(b_, 10);
  EXPECT_NEAR(replica_->Pins(b_, 1000), 100, 2);
  EXPECT_NEAR(replica_->Pins(a_, 1000), 900, 2);
}

TEST_F(CanaryTest, AnyRunOfRequestsHoldsItsShare) {
  Try(10);
  for (int run = 0; run < 50; ++run) EXPECT_NEAR(replica_->Pins(b_, 40), 4, 2) << run;
  ASSERT_TRUE(replica_->Try(b_, 0.5).ok());
  EXPECT_NEAR(replica_->Pins(b_, 1000), 5, 1);
  ASSERT_TRUE(replica_->Try(b_, 99).ok());
  EXPECT_NEAR(replica_->Pins(a_, 1000), 10, 1);
}

// A caller that sends large and small pictures in turn tries both on the canary.
TEST_F(CanaryTest, NoRhythmOfCallersMeetsTheCanary) {
  Try(50);
  for (const int period : {2, 3, 4, 5, 10}) {
    for (int phase = 0; phase < period; ++phase) {
      int pins = 0;
      for (int i = 0; i < 200 * period; ++i) {
        const bool canary = replica_->models.Pin("tiny")->info.version == b_;
        if (i % period == phase) pins += canary;
      }
      EXPECT_NEAR(pins, 100, 15) << period << " " << phase;
    }
  }
}

TEST_F(CanaryTest, AVersionIsPinnedByName) {
  Try(50);
  const LiveModels& models = replica_->models;
  for (int i = 0; i < 10; ++i) {
    for (const std::string& version : {a_, b_}) {
      EXPECT_EQ(models.Pin("tiny", version)->info.version, version);
    }
  }
  const absl::Status status = models.Pin("tiny", c_).status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_EQ(ErrorReason(status), "UNKNOWN_VERSION");
  EXPECT_THAT(status.message(), AllOf(HasSubstr(a_), HasSubstr(b_), HasSubstr(c_)));
  EXPECT_NEAR(replica_->Pins(b_, 100), 50, 2);
}

TEST_F(CanaryTest, LooksAndChecksTakeNoTurn) {
  Try(50);
  const std::string first = replica_->models.Pin("tiny")->info.version;
  int changes = 0;
  std::string last = first;
  for (int i = 0; i < 100; ++i) {
    for (int look = 0; look < 3; ++look) {
      EXPECT_EQ(replica_->models.Serving("tiny")->front().version, a_);
      EXPECT_EQ(replica_->models.List().front().version, a_);
    }
    const std::string next = replica_->models.Pin("tiny")->info.version;
    changes += std::exchange(last, next) != next;
  }
  EXPECT_GT(changes, 60);  // nearly by turns
}

TEST_F(CanaryTest, AShareOutOfItsRangeIsInvalid) {
  ASSERT_TRUE(replica_->Promote(a_).ok());
  for (const double percent : {-1.0, 100.0, 250.0, std::nan("")}) {
    const absl::Status status = replica_->Try(b_, percent).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrFormat("%g", percent)));
  }
  ExpectTrial("", 0);
}

TEST_F(CanaryTest, ACanaryGoesLiveWithoutASecondLoad) {
  Try(10);
  const auto canary = replica_->models.Pin("tiny");
  ASSERT_EQ(canary->info.version, b_);  // the first request of a trial gets it
  const int tasks = replica_->tasks;
  ASSERT_TRUE(replica_->Promote(b_).ok());
  EXPECT_EQ(replica_->models.Pin("tiny")->restorer, canary->restorer);
  EXPECT_EQ(replica_->tasks, tasks + 1);  // what was live is freed
  EXPECT_EQ(replica_->Live(), b_);
  ExpectRecord(b_, a_);
  ExpectTrial("", 0);
  EXPECT_EQ(replica_->Pins(b_, 100), 100);
}

TEST_F(CanaryTest, AnotherShareOfTheSameCanaryIsNoLoad) {
  Try(10);
  const int tasks = replica_->tasks;
  ASSERT_TRUE(replica_->Try(b_, 40).ok());
  EXPECT_EQ(replica_->tasks, tasks);
  ExpectTrial(b_, 40);
}

TEST_F(CanaryTest, AnotherCanaryReplacesTheFirst) {
  Try(10);
  ASSERT_TRUE(replica_->Try(c_, 20).ok());
  ExpectTrial(c_, 20);
  EXPECT_EQ(replica_->Pins(b_, 100), 0);
  EXPECT_EQ(replica_->Pins(c_, 100), 20);
  EXPECT_THAT(replica_->Text(), Not(HasSubstr(b_)));
}

TEST_F(CanaryTest, ARollbackEndsATrialAndNothingElse) {
  ASSERT_TRUE(replica_->Promote(c_).ok());
  Try(10);
  const auto live = replica_->Rollback();
  ASSERT_TRUE(live.ok()) << live.status();
  EXPECT_EQ(live->version, a_);
  ExpectRecord(a_, c_);
  ExpectTrial("", 0);
  EXPECT_EQ(replica_->Pins(a_, 100), 100);
  ASSERT_TRUE(replica_->Rollback().ok());
  EXPECT_EQ(replica_->Live(), c_);
}

TEST_F(CanaryTest, TheLiveVersionAgainEndsATrial) {
  Try(10);
  ASSERT_TRUE(replica_->Promote(a_).ok());
  ExpectRecord(a_, "");
  ExpectTrial("", 0);
  Try(10);
  ASSERT_TRUE(replica_->Promote(c_).ok());
  ExpectRecord(c_, a_);
  ExpectTrial("", 0);
}

TEST_F(CanaryTest, NothingIsOnTrialBesideNothing) {
  const absl::Status status = replica_->Try(b_, 10).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorReason(status), "NO_LIVE_MODEL");
  EXPECT_EQ(Record().version, "");
}

// After a restart both must be there.
TEST_F(CanaryTest, ALiveFileIsStoredForATrial) {
  const std::string file = folder_ + "/plain.safetensors";
  const std::string plain = WriteFixture(file, "tiny", "fme_top4of8");
  ASSERT_TRUE(replica_->models.Load(file, {1}, replica_->executor).ok());
  ASSERT_TRUE(replica_->Try(b_, 10).ok());
  fs::remove(file);
  StartAgain();
  EXPECT_EQ(replica_->Live(), plain);
  ExpectTrial(b_, 10);
}

TEST_F(CanaryTest, ABuiltInModelHasNoCanary) {
  ASSERT_TRUE(replica_->models.Load("identity", {1}, replica_->executor).ok());
  const std::string version = Store("fme", "identity");
  const absl::Status status =
      replica_->models
          .Promote("identity", version, {1}, replica_->executor, {}, {.canary_percent = 10})
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_EQ(replica_->Live("identity"), "builtin");
}

TEST_F(CanaryTest, BothCountForTheBudget) {
  const auto bytes = [&](const std::string& version) {
    return ReadManifest(folder_, "tiny", version)->bytes;
  };
  replica_ = std::make_unique<Replica>(folder_, bytes(a_) + bytes(b_) + bytes(c_) - 1);
  Try(10);
  const absl::Status status = replica_->Promote(c_).status();
  ExpectRefused(status, absl::StatusCode::kResourceExhausted, "MODEL_BUDGET", a_);
  EXPECT_THAT(replica_->OnTrial(), Pair(b_, 10));
  ASSERT_TRUE(replica_->Rollback().ok());
  EXPECT_TRUE(replica_->Promote(c_).ok());
}

TEST_F(CanaryTest, ARestartKeepsBoth) {
  Try(12.5);
  StartAgain();
  EXPECT_EQ(replica_->Live(), a_);
  ExpectTrial(b_, 12.5);
  EXPECT_NEAR(replica_->Pins(b_, 800), 100, 2);
  const int tasks = replica_->tasks;
  replica_->Follow();
  EXPECT_EQ(replica_->tasks, tasks);
}

TEST_F(CanaryTest, ARestartKeepsTheCanaryOfAnotherModelThanTheDefault) {
  Try(10);
  Restart();
  ASSERT_TRUE(replica_->models.LoadAll("identity", {1}, replica_->executor).ok());
  EXPECT_EQ(replica_->Live(), a_);
  ExpectTrial(b_, 10);
}

TEST_F(CanaryTest, ATornCanaryIsLoggedAndTheLiveVersionServes) {
  Try(10);
  fs::resize_file(VersionPath(folder_, "tiny", b_), 100);
  StartAgain();
  EXPECT_EQ(replica_->Live(), a_);
  EXPECT_EQ(replica_->Pins(a_, 100), 100);
  EXPECT_THAT(replica_->log, ElementsAre(AllOf(HasSubstr("canary of model tiny"), HasSubstr(b_))));
}

TEST_F(CanaryTest, ARecordOfNoCanaryIsLoggedAndTheLiveVersionServes) {
  ASSERT_TRUE(replica_->Promote(a_).ok());
  ASSERT_TRUE(WriteFileAtomically(folder_ + "/tiny/live.json",
                                  absl::StrCat(R"({"version": ")", a_, R"(", "canary": [1]})"))
                  .ok());
  StartAgain();
  EXPECT_EQ(replica_->Live(), a_);
  EXPECT_THAT(replica_->log, ElementsAre(HasSubstr("live.json")));
}

TEST_F(CanaryTest, ReplicasFollowATrialFromItsBeginningToItsEnd) {
  Replica other(folder_);
  Try(10);
  other.Follow();
  EXPECT_EQ(other.Live(), a_);
  EXPECT_THAT(other.OnTrial(), Pair(b_, 10));
  const int tasks = other.tasks;
  ASSERT_TRUE(replica_->Try(b_, 20).ok());
  other.Follow();
  EXPECT_THAT(other.OnTrial(), Pair(b_, 20));
  EXPECT_EQ(other.tasks, tasks);
  ASSERT_TRUE(replica_->Promote(b_).ok());
  other.Follow();
  EXPECT_EQ(other.Live(), b_);
  EXPECT_THAT(other.OnTrial(), Pair("", 0));
  EXPECT_EQ(other.tasks, tasks + 1);  // no second load: what was live is freed
  ASSERT_TRUE(other.Try(c_, 5).ok());
  replica_->Follow();
  EXPECT_THAT(replica_->OnTrial(), Pair(c_, 5));
  ASSERT_TRUE(replica_->Rollback().ok());
  other.Follow();
  EXPECT_THAT(other.OnTrial(), Pair("", 0));
  EXPECT_EQ(other.Live(), b_);
}

TEST_F(CanaryTest, ACanaryThatCannotBeFollowedIsTriedAgain) {
  ASSERT_TRUE(replica_->Promote(a_).ok());
  const std::string weights = VersionPath(folder_, "tiny", b_);
  fs::rename(weights, weights + ".away");
  ASSERT_TRUE(WriteLive(folder_, "tiny",
                        {.version = c_, .previous = a_, .canary = b_, .canary_percent = 10})
                  .ok());
  const absl::Time now = absl::Now();
  for (int i = 0; i < 3; ++i) replica_->Follow(now + absl::Seconds(i));
  EXPECT_EQ(replica_->Live(), c_);
  EXPECT_THAT(replica_->log, ElementsAre(HasSubstr("is live"), HasSubstr(weights)));
  EXPECT_THAT(replica_->OnTrial(), Pair("", 0));
  fs::rename(weights + ".away", weights);
  replica_->Follow(now + absl::Seconds(90));
  EXPECT_THAT(replica_->OnTrial(), Pair(b_, 10));
}

TEST_F(CanaryTest, BothVersionsHaveSeries) {
  Try(10);
  EXPECT_THAT(replica_->Text(), HasSubstr("deweather_model_info" + Series(a_) + " 1"));
  EXPECT_THAT(replica_->Text(), HasSubstr("deweather_model_info" + Series(b_) + " 1"));
  ASSERT_TRUE(replica_->Rollback().ok());
  EXPECT_THAT(replica_->Text(), Not(HasSubstr(b_)));
  Try(10);
  ASSERT_TRUE(replica_->Promote(b_).ok());
  EXPECT_THAT(replica_->Text(), Not(HasSubstr(a_)));
  EXPECT_THAT(replica_->Text(), HasSubstr("deweather_model_info" + Series(b_) + " 1"));
}

// Requests through the pipeline, each counted for the version that restored it.
class CanaryPipelineTest : public CanaryTest {
 protected:
  double Requests(const std::string& code, const std::string& version) const {
    const std::string text = "\n" + replica_->Text();
    const std::string series = absl::StrCat("\ndeweather_model_requests_total{code=\"", code,
                                            "\",model=\"tiny\",version=\"", version, "\"} ");
    const size_t at = text.find(series);
    return at == std::string::npos ? -1 : std::stod(text.substr(at + series.size()));
  }
  static absl::StatusOr<RestoreResult> Restore(RestorePipeline& pipeline, std::string image) {
    RestoreRequest request;
    request.image = std::move(image);
    request.options.model = "tiny";
    const Reply reply;
    pipeline.Start(std::move(request), reply.Done());
    return reply.Wait();
  }
};

TEST_F(CanaryPipelineTest, RequestsAreCountedForTheirVersion) {
  Try(25);
  RestorePipeline pipeline({.workers = 1, .max_batch = 2}, replica_->models, replica_->metrics);
  const std::string picture = Png(NoiseImage(16, 16, 1));
  std::map<std::string, int> restored;
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(pipeline.CheckOptions({.model = "tiny"}).ok());
    const auto result = Restore(pipeline, picture);
    ASSERT_TRUE(result.ok()) << result.status();
    double whole = 0;
    const bool canary = std::modf(i * kInverseGoldenRatio, &whole) < 0.25;
    EXPECT_EQ(result->version, canary ? b_ : a_) << i;  // the check before took no turn
    ++restored[result->version];
  }
  EXPECT_EQ(restored[a_] + restored[b_], 40);
  EXPECT_NEAR(restored[b_], 10, 2);
  EXPECT_EQ(Requests("OK", a_), restored[a_]);
  EXPECT_EQ(Requests("OK", b_), restored[b_]);
  ASSERT_TRUE(replica_->Try(b_, 99.9).ok());
  EXPECT_FALSE(Restore(pipeline, "no picture").ok());
  EXPECT_EQ(Requests("INVALID_ARGUMENT", a_) + Requests("INVALID_ARGUMENT", b_), 1);
  ASSERT_TRUE(replica_->Promote(b_).ok());
  EXPECT_EQ(Requests("OK", a_), -1);
  EXPECT_EQ(Requests("OK", b_), restored[b_]);  // it stays, and so do its counts
}

}  // namespace
}  // namespace deweather
