#include "client/job_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

namespace deweather {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

v1::Job Running() {
  v1::Job job;
  job.set_id("abcdefghij12");
  job.set_model("rain");
  job.set_state(v1::Job::STATE_RUNNING);
  job.mutable_config()->set_steps(1000);
  (*job.mutable_labels())["camera"] = "north";
  (*job.mutable_labels())["a"] = "b";
  job.mutable_create_time()->set_seconds(1'700'000'000);
  job.set_attempts(2);
  job.set_failures(1);
  v1::JobProgress& progress = *job.mutable_progress();
  progress.set_step(250);
  progress.set_steps(1000);
  progress.set_loss(0.02143);
  progress.set_images_per_second(28.14);
  progress.mutable_remaining()->set_seconds(123);
  (*progress.mutable_terms())["loss/rain"] = 0.5;
  return job;
}

v1::Job Failed() {
  v1::Job job;
  job.set_id("000000000000");
  job.set_model("snow");
  job.set_state(v1::Job::STATE_FAILED);
  job.set_reason(
      "exit status 1:\x1b[2J NOT_FOUND: no folder of that name, and so on and on and on");
  job.mutable_create_time()->set_seconds(1'700'000'000);
  return job;
}

v1::JobEvent Event(int64_t number) {
  v1::JobEvent event;
  event.set_number(number);
  event.mutable_time()->set_seconds(1'700'000'000);
  return event;
}

TEST(JobsTableTest, ALineAJob) {
  const std::string table = JobsTable({Running(), Failed()});
  EXPECT_THAT(table,
              HasSubstr("\nabcdefghij12  RUNNING     rain                         250/1000    "
                        "0.02143  2023-11-14T22:13:20+00:00  -\n"));
  EXPECT_THAT(table,
              HasSubstr("\n000000000000  FAILED      snow                                -    "
                        "      -  2023-11-14T22:13:20+00:00  exit status 1: [2J NOT_FOUND: no "
                        "folder of that ...\n"));
}

TEST(JobTextTest, OneJobInFull) {
  const std::string text = JobText(Running());
  EXPECT_THAT(text, HasSubstr("state      RUNNING\n"));
  EXPECT_THAT(text, HasSubstr("250/1000  loss 0.02143  28.1 images/s  2m 03s left\n"));
  EXPECT_THAT(text, HasSubstr("labels     a=b  camera=north\n"));
  EXPECT_THAT(text, HasSubstr("attempts   2, 1 crashed\n"));
  EXPECT_THAT(text, HasSubstr("\nsteps: 1000\n")) << "the configuration";
  EXPECT_THAT(text, Not(HasSubstr("ended")));
  EXPECT_THAT(JobText(Failed()), HasSubstr("FAILED: exit status 1: [2J NOT_FOUND"));
}

TEST(JobTextTest, WhatWasOnlyCheckedHasNoState) {
  v1::Job checked;
  checked.set_model("rain");
  checked.mutable_config()->set_steps(10);
  EXPECT_EQ(JobText(checked),
            "job        valid, and only checked\nmodel      rain\npriority   0\n\nsteps: 10\n");
  EXPECT_EQ(JobJson(checked), json({{"valid", true},
                                    {"model", "rain"},
                                    {"config", {{"steps", "10"}}},
                                    {"labels", json::object()},
                                    {"priority", 0}}));
}

TEST(JobJsonTest, WhatIsUnsetIsNull) {
  const json job = JobJson(Running()), failed = JobJson(Failed());
  EXPECT_EQ(job["state"], "RUNNING");
  EXPECT_EQ(job["labels"], json({{"a", "b"}, {"camera", "north"}}));
  EXPECT_EQ(job["config"]["steps"], "1000") << "64 bits, as protobuf's JSON has them";
  EXPECT_EQ(job["progress"]["step"], 250);
  EXPECT_EQ(job["progress"]["terms"]["loss/rain"], 0.5);
  EXPECT_EQ(job["progress"]["remaining_s"], 123.0);
  EXPECT_TRUE(job["end_time"].is_null());
  EXPECT_TRUE(failed["progress"].is_null());
  EXPECT_TRUE(failed["model_version"].is_null());
}

TEST(JobJsonTest, ALossThatIsNoNumberIsNull) {
  v1::Job job = Running();
  job.mutable_progress()->set_loss(std::numeric_limits<double>::quiet_NaN());
  EXPECT_TRUE(json::parse(JobJson(job).dump())["progress"]["loss"].is_null());
}

TEST(EventTest, StateChange) {
  v1::JobEvent event = Event(3);
  event.mutable_state_change()->set_state(v1::Job::STATE_QUEUED);
  event.mutable_state_change()->set_attempt(1);
  event.mutable_state_change()->set_reason("crashed");
  EXPECT_EQ(EventLine(event), "   3  2023-11-14T22:13:20+00:00  QUEUED, attempt 1: crashed");
  EXPECT_EQ(EventJson(event), json({{"number", 3},
                                    {"time", "2023-11-14T22:13:20+00:00"},
                                    {"state", "QUEUED"},
                                    {"reason", "crashed"},
                                    {"attempt", 1}}));
}

TEST(EventTest, AnAttemptIsSaidOnce) {
  v1::JobEvent event = Event(3);
  event.mutable_state_change()->set_state(v1::Job::STATE_RUNNING);
  event.mutable_state_change()->set_attempt(2);
  event.mutable_state_change()->set_reason("attempt 2");
  EXPECT_EQ(EventLine(event), "   3  2023-11-14T22:13:20+00:00  RUNNING, attempt 2");
}

TEST(EventTest, WhatTheRunTells) {
  v1::JobEvent progress = Event(4), evaluation = Event(5), checkpoint = Event(6),
               warning = Event(7);
  *progress.mutable_progress() = Running().progress();
  evaluation.mutable_evaluation()->set_step(500);
  (*evaluation.mutable_evaluation()->mutable_figures())["rain/psnr_y"] = 31.5;
  (*evaluation.mutable_evaluation()->mutable_figures())["rain/ssim_y"] = 0.9;
  checkpoint.mutable_checkpoint()->set_step(500);
  warning.set_warning("a picture\ncannot be read");
  EXPECT_THAT(EventLine(progress), HasSubstr("  250/1000  loss 0.02143  "));
  EXPECT_THAT(EventLine(evaluation),
              HasSubstr("  evaluation at step 500  rain/psnr_y 31.5000  rain/ssim_y 0.9000"));
  EXPECT_THAT(EventLine(checkpoint), HasSubstr("  checkpoint at step 500"));
  EXPECT_THAT(EventLine(warning), HasSubstr("  warning: a picture cannot be read"));
  EXPECT_EQ(EventJson(progress)["progress"]["steps"], 1000);
  EXPECT_EQ(EventJson(evaluation)["evaluation"]["figures"]["rain/psnr_y"], 31.5);
  EXPECT_EQ(EventJson(checkpoint)["checkpoint"]["step"], 500);
  EXPECT_EQ(EventJson(warning)["warning"], "a picture\ncannot be read");
}

TEST(EventTest, OfANewerServerIsNoError) {
  EXPECT_THAT(EventLine(Event(1)), HasSubstr("does not know"));
}

TEST(ArtifactsTest, TableAndJson) {
  v1::Artifact checkpoint, curve;
  checkpoint.set_name("run/checkpoints/step-000001000.safetensors");
  checkpoint.set_kind(v1::Artifact::KIND_CHECKPOINT);
  checkpoint.set_bytes(1234);
  checkpoint.set_step(1000);
  curve.set_name("run/curve.png");
  EXPECT_THAT(ArtifactsTable({checkpoint, curve}),
              testing::ContainsRegex("CHECKPOINT +1000 +1234 +1970[^ ]+  run/checkpoints/.*\n"
                                     "FILE +- +0 "));
  EXPECT_EQ(ArtifactJson(checkpoint)["kind"], "CHECKPOINT");
  EXPECT_EQ(ArtifactJson(checkpoint)["step"], 1000);
}

}  // namespace
}  // namespace deweather
