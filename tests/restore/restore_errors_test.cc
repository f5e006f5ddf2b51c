// What goes wrong with a request, where, and that it stays with that request.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>
#include <thread>

#include "absl/time/clock.h"
#include "server/restore/restore.h"
#include "tests/restore/pipeline_fixture.h"

namespace deweather {
namespace {

using testing::HasSubstr;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

class RestoreErrorsTest : public PipelineTest {
 protected:
  void ExpectServes() {
    const Image image = NoiseImage(50, 40, 1);
    const auto result = Restore(Png(image));
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(SamplesOf(result->image), image.samples);
  }

  // Starts what the gate holds in the model, with most of its tiles waiting.
  Reply StartLarge(Gate& gate, std::stop_token cancel = {},
                   absl::Time deadline = absl::InfiniteFuture()) {
    RestoreRequest request;
    request.image = Png(NoiseImage(300, 200, 2));
    request.cancel = std::move(cancel);
    request.deadline = deadline;
    Reply reply = Start(std::move(request));
    gate.AwaitModel();
    return reply;
  }
};

TEST_F(RestoreErrorsTest, WhatIsNoPictureIsInvalid) {
  SetUpPipeline(FakeModel{});
  const std::string png = Png(NoiseImage(64, 64, 1));
  for (const std::string& bytes : {std::string(), std::string("hello"), std::string(1000, '\0'),
                                   png.substr(0, png.size() / 2), png.substr(0, 20)}) {
    const absl::Status status = Restore(bytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_EQ(ErrorReason(status), "INVALID_IMAGE") << status;
    ExpectServes();
  }
  EXPECT_EQ(Series("deweather_restore_requests_total{code=\"INVALID_ARGUMENT\"}"), 5);
}

TEST_F(RestoreErrorsTest, APictureOverThePixelLimitIsInvalid) {
  SetUpPipeline(FakeModel{}, {.decode_limits = {.max_pixels = 2500}});
  const absl::Status status = Restore(Png(NoiseImage(50, 51, 1))).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorReason(status), "PIXEL_LIMIT");
  EXPECT_THAT(Message(status), HasSubstr("2550"));
  EXPECT_THAT(Message(status), HasSubstr("2500"));
  ExpectServes();
}

TEST_F(RestoreErrorsTest, OptionsOutOfRangeAreInvalid) {
  SetUpPipeline(FakeModel{});
  const std::string image = Png(NoiseImage(8, 8, 1));
  for (const RestoreOptions& options :
       {RestoreOptions{.quality = 101}, RestoreOptions{.quality = -1},
        RestoreOptions{.strength = 1.5f}, RestoreOptions{.strength = -0.1f},
        RestoreOptions{.strength = std::numeric_limits<float>::quiet_NaN()},
        RestoreOptions{.task = std::string(65, 'x')}, RestoreOptions{.task = "a\033[2J"},
        RestoreOptions{.task = "a/b"}}) {
    const absl::Status status = Restore(image, options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ErrorReason(status), "INVALID_OPTION");
  }
  ExpectServes();
}

TEST_F(RestoreErrorsTest, WhatNoModelOffersIsSaid) {
  SetUpPipeline(FakeModel{});
  const std::string image = Png(NoiseImage(8, 8, 1));
  const absl::Status task = Restore(image, {.task = "snow"}).status();
  EXPECT_EQ(task.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(task), HasSubstr("'snow'"));
  EXPECT_EQ(ErrorReason(task), "UNSUPPORTED_OPTION");
  const absl::Status map = Restore(image, {.uncertainty_map = true}).status();
  EXPECT_EQ(map.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Message(map),
            "model 'fake' routes nothing: it has no router whose uncertainty could be shown");
  EXPECT_EQ(ErrorReason(map), "NOT_ROUTED");
  Install(models_, {.name = "whole", .layers = 1, .experts = 2, .kept = 1, .per_image = true},
          pipeline_->executor());
  const absl::Status whole = Restore(image, {.model = "whole", .uncertainty_map = true}).status();
  EXPECT_EQ(ErrorReason(whole), "NOT_ROUTED");
  EXPECT_THAT(Message(whole), HasSubstr("whole pictures"));
  ExpectServes();
}

TEST_F(RestoreErrorsTest, AGatedModelWantsOneOfItsTasks) {
  SetUpPipeline({.name = "all", .tasks = {"rain", "snow"}});
  const std::string image = Png(NoiseImage(8, 8, 1));
  const absl::Status none = Restore(image).status();
  EXPECT_EQ(none.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorReason(none), "TASK_REQUIRED");
  EXPECT_THAT(Message(none), HasSubstr("rain, snow"));
  const absl::Status unknown = Restore(image, {.task = "fog"}).status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Message(unknown), "task is 'fog'; model 'all' knows rain, snow");
  EXPECT_EQ(ErrorReason(unknown), "UNKNOWN_TASK");
  EXPECT_TRUE(Restore(image, {.task = "snow"}).ok());
  EXPECT_EQ(pipeline_->CheckOptions({}), none);
  EXPECT_TRUE(pipeline_->CheckOptions({.task = "rain"}).ok());
}

TEST_F(RestoreErrorsTest, AnUnknownModelIsNotFound) {
  SetUpPipeline({.name = "rain"});
  const absl::Status status = Restore(Png(NoiseImage(8, 8, 1)), {.model = "fog"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(status), HasSubstr("'fog'"));
  EXPECT_THAT(Message(status), HasSubstr("rain"));
}

TEST_F(RestoreErrorsTest, WithoutALiveModelTheServerIsUnavailable) {
  SetUpPipeline(RestorePipelineOptions{});
  const absl::Status status = Restore(Png(NoiseImage(8, 8, 1))).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Series("deweather_restore_refused_total{reason=\"no_live_model\"}"), 1);
}

TEST_F(RestoreErrorsTest, WhatTheFormatCannotHoldIsInvalid) {
  SetUpPipeline(FakeModel{});
  const absl::Status status =
      Restore(Png(NoiseImage(30, 30, 1, 4)), {.format = ImageFormat::kJpeg}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorReason(status), "NOT_ENCODABLE");
  ExpectServes();
}

TEST_F(RestoreErrorsTest, DrainingRefusesWhatIsNewAndServesWhatIsOld) {
  Gate gate;
  SetUpPipeline({.on_run = gate.OnRun()});
  const Reply old = StartLarge(gate);
  pipeline_->BeginDrain();
  const absl::Status status = Restore(Png(NoiseImage(8, 8, 1))).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrorReason(status), "DRAINING");
  EXPECT_EQ(Series("deweather_restore_refused_total{reason=\"draining\"}"), 1);
  EXPECT_GE(pipeline_->in_flight(), 1);
  gate.Open();
  EXPECT_TRUE(old.Wait().ok());
}

TEST_F(RestoreErrorsTest, ASpentByteBudgetRefusesAtOnce) {
  Gate gate;
  SetUpPipeline({.on_run = gate.OnRun()}, {.admission = {.max_bytes = 300'000}});
  const Reply large = StartLarge(gate);  // larger than the budget: served, it is alone
  const absl::Status status = Restore(Png(NoiseImage(50, 40, 1))).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorReason(status), "BYTE_BUDGET");
  EXPECT_THAT(Message(status), HasSubstr("300000"));
  EXPECT_EQ(Series("deweather_restore_refused_total{reason=\"byte_budget\"}"), 1);
  gate.Open();
  EXPECT_TRUE(large.Wait().ok());
}

TEST_F(RestoreErrorsTest, ASpentTileBudgetRefusesAtOnce) {
  Gate gate;
  SetUpPipeline({.on_run = gate.OnRun()}, {.window_tiles = 8, .admission = {.max_tiles = 8}});
  const Reply large = StartLarge(gate);
  const absl::Status status = Restore(Png(NoiseImage(50, 40, 1))).status();
  EXPECT_EQ(ErrorReason(status), "TILE_BUDGET");
  EXPECT_THAT(Message(status), HasSubstr("hold 8 of 8"));
  EXPECT_EQ(Series("deweather_restore_refused_total{reason=\"tile_budget\"}"), 1);
  gate.Open();
  EXPECT_TRUE(large.Wait().ok());
}

TEST_F(RestoreErrorsTest, TheBudgetComesBack) {
  SetUpPipeline(FakeModel{}, {.admission = {.max_bytes = 1, .max_tiles = 1}});
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(Restore(Png(NoiseImage(50, 40, 1))).ok()) << "given back before the reply";
  }
}

TEST_F(RestoreErrorsTest, CancelledBeforeItBegins) {
  std::atomic<int> runs = 0;
  SetUpPipeline({.on_run = [&runs](int) { ++runs; }});
  std::stop_source cancel;
  cancel.request_stop();
  RestoreRequest request;
  request.image = Png(NoiseImage(100, 100, 1));
  request.cancel = cancel.get_token();
  const Reply reply = Start(std::move(request));
  EXPECT_EQ(reply.Wait().status().code(), absl::StatusCode::kCancelled);
  pipeline_.reset();
  EXPECT_EQ(reply.calls(), 1);
  EXPECT_EQ(runs, 0);
}

TEST_F(RestoreErrorsTest, CancelledWhileTheModelRunsEndsWithoutIt) {
  Gate gate;
  SetUpPipeline({.on_run = gate.OnRun()});
  std::stop_source cancel;
  const Reply reply = StartLarge(gate, cancel.get_token());
  cancel.request_stop();
  EXPECT_EQ(Series("deweather_queue_tiles"), 0) << "queued tiles go at once";
  EXPECT_EQ(reply.Wait().status().code(), absl::StatusCode::kCancelled) << "the model still runs";
  EXPECT_GE(Series("deweather_tiles_dropped_total{reason=\"cancelled\"}"), 4);
  gate.Open();
  ExpectServes();
  pipeline_.reset();
  EXPECT_EQ(reply.calls(), 1);
  EXPECT_EQ(Series("deweather_restore_requests_total{code=\"CANCELLED\"}"), 1);
}

TEST_F(RestoreErrorsTest, CancelledInTheMiddleOfThePicture) {
  std::stop_source cancel;
  std::atomic<int> runs = 0;
  SetUpPipeline({.on_run = [&](int) {
    if (++runs == 5) cancel.request_stop();
  }});
  RestoreRequest request;
  request.image = Png(NoiseImage(400, 300, 1));
  request.cancel = cancel.get_token();
  const Reply reply = Start(std::move(request));
  EXPECT_EQ(reply.Wait().status().code(), absl::StatusCode::kCancelled);
  pipeline_.reset();
  EXPECT_EQ(reply.calls(), 1);
  EXPECT_EQ(runs, 5);
}

TEST_F(RestoreErrorsTest, CancelledWhenItIsOverChangesNothing) {
  SetUpPipeline(FakeModel{});
  std::stop_source cancel;
  RestoreRequest request;
  request.image = Png(NoiseImage(30, 30, 1));
  request.cancel = cancel.get_token();
  const Reply reply = Start(std::move(request));
  EXPECT_TRUE(reply.Wait().ok());
  cancel.request_stop();
  pipeline_.reset();
  EXPECT_EQ(reply.calls(), 1);
  EXPECT_TRUE(reply.Wait().ok());
}

// At whatever moment the cancel falls, there is one answer, and its neighbour's is whole.
TEST_F(RestoreErrorsTest, CancelledAtAnyMomentIsAnsweredOnce) {
  SetUpPipeline(FakeModel{});
  const Image image = NoiseImage(120, 90, 3);
  const std::string png = Png(image);
  for (int round = 0; round < 60; ++round) {
    std::stop_source cancel;
    RestoreRequest request;
    request.image = png;
    request.cancel = cancel.get_token();
    const Reply cancelled = Start(std::move(request));
    const Reply neighbour = Start(png);
    for (int spin = 0; spin < round * 2000; ++spin) asm volatile("");
    cancel.request_stop();
    const auto result = cancelled.Wait();
    EXPECT_TRUE(result.ok() || absl::IsCancelled(result.status())) << result.status();
    EXPECT_EQ(SamplesOf(neighbour.Wait()->image), image.samples);
    EXPECT_EQ(cancelled.calls(), 1);
  }
}

TEST_F(RestoreErrorsTest, ADeadlineInThePastIsExceededBeforeAnyWork) {
  std::atomic<int> runs = 0;
  SetUpPipeline({.on_run = [&runs](int) { ++runs; }});
  RestoreRequest request;
  request.image = Png(NoiseImage(100, 100, 1));
  request.deadline = absl::Now() - absl::Seconds(1);
  const Reply reply = Start(std::move(request));
  EXPECT_EQ(reply.Wait().status().code(), absl::StatusCode::kDeadlineExceeded);
  pipeline_.reset();
  EXPECT_EQ(runs, 0);
  EXPECT_EQ(reply.calls(), 1);
}

TEST_F(RestoreErrorsTest, ADeadlineThatPassesInTheModelLeavesNoTileForTheNextBatch) {
  const absl::Time deadline = absl::Now() + absl::Seconds(2);
  int runs = 0;
  SetUpPipeline({.on_run = [&](int) {
    ++runs;
    while (absl::Now() < deadline) std::this_thread::yield();
  }});
  RestoreRequest request;
  request.image = Png(NoiseImage(300, 200, 2));
  request.deadline = deadline;
  const Reply reply = Start(std::move(request));
  EXPECT_EQ(reply.Wait().status().code(), absl::StatusCode::kDeadlineExceeded);
  pipeline_.reset();
  EXPECT_EQ(runs, 1);
  EXPECT_GE(Series("deweather_tiles_dropped_total{reason=\"deadline\"}"), 4);
  EXPECT_EQ(reply.calls(), 1);
}

TEST_F(RestoreErrorsTest, ACancelPastTheDeadlineIsALateOne) {
  Gate gate;
  SetUpPipeline({.on_run = gate.OnRun()});
  const absl::Time deadline = absl::Now() + absl::Seconds(2);
  std::stop_source cancel;
  const Reply reply = StartLarge(gate, cancel.get_token(), deadline);
  while (absl::Now() < deadline) std::this_thread::yield();
  cancel.request_stop();  // as gRPC does when a deadline passes
  EXPECT_EQ(reply.Wait().status().code(), absl::StatusCode::kDeadlineExceeded);
  gate.Open();
}

TEST_F(RestoreErrorsTest, ANonFiniteTileFailsItsOwnRequest) {
  Gate gate;
  SetUpPipeline({.nan_for_white = true, .on_run = gate.OnRun()},
                {.workers = 2, .max_batch = 8, .window_tiles = 16});
  const Reply first = Start(Png(NoiseImage(16, 16, 1)));  // holds the executor
  gate.AwaitModel();
  const Image image = NoiseImage(60, 60, 4);
  const Reply bad = Start(Png(PlainImage(60, 60, 255)));
  const Reply good = Start(Png(image));
  gate.Open();
  const absl::Status status = bad.Wait().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(ErrorReason(status), "MODEL_FAILED");
  EXPECT_THAT(Message(status), HasSubstr("non-finite"));
  EXPECT_EQ(SamplesOf(good.Wait()->image), image.samples);
  EXPECT_TRUE(first.Wait().ok());
  pipeline_.reset();
  EXPECT_EQ(bad.calls(), 1);
}

TEST_F(RestoreErrorsTest, ANonFiniteUncertaintyFailsItsOwnRequest) {
  Gate gate;
  SetUpPipeline(
      {.layers = 2, .experts = 4, .kept = 1, .nan_map_for_white = true, .on_run = gate.OnRun()},
      {.workers = 2, .max_batch = 8, .window_tiles = 16});
  const Reply first = Start(Png(NoiseImage(16, 16, 1)));  // holds the executor
  gate.AwaitModel();
  const Reply bad = Start(Png(PlainImage(60, 60, 255)), {.uncertainty_map = true});
  const Reply good = Start(Png(NoiseImage(60, 60, 4)), {.uncertainty_map = true});
  const Reply plain = Start(Png(PlainImage(60, 60, 255)));
  gate.Open();
  const absl::Status status = bad.Wait().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(ErrorReason(status), "MODEL_FAILED");
  EXPECT_THAT(Message(status), HasSubstr("non-finite uncertainty in the tile at (0, 0)"));
  EXPECT_FALSE(good.Wait()->uncertainty_map_png.empty());
  EXPECT_TRUE(plain.Wait().ok());
  EXPECT_TRUE(first.Wait().ok());
}

TEST_F(RestoreErrorsTest, AModelWithoutTheMapThatItOwesIsInternal) {
  const std::string image = Png(NoiseImage(60, 60, 4));
  FakeModel model{.layers = 1, .experts = 2, .kept = 1, .no_map = true};
  SetUpPipeline(model);
  const absl::Status none = Restore(image, {.uncertainty_map = true}).status();
  EXPECT_EQ(none.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(Message(none), HasSubstr("gave no uncertainty"));
  model.no_map = false;
  model.wrong_map = true;
  Install(models_, model, pipeline_->executor());
  const absl::Status wrong = Restore(image, {.uncertainty_map = true}).status();
  EXPECT_EQ(wrong.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(Message(wrong), HasSubstr("unexpected shape"));
}

TEST_F(RestoreErrorsTest, AFailedTilesRoutingCountsNowhere) {
  SetUpPipeline({.layers = 1, .experts = 2, .kept = 1, .nan_for_white = true});
  EXPECT_FALSE(Restore(Png(PlainImage(30, 30, 255))).ok());
  ASSERT_TRUE(Restore(Png(PlainImage(30, 30, 0))).ok());
  pipeline_.reset();
  EXPECT_EQ(Series("deweather_expert_tokens_total{expert=\"0\",layer=\"0\"}"), 16);
  EXPECT_EQ(Series("deweather_expert_tokens_total{expert=\"1\",layer=\"0\"}"), 0);
}

TEST_F(RestoreErrorsTest, AModelThatThrowsFailsTheRequestAndNoMore) {
  bool planted = true;
  SetUpPipeline({.on_run = [&planted](int) {
    if (std::exchange(planted, false)) throw std::runtime_error("planted");
  }});
  const absl::Status status = Restore(Png(NoiseImage(8, 8, 1))).status();  // one tile
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(Message(status), HasSubstr("planted"));
  ExpectServes();
}

TEST_F(RestoreErrorsTest, AFailureInCompanyIsTriedAlone) {
  bool planted = true;
  SetUpPipeline({.on_run = [&planted](int batch) {
    if (batch > 1 && std::exchange(planted, false)) throw std::runtime_error("planted");
  }});
  ExpectServes();
  EXPECT_FALSE(planted);
}

TEST_F(RestoreErrorsTest, AModelThatChangesTheShapeIsInternal) {
  SetUpPipeline({.wrong_shape = true});
  const absl::Status status = Restore(Png(NoiseImage(8, 8, 1))).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(ErrorReason(status), "MODEL_FAILED");
}

}  // namespace
}  // namespace deweather
