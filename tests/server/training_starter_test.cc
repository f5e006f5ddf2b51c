#include "server/training_starter.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "model/base/error_reason.h"
#include "server/restore/metrics.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

using absl::StatusCode;

const absl::Time kNoon = absl::FromUnixSeconds(1'700'000'000);

absl::Status Elsewhere() {
  return WithReason(absl::FailedPreconditionError("another server has the jobs"), "JOBS_ELSEWHERE");
}

class TrainingStarterTest : public testing::Test {
 protected:
  TrainingStarterTest() {
    options_.data_dir = NewFolder();
    options_.drain = {.delay = absl::Seconds(5), .timeout = absl::Seconds(30)};
  }
  ~TrainingStarterTest() override {
    starter_.reset();
    std::filesystem::remove_all(options_.data_dir);
  }

  // Answers, one a try, before the jobs are to be had.
  absl::Status Start(std::vector<absl::Status> answers) {
    answers_ = std::move(answers);
    auto starter = TrainingStarter::Start(
        options_, [this](const std::stop_token& stop) { return Open(stop); }, kNoon);
    if (starter.ok()) starter_ = *std::move(starter);
    return starter.status();
  }
  absl::StatusOr<std::unique_ptr<Training>> Open(const std::stop_token& stop) {
    if (tries_ < answers_.size()) return answers_[tries_++];
    return Training::Start(options_, models_, stop);
  }
  bool RunsJobsSoon() const {
    const absl::Time end = absl::Now() + absl::Seconds(30);
    while (!starter_->training(kNoon).ok()) {
      if (absl::Now() > end) return false;
      absl::SleepFor(absl::Milliseconds(10));
    }
    return true;
  }
  std::string Reason(absl::Time now = kNoon) const {
    return ErrorReason(starter_->training(now).status());
  }

  ServerOptions options_;
  Metrics metrics_{{}};
  LiveModels models_{{}, metrics_};
  std::vector<absl::Status> answers_;
  size_t tries_ = 0;
  std::unique_ptr<TrainingStarter> starter_;
};

TEST_F(TrainingStarterTest, RunsJobsAtOnce) {
  ASSERT_TRUE(Start({}).ok());
  EXPECT_TRUE(starter_->training(kNoon).ok());
}

TEST_F(TrainingStarterTest, RunsNoneForGood) {
  options_.training.enabled = false;
  ASSERT_TRUE(Start({}).ok());
  EXPECT_EQ(Reason(), "JOBS_OFF");
  options_.data_dir.clear();
  ASSERT_TRUE(Start({}).ok());
  EXPECT_EQ(Reason(), "NO_DATA_FOLDER");
}

TEST_F(TrainingStarterTest, AnErrorAtTheStartIsTheEnd) {
  EXPECT_EQ(Start({absl::DataLossError("garbage")}).code(), StatusCode::kDataLoss);
}

TEST_F(TrainingStarterTest, TakesTheJobsWhenTheyAreFree) {
  ASSERT_TRUE(Start({Elsewhere(), Elsewhere()}).ok());
  EXPECT_TRUE(RunsJobsSoon());
}

TEST_F(TrainingStarterTest, CallersAreToTryAgainForAsLongAsADrainTakes) {
  ASSERT_TRUE(Start(std::vector(1000, Elsewhere())).ok());
  EXPECT_EQ(starter_->training(kNoon).status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(starter_->training(kNoon + absl::Seconds(34)).status().code(),
            StatusCode::kUnavailable);
  EXPECT_EQ(starter_->training(kNoon + absl::Seconds(35)).status().code(),
            StatusCode::kFailedPrecondition);
  EXPECT_EQ(Reason(kNoon + absl::Seconds(35)), "JOBS_ELSEWHERE");
}

TEST_F(TrainingStarterTest, WhateverGoesWrongLaterIsTriedAgain) {
  ASSERT_TRUE(Start({Elsewhere(), absl::DataLossError("garbage")}).ok());
  EXPECT_TRUE(RunsJobsSoon());
}

TEST_F(TrainingStarterTest, AStopDoesNotWaitForATryAndNoJobGoesOnAfterIt) {
  std::promise<void> trying, go_on;
  absl::Status tried;
  bool first = true;
  const auto open = [&](const std::stop_token& stop) -> absl::StatusOr<std::unique_ptr<Training>> {
    if (std::exchange(first, false)) return Elsewhere();
    trying.set_value();
    go_on.get_future().wait();
    auto training = Training::Start(options_, models_, stop);
    tried = training.status();
    return training;
  };
  starter_ = *TrainingStarter::Start(options_, open, kNoon);
  trying.get_future().wait();
  starter_->BeginStop();
  go_on.set_value();
  starter_.reset();  // joins
  EXPECT_EQ(tried.code(), StatusCode::kCancelled) << tried;
}

}  // namespace
}  // namespace deweather
