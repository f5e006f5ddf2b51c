// Who is let into the pipeline, and what a request is told on its way.

#include <gmock/gmock.h>

#include <atomic>
#include <optional>

#include "absl/time/clock.h"
#include "server/restore/token_map.h"
#include "tests/restore/pipeline_fixture.h"

namespace deweather {
namespace {

using testing::HasSubstr;

class RestoreAdmissionTest : public PipelineTest {
 protected:
  RestoreRequest Request(const Image& image, const std::string& caller = "a") {
    RestoreRequest request;
    request.image = Png(image);
    request.caller = caller;
    return request;
  }
};

TEST_F(RestoreAdmissionTest, ARefusalIsAnsweredBeforeStartReturns) {
  SetUpPipeline(FakeModel{});
  pipeline_->BeginDrain();
  EXPECT_EQ(Start(Request(NoiseImage(9, 9, 1))).calls(), 1);
  EXPECT_EQ(Series("deweather_refusal_seconds_count"), 1);
}

TEST_F(RestoreAdmissionTest, ACallersQuotaLeavesRoomForOthers) {
  Gate gate;
  SetUpPipeline({.on_run = gate.OnRun()},
                {.window_tiles = 8, .admission = {.max_tiles = 16, .max_caller_percent = 50}});
  const Reply large = Start(Request(NoiseImage(200, 200, 1)));
  gate.AwaitModel();
  const absl::Status status = Start(Request(NoiseImage(9, 9, 1))).Wait().status();
  EXPECT_EQ(ErrorReason(status), "CALLER_QUOTA");
  EXPECT_TRUE(RetryDelay(status).has_value());
  EXPECT_EQ(Series("deweather_restore_refused_total{reason=\"caller_quota\"}"), 1);
  const Reply other = Start(Request(NoiseImage(9, 9, 1), "b"));
  gate.Open();
  EXPECT_TRUE(other.Wait().ok());
  EXPECT_TRUE(large.Wait().ok());
}

TEST_F(RestoreAdmissionTest, AHopelessDeadlineIsRefusedByTheMeasuredCost) {
  Gate gate;
  SetUpPipeline({.on_run = gate.OnRun()});
  const std::shared_ptr<BatchCost> cost = models_.Pin("fake")->cost;
  cost->Add(32 * 32, absl::Seconds(10));
  cost->Add(4 * 32 * 32, absl::Seconds(40));
  const Reply large = Start(Request(NoiseImage(200, 200, 1)));
  gate.AwaitModel();
  RestoreRequest request = Request(NoiseImage(30, 30, 1));
  request.deadline = absl::Now() + absl::Seconds(15);
  const absl::Status status = Start(std::move(request)).Wait().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorReason(status), "DEADLINE_TOO_SHORT");
  EXPECT_THAT(std::string(status.message()), HasSubstr("1 tiles take about 20s"));
  EXPECT_EQ(Series("deweather_restore_refused_total{reason=\"deadline_too_short\"}"), 1);
  gate.Open();
  EXPECT_TRUE(large.Wait().ok());
}

TEST_F(RestoreAdmissionTest, BatchesTeachTheCost) {
  SetUpPipeline(FakeModel{});
  EXPECT_TRUE(Restore(Png(NoiseImage(200, 200, 1))).ok());
  EXPECT_TRUE(models_.Pin("fake")->cost->Fit().known());
}

// Of a model that routes; its plain batches take next to nothing.
TEST_F(RestoreAdmissionTest, MapsHaveACostOfTheirOwn) {
  Gate gate;
  SetUpPipeline({.layers = 1, .experts = 2, .kept = 1, .on_run = gate.OnRun()});
  const PinnedModel model = *models_.Pin("fake");
  model.cost->Add(32 * 32, absl::Microseconds(1));
  model.map_cost->Add(32 * 32, absl::Seconds(100));
  const Reply first = Start(Request(NoiseImage(200, 200, 1)));
  gate.AwaitModel();
  const auto start = [&](bool map) {
    RestoreRequest request = Request(NoiseImage(30, 30, 1), map ? "b" : "c");
    request.options.uncertainty_map = map;
    request.deadline = absl::Now() + absl::Seconds(60);
    return Start(std::move(request));
  };
  EXPECT_EQ(ErrorReason(start(true).Wait().status()), "DEADLINE_TOO_SHORT");
  const Reply plain = start(false);
  gate.Open();
  EXPECT_TRUE(plain.Wait().ok());
  EXPECT_TRUE(first.Wait().ok());
}

TEST_F(RestoreAdmissionTest, BatchesWithMapsTeachTheirOwnCost) {
  SetUpPipeline({.layers = 1, .experts = 2, .kept = 1});
  EXPECT_TRUE(Restore(Png(NoiseImage(200, 200, 1)), {.uncertainty_map = true}).ok());
  EXPECT_TRUE(models_.Pin("fake")->map_cost->Fit().known());
  EXPECT_FALSE(models_.Pin("fake")->cost->Fit().known());
}

TEST_F(RestoreAdmissionTest, MapsTakeRoom) {
  Gate gate;
  SetUpPipeline({.layers = 1, .experts = 2, .kept = 1, .on_run = gate.OnRun()});
  const auto held = [this] { return Series("deweather_inflight_bytes"); };
  const Reply plain = Start(Request(NoiseImage(100, 61, 1)));
  const double without = held();
  RestoreRequest request = Request(NoiseImage(100, 61, 1));
  request.options.expert_map = request.options.uncertainty_map = true;
  const Reply maps = Start(std::move(request));
  EXPECT_EQ(held() - 2 * without, 2 * TokenMap::BytesOf(100, 61, 8));
  EXPECT_GE(TokenMap::BytesOf(100, 61, 8), 13 * 8 * 16);
  gate.Open();
  EXPECT_TRUE(plain.Wait().ok());
  EXPECT_TRUE(maps.Wait().ok());
}

TEST_F(RestoreAdmissionTest, ProgressAscendsToTheEnd) {
  SetUpPipeline(FakeModel{});
  std::vector<std::pair<int, int>> seen;
  RestoreRequest request = Request(NoiseImage(300, 200, 1));
  request.progress = [&seen](int done, int total) { seen.emplace_back(done, total); };
  const absl::StatusOr<RestoreResult> result = Start(std::move(request)).Wait();
  ASSERT_TRUE(result.ok());
  ASSERT_FALSE(seen.empty());
  for (size_t i = 1; i < seen.size(); ++i) EXPECT_GT(seen[i].first, seen[i - 1].first);
  EXPECT_EQ(seen.back().first, result->timings.tiles);
  EXPECT_EQ(seen.back().second, result->timings.tiles);
}

TEST_F(RestoreAdmissionTest, AReplyOverItsLimitIsAnErrorThatIsCounted) {
  SetUpPipeline(FakeModel{});
  RestoreRequest request = Request(NoiseImage(100, 100, 1));
  request.max_reply_bytes = 1000;
  const absl::Status status = Start(std::move(request)).Wait().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorReason(status), "REPLY_SIZE");
  EXPECT_THAT(std::string(status.message()), HasSubstr("at most 1000"));
  EXPECT_EQ(Series("deweather_restore_requests_total{code=\"RESOURCE_EXHAUSTED\"}"), 1);
  EXPECT_EQ(Series("deweather_restore_requests_total{code=\"OK\"}"), 0);
}

TEST_F(RestoreAdmissionTest, AReservationHoldsRoomUntilItsRequestTakesIt) {
  SetUpPipeline(FakeModel{}, {.admission = {.max_bytes = 1'000'000, .max_caller_percent = 100}});
  absl::StatusOr<Reservation> reserved = pipeline_->Reserve("a", 900'000);
  ASSERT_TRUE(reserved.ok());
  EXPECT_EQ(Series("deweather_inflight_bytes"), 900'000);
  const absl::Status status = Start(Request(NoiseImage(200, 200, 1), "b")).Wait().status();
  EXPECT_EQ(ErrorReason(status), "BYTE_BUDGET");
  EXPECT_EQ(ErrorReason(pipeline_->Reserve("b", 200'000).status()), "BYTE_BUDGET");
  RestoreRequest request = Request(NoiseImage(200, 200, 1));
  request.reservation = *std::move(reserved);
  EXPECT_TRUE(Start(std::move(request)).Wait().ok());
  EXPECT_TRUE(Start(Request(NoiseImage(200, 200, 1), "b")).Wait().ok());
}

TEST_F(RestoreAdmissionTest, ADrainingServerReservesNothingButForWhatHasBegun) {
  SetUpPipeline(FakeModel{});
  auto reserved = pipeline_->Reserve("a", 1);
  ASSERT_TRUE(reserved.ok());
  pipeline_->BeginDrain();
  RestoreRequest begun = Request(NoiseImage(9, 9, 1));
  reserved = pipeline_->Reserve("a", 2, *std::move(reserved));
  ASSERT_TRUE(reserved.ok()) << reserved.status();
  begun.reservation = *std::move(reserved);
  EXPECT_TRUE(Start(std::move(begun)).Wait().ok());
  EXPECT_EQ(ErrorReason(pipeline_->Reserve("a", 1).status()), "DRAINING");
  EXPECT_EQ(Series("deweather_restore_requests_total{code=\"UNAVAILABLE\"}"), 1);
}

}  // namespace
}  // namespace deweather
