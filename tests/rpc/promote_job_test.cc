// Promotions of what a job made, and promotions that are measured first.

#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <future>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/file.h"
#include "model/image/codec.h"
#include "tests/rpc/model_service_fixture.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class PromoteJobTest : public ModelServiceTest {
 protected:
  PromoteJobTest() : jobs_(JobStore::Open(NewPlace() + "/jobs.db").value()) {
    Serve({.jobs = jobs_.get()});
  }

  static std::string NewPlace() {
    const std::string place = NewFolder() + ".jobs";
    fs::remove_all(place);
    fs::create_directories(place);
    return place;
  }
  // A job that made that version of "tiny", in that state.
  std::string AddJob(const std::string& version, const std::vector<JobAction>& actions) {
    const Job job = jobs_->Submit({.model = "tiny", .config = "x"}, absl::Now()).value();
    for (const JobAction action : actions) {
      const JobChange change = {.action = action, .model_version = version};
      EXPECT_TRUE(jobs_->Apply(job.id, change, absl::Now()).ok());
    }
    return job.id;
  }
  grpc::Status PromoteJob(const std::string& id, v1::Model* model, const std::string& name = "") {
    v1::PromoteModelRequest request;
    request.set_name(name);
    request.set_job(id);
    return Promote(request, model);
  }

  std::unique_ptr<JobStore> jobs_;
};

TEST_F(PromoteJobTest, AJobsVersionGoesLive) {
  const std::string a = Store("fme");
  const std::string id = AddJob(a, {JobAction::kStart, JobAction::kSucceed});
  v1::Model model;
  const grpc::Status status = PromoteJob(id, &model);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(model.name(), "tiny");
  EXPECT_EQ(model.live_version(), a);
  EXPECT_TRUE(PromoteJob(id, &model, "tiny").ok());
}

TEST_F(PromoteJobTest, OnlyAJobThatSucceededHasAVersion) {
  v1::Model model;
  const std::vector<std::vector<JobAction>> ways = {
      {}, {JobAction::kStart}, {JobAction::kStart, JobAction::kFail}, {JobAction::kCancel}};
  const std::vector<std::string> names = {"QUEUED", "RUNNING", "FAILED", "CANCELLED"};
  for (size_t i = 0; i < ways.size(); ++i) {
    const grpc::Status status = PromoteJob(AddJob("", ways[i]), &model);
    Expect(status, grpc::StatusCode::FAILED_PRECONDITION, "JOB_STATE");
    EXPECT_THAT(status.error_message(), HasSubstr(names[i]));
  }
}

TEST_F(PromoteJobTest, ErrorsOfJobsHaveTheirCodes) {
  const std::string a = Store("fme");
  const std::string id = AddJob(a, {JobAction::kStart, JobAction::kSucceed});
  v1::Model model;
  Expect(PromoteJob("0123456789ab", &model), grpc::StatusCode::NOT_FOUND, "UNKNOWN_JOB");
  Expect(PromoteJob("../../etc", &model), grpc::StatusCode::NOT_FOUND, "UNKNOWN_JOB");
  Expect(PromoteJob(std::string(10'000, 'x'), &model), grpc::StatusCode::NOT_FOUND, "UNKNOWN_JOB");
  const grpc::Status other = PromoteJob(id, &model, "rain");
  Expect(other, grpc::StatusCode::INVALID_ARGUMENT, "INVALID_ARGUMENT");
  EXPECT_THAT(other.error_message(), HasSubstr("'tiny'"));
  Serve({});
  Expect(PromoteJob(id, &model), grpc::StatusCode::FAILED_PRECONDITION, "NO_DATA_FOLDER");
}

TEST_F(PromoteJobTest, ATornCheckpointOfAJobIsRefused) {
  const std::string a = Store("fme");
  fs::resize_file(VersionPath(folder_, "tiny", a), 10);
  v1::Model model;
  Expect(PromoteJob(AddJob(a, {JobAction::kStart, JobAction::kSucceed}), &model),
         grpc::StatusCode::DATA_LOSS, "TORN_VERSION");
}

class MeasuredPromotionTest : public ModelServiceTest {
 protected:
  MeasuredPromotionTest() {
    const std::string place = NewFolder() + ".datasets";
    fs::remove_all(place);
    const std::string picture = Png(NoiseImage(8, 8));
    for (const char* const folder : {"/pairs/input", "/pairs/gt", "/clean"}) {
      fs::create_directories(place + folder);
      EXPECT_TRUE(WriteFileAtomically(place + folder + "/a.png", picture).ok());
    }
    datasets_ =
        Datasets::Open(place + "/uploads",
                       {.registered = {{"pairs", place + "/pairs"}, {"clean", place + "/clean"}}})
            .value();
    a_ = Store("fme");
    b_ = Store("moe");
    settings_.datasets = datasets_.get();
    settings_.run_train = [this](const std::vector<std::string>& arguments,
                                 const JudgeOptions& options) -> absl::StatusOr<std::string> {
      runs_.push_back(arguments);
      timeout_ = options.timeout;
      return report_;
    };
  }

  void ServeMeasured(const PromotionOptions& promotion) {
    settings_.promotion = promotion;
    Serve(settings_);
    ASSERT_TRUE(Promote("tiny", a_).ok());  // as there is nothing live, the inputs are the bar
    runs_.clear();
    report_ = Report(30, 29.5);
  }
  std::string Report(double live, double candidate) const {
    const auto entry = [](const std::string& version, double psnr) {
      return absl::StrFormat(R"({"version": "%s", "psnr_rgb": %g, "input_psnr_rgb": 20})", version,
                             psnr);
    };
    return absl::StrFormat(R"({"sets": [%s, %s]})", entry(a_, live), entry(b_, candidate));
  }
  grpc::Status PromoteB(const std::string& dataset, std::optional<double> bound = {}) {
    v1::PromoteModelRequest request;
    request.set_name("tiny");
    request.set_version(b_);
    request.mutable_evaluation()->set_dataset(dataset);
    if (bound.has_value()) request.mutable_evaluation()->set_max_regression_db(*bound);
    v1::Model model;
    return Promote(request, &model);
  }
  std::string Live() { return models_.Serving("tiny")->front().version; }

  ServiceSettings settings_;
  std::unique_ptr<Datasets> datasets_;
  std::string a_, b_;
  std::string report_;
  std::vector<std::vector<std::string>> runs_;
  absl::Duration timeout_;
};

TEST_F(MeasuredPromotionTest, NothingIsMeasuredUnlessAskedFor) {
  ServeMeasured({});
  ASSERT_TRUE(Promote("tiny", b_).ok());
  EXPECT_THAT(runs_, IsEmpty());
}

TEST_F(MeasuredPromotionTest, ACallerAsksForAMeasurement) {
  ServeMeasured({.timeout = absl::Seconds(77)});
  const grpc::Status status = PromoteB("pairs");
  Expect(status, grpc::StatusCode::FAILED_PRECONDITION, "REGRESSION");
  EXPECT_THAT(status.error_message(), HasSubstr("29.50 dB, 0.50 below 30.00"));
  EXPECT_EQ(Live(), a_);
  EXPECT_EQ(timeout_, absl::Seconds(77));
  EXPECT_EQ(ReadLive(folder_, "tiny").value()->version, a_);
  ASSERT_TRUE(PromoteB("pairs", 0.75).ok());
  EXPECT_EQ(Live(), b_);
  EXPECT_EQ(runs_.size(), 2u);
  const std::string dir = datasets_->Find("pairs")->dir;
  EXPECT_THAT(runs_[0],
              ElementsAre("evaluate", "--model", VersionPath(folder_, "tiny", a_), "--model",
                          VersionPath(folder_, "tiny", b_), "--pairs", "pairs=" + dir, "--json"));
}

TEST_F(MeasuredPromotionTest, TheServersSettingHoldsUnlessTheCallerSaysOtherwise) {
  report_ = absl::StrFormat(R"({"version": "%s", "psnr_rgb": 25, "input_psnr_rgb": 20})", a_);
  ServeMeasured({.dataset = "pairs", .max_regression_db = 0.4});
  Expect(Promote("tiny", b_), grpc::StatusCode::FAILED_PRECONDITION, "REGRESSION");
  report_ = Report(30, 29.7);
  EXPECT_TRUE(PromoteB("pairs").ok());  // the server's bound
  ASSERT_TRUE(Promote("tiny", b_).ok());
  EXPECT_EQ(runs_.size(), 2u);  // it is live already
  v1::Model model;
  ASSERT_TRUE(Rollback("tiny", &model).ok());  // is never measured
  EXPECT_EQ(runs_.size(), 2u);
  EXPECT_TRUE(PromoteB("").ok());
  EXPECT_EQ(runs_.size(), 2u);
  EXPECT_EQ(Live(), b_);
}

TEST_F(MeasuredPromotionTest, WhatIsAskedForMustBeThere) {
  ServeMeasured({});
  Expect(PromoteB("snow"), grpc::StatusCode::NOT_FOUND, "UNKNOWN_DATASET");
  Expect(PromoteB("../pairs"), grpc::StatusCode::NOT_FOUND, "UNKNOWN_DATASET");
  const grpc::Status clean = PromoteB("clean");
  Expect(clean, grpc::StatusCode::INVALID_ARGUMENT, "INVALID_ARGUMENT");
  EXPECT_THAT(clean.error_message(), HasSubstr("'clean'"));
  for (const double bound : {-0.1, 100.5, std::nan("")}) {
    const grpc::Status status = PromoteB("pairs", bound);
    Expect(status, grpc::StatusCode::INVALID_ARGUMENT, "INVALID_ARGUMENT");
    EXPECT_THAT(status.error_message(), HasSubstr("evaluation.max_regression_db"));
  }
  const grpc::Status bound_alone = PromoteB("", 1);
  Expect(bound_alone, grpc::StatusCode::INVALID_ARGUMENT, "INVALID_ARGUMENT");
  EXPECT_THAT(bound_alone.error_message(), HasSubstr("evaluation.dataset"));
  report_ = "no JSON";
  Expect(PromoteB("pairs"), grpc::StatusCode::INTERNAL, "EVALUATION_FAILED");
  EXPECT_EQ(Live(), a_);
  settings_.datasets = nullptr;
  Serve(settings_);
  Expect(PromoteB("pairs"), grpc::StatusCode::FAILED_PRECONDITION, "NO_DATA_FOLDER");
}

TEST_F(MeasuredPromotionTest, AMeasurementHoldsUpNoRollback) {
  ServeMeasured({});
  ASSERT_TRUE(Promote("tiny", b_).ok());
  const std::string c = Store("dense");
  const Signal begun, go_on;
  settings_.run_train = [=, this](const std::vector<std::string>&, const JudgeOptions&) {
    begun.Raise();
    go_on.Wait();
    return absl::StatusOr<std::string>(
        absl::StrFormat(R"({"sets": [{"version": "%s", "psnr_rgb": 1, "input_psnr_rgb": 1},)"
                        R"( {"version": "%s", "psnr_rgb": 1, "input_psnr_rgb": 1}]})",
                        b_, c));
  };
  Serve(settings_);
  v1::PromoteModelRequest request;
  request.set_name("tiny");
  request.set_version(c);
  request.mutable_evaluation()->set_dataset("pairs");
  v1::Model model;
  auto call = std::async(std::launch::async, [&] {
    v1::Model ignored;
    return Promote(request, &ignored);
  });
  begun.Wait();
  EXPECT_TRUE(Rollback("tiny", &model).ok());
  EXPECT_EQ(model.live_version(), a_);
  Expect(Promote(request, &model), grpc::StatusCode::ABORTED, "PROMOTION_RUNNING");
  go_on.Raise();
  Expect(call.get(), grpc::StatusCode::ABORTED, "LIVE_CHANGED");
  EXPECT_EQ(Live(), a_);
}

TEST_F(MeasuredPromotionTest, AServerThatStopsEndsAMeasurement) {
  const Signal begun;
  settings_.run_train = [begun](const std::vector<std::string>&, const JudgeOptions& options) {
    const Signal stopped;
    const std::stop_callback on_stop(options.stop, [&stopped] { stopped.Raise(); });
    begun.Raise();
    stopped.Wait();
    return absl::StatusOr<std::string>(absl::CancelledError("stopped"));
  };
  Serve(settings_);
  v1::PromoteModelRequest request;
  request.set_name("tiny");
  request.set_version(b_);
  request.mutable_evaluation()->set_dataset("pairs");
  auto call = std::async(std::launch::async, [&] {
    v1::Model model;
    return Promote(request, &model);
  });
  begun.Wait();
  service_->BeginDrain();
  Expect(call.get(), grpc::StatusCode::UNAVAILABLE, "DRAINING");
  EXPECT_FALSE(models_.Serving("tiny").ok());
}

}  // namespace
}  // namespace deweather
