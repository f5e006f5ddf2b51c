// Whether a measured version may go live; what is measured, and what is made of the report.

#include "server/rpc/judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "model/base/error_reason.h"

namespace deweather {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kOld[] = "aaaaaaaaaaaa";
constexpr char kNew[] = "bbbbbbbbbbbb";

std::string Entry(const std::string& version, double psnr_rgb, double input_psnr_rgb = 20) {
  return absl::StrFormat(
      R"({"model": "rain", "version": "%s", "images": 5, "psnr_y": 99.0, "psnr_rgb": %.17g,)"
      R"( "input_psnr_rgb": %.17g, "worst": [{"name": "1.png", "psnr_rgb": 3.5}]})",
      version, psnr_rgb, input_psnr_rgb);
}

std::string Both(double old_psnr, double new_psnr) {
  return absl::StrFormat(R"({"sets": [%s, %s], "overall": [{"version": "x"}]})",
                         Entry(kOld, old_psnr), Entry(kNew, new_psnr));
}

class JudgeTest : public testing::Test {
 protected:
  absl::Status Decide(absl::StatusOr<std::string> report) {
    return Judge(candidate_, options_,
                 [this, &report](const std::vector<std::string>& arguments, const JudgeOptions&) {
                   arguments_ = arguments;
                   return report;
                 });
  }
  void ExpectFailed(const absl::StatusOr<std::string>& report, const std::string& why) {
    const absl::Status status = Decide(report);
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
    EXPECT_EQ(ErrorReason(status), "EVALUATION_FAILED");
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
  }

  Candidate candidate_ = {.name = "rain",
                          .version = kNew,
                          .path = "/models/new",
                          .live_version = kOld,
                          .live_path = "/models/old"};
  JudgeOptions options_ = {.dataset = "streets", .dir = "/data/streets", .max_regression_db = 0.1};
  std::vector<std::string> arguments_;
};

TEST_F(JudgeTest, BothVersionsAreMeasuredOnTheSet) {
  EXPECT_TRUE(Decide(Both(29.62, 29.60)).ok());
  EXPECT_THAT(arguments_, ElementsAre("evaluate", "--model", "/models/old", "--model",
                                      "/models/new", "--pairs", "streets=/data/streets", "--json"));
}

TEST_F(JudgeTest, ARegressionBeyondTheBoundIsRefusedWithBothFigures) {
  const absl::Status status = Decide(Both(29.62, 29.10));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorReason(status), "REGRESSION");
  EXPECT_EQ(status.message(),
            "PSNR-RGB of rain bbbbbbbbbbbb on streets is 29.10 dB, 0.52 below 29.62 of the live "
            "aaaaaaaaaaaa; max_regression_db is 0.10");
}

TEST_F(JudgeTest, TheBoundItselfPasses) {
  options_.max_regression_db = 0.5;
  EXPECT_TRUE(Decide(Both(30, 29.5)).ok());
  EXPECT_FALSE(Decide(Both(30, 29.499)).ok());
  options_.max_regression_db = 0;
  EXPECT_TRUE(Decide(Both(30, 30)).ok());
  EXPECT_TRUE(Decide(Both(30, 35)).ok());
  EXPECT_FALSE(Decide(Both(30, 29.999)).ok());
}

TEST_F(JudgeTest, WithoutALiveFileTheInputsAreTheBar) {
  candidate_.live_version = "builtin";
  candidate_.live_path = "";
  EXPECT_TRUE(Decide(Entry(kNew, 24.95, 25)).ok());
  EXPECT_THAT(arguments_, ElementsAre("evaluate", "--model", "/models/new", "--pairs",
                                      "streets=/data/streets", "--json"));
  const absl::Status status = Decide(Entry(kNew, 24, 25));
  EXPECT_EQ(ErrorReason(status), "REGRESSION");
  EXPECT_THAT(std::string(status.message()), HasSubstr("1.00 below 25.00 of the inputs;"));
}

TEST_F(JudgeTest, WhatCannotBeMeasuredFails) {
  ExpectFailed(absl::InvalidArgumentError("no pairs in '/data'"), "no pairs in '/data'");
  ExpectFailed(absl::DeadlineExceededError("ran for 30m"), "ran for 30m");
  ExpectFailed("", "JSON");
  ExpectFailed("[]", "JSON");
  ExpectFailed("Traceback", "JSON");
  ExpectFailed("{}", "no PSNR");
  ExpectFailed(R"({"sets": 7})", "not of these models");
  ExpectFailed(R"({"sets": [null, {}]})", "no PSNR");
  ExpectFailed(R"({"version": "b", "psnr_rgb": null, "input_psnr_rgb": 1})", "no PSNR");
  ExpectFailed(R"({"version": "b", "psnr_rgb": "30", "input_psnr_rgb": 1})", "no PSNR");
}

// Of a file that changed, or in another order.
TEST_F(JudgeTest, FiguresOfOtherVersionsFail) {
  ExpectFailed(Entry(kNew, 30), "not of these models");
  ExpectFailed(absl::StrFormat(R"({"sets": [%s, %s]})", Entry(kNew, 30), Entry(kOld, 30)),
               "measured version aaaaaaaaaaaa in place of bbbbbbbbbbbb");
  ExpectFailed(absl::StrFormat(R"({"sets": [%s, %s]})", Entry("cccccccccccc", 30), Entry(kNew, 30)),
               "measured version cccccccccccc in place of the live aaaaaaaaaaaa");
}

TEST_F(JudgeTest, AStopIsACancel) {
  EXPECT_EQ(Decide(absl::CancelledError("stopped")).code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace deweather
