#include "server/rpc/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/base/error_reason.h"

namespace deweather {
namespace {

using ::testing::ElementsAre;

TEST(ToOptionsTest, EmptyMessageIsTheDefaults) {
  const auto options = ToOptions(v1::RestoreOptions());
  ASSERT_TRUE(options.ok());
  const RestoreOptions defaults;
  EXPECT_EQ(options->model, defaults.model);
  EXPECT_EQ(options->format, defaults.format);
  EXPECT_EQ(options->quality, defaults.quality);
  EXPECT_EQ(options->metadata, defaults.metadata);
  EXPECT_EQ(options->strength, 1.0f);
  EXPECT_FALSE(options->expert_map);
  EXPECT_EQ(options->priority, Priority::kNormal);
  EXPECT_EQ(options->task, "");
  EXPECT_FALSE(options->uncertainty_map);
  EXPECT_EQ(options->seed, 0u);
}

TEST(ToOptionsTest, EveryFieldArrives) {
  v1::RestoreOptions message;
  message.set_model("m");
  message.set_format(v1::RestoreOptions::FORMAT_TIFF);
  message.set_quality(7);
  message.set_metadata_policy(v1::RestoreOptions::METADATA_POLICY_STRIP);
  message.set_strength(0);
  message.set_expert_map(true);
  message.set_priority(v1::RestoreOptions::PRIORITY_BACKGROUND);
  message.set_task("snow");
  message.set_uncertainty_map(true);
  message.set_seed(~uint64_t{0});
  const auto options = ToOptions(message);
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->model, "m");
  EXPECT_EQ(options->format, ImageFormat::kTiff);
  EXPECT_EQ(options->quality, 7);
  EXPECT_EQ(options->metadata, MetadataPolicy::kStrip);
  EXPECT_EQ(options->strength, 0.0f);
  EXPECT_TRUE(options->expert_map);
  EXPECT_EQ(options->priority, Priority::kBackground);
  EXPECT_EQ(options->task, "snow");
  EXPECT_TRUE(options->uncertainty_map);
  EXPECT_EQ(options->seed, ~uint64_t{0});
}

TEST(ToOptionsTest, EveryFormatSurvivesTheRoundTrip) {
  for (int number = 1; number <= v1::RestoreOptions::Format_MAX; ++number) {
    v1::RestoreOptions message;
    message.set_format(static_cast<v1::RestoreOptions::Format>(number));
    RestoreResult result;
    result.format = ToOptions(message).value().format.value();
    v1::RestoreResponse response;
    ToMessage(std::move(result), &response);
    EXPECT_EQ(response.format(), number);
  }
}

TEST(ToOptionsTest, UnknownFormatIsAnInvalidOption) {
  v1::RestoreOptions message;
  message.set_format(static_cast<v1::RestoreOptions::Format>(1000));
  const absl::Status status = ToOptions(message).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "format is 1000; it must be in 0..5");
  EXPECT_EQ(ErrorReason(status), "INVALID_OPTION");
}

TEST(ToOptionsTest, UnknownPriorityIsAnInvalidOption) {
  v1::RestoreOptions message;
  message.set_priority(static_cast<v1::RestoreOptions::Priority>(3));
  EXPECT_EQ(ToOptions(message).status().message(), "priority is 3; it must be in 0..2");
}

TEST(ToMessageTest, ErrorOfAFrame) {
  const absl::Status full = WithReason(absl::ResourceExhaustedError("full"), "BYTE_BUDGET");
  v1::FrameError message;
  ToMessage(full, &message);
  EXPECT_EQ(message.code(), 8);
  EXPECT_EQ(message.message(), "full");
  EXPECT_EQ(message.reason(), "BYTE_BUDGET");
  EXPECT_FALSE(message.has_retry_delay());
  ToMessage(WithRetryDelay(full, absl::Milliseconds(1500)), &message);
  EXPECT_EQ(message.retry_delay().seconds(), 1);
  EXPECT_EQ(message.retry_delay().nanos(), 500'000'000);
}

TEST(ToMessageTest, EveryFieldArrives) {
  RestoreResult result;
  result.image = "pixels";
  result.format = ImageFormat::kWebp;
  result.width = 3;
  result.height = 4;
  result.model = "m";
  result.version = "v";
  result.expert_map_png = "map";
  result.uncertainty_map_png = "how sure";
  result.timings = {.decode = absl::Milliseconds(1),
                    .queue = absl::Milliseconds(2),
                    .infer = absl::Milliseconds(3),
                    .blend = absl::Milliseconds(4),
                    .encode = absl::Milliseconds(5),
                    .total = absl::Seconds(6) + absl::Nanoseconds(7),
                    .tiles = 8,
                    .batches = 9};
  v1::RestoreResponse message;
  ToMessage(std::move(result), &message);
  EXPECT_EQ(message.image(), "pixels");
  EXPECT_EQ(message.format(), v1::RestoreOptions::FORMAT_WEBP);
  EXPECT_EQ(message.width_px(), 3);
  EXPECT_EQ(message.height_px(), 4);
  EXPECT_EQ(message.model().name(), "m");
  EXPECT_EQ(message.model().version(), "v");
  EXPECT_EQ(message.expert_map(), "map");
  EXPECT_EQ(message.uncertainty_map(), "how sure");
  EXPECT_FALSE(message.has_routing());
  const v1::Timings& timings = message.timings();
  EXPECT_EQ(timings.decode().nanos(), 1'000'000);
  EXPECT_EQ(timings.queue().nanos(), 2'000'000);
  EXPECT_EQ(timings.infer().nanos(), 3'000'000);
  EXPECT_EQ(timings.blend().nanos(), 4'000'000);
  EXPECT_EQ(timings.encode().nanos(), 5'000'000);
  EXPECT_EQ(timings.total().seconds(), 6);
  EXPECT_EQ(timings.total().nanos(), 7);
  EXPECT_EQ(timings.tiles(), 8);
  EXPECT_EQ(timings.batches(), 9);
}

TEST(ToMessageTest, RoutingIsCutIntoLayers) {
  RestoreResult result;
  result.routing = {.layers = 2,
                    .experts = 3,
                    .layer_experts = {3, 2},
                    .kept = 1,
                    .per_image = false,
                    .unit_px = 12,
                    .tiles = 1,
                    .units = 6,
                    .tokens = {1, 2, 3, 4, 2, 0},
                    .gate = {0.1, 0.2, 0.3, 0.4, 0.5, 0},
                    .entropy = {0.7, 0.8},
                    .uncertainty = {0.01, 0.02}};
  v1::RestoreResponse message;
  ToMessage(std::move(result), &message);
  const v1::Routing& routing = message.routing();
  EXPECT_EQ(routing.unit(), v1::Routing::UNIT_TOKEN);
  EXPECT_EQ(routing.units(), 6);
  EXPECT_EQ(routing.kept(), 1);
  EXPECT_EQ(routing.unit_px(), 12);
  ASSERT_EQ(routing.layers_size(), 2);
  EXPECT_THAT(routing.layers(0).tokens(), ElementsAre(1, 2, 3));
  EXPECT_THAT(routing.layers(1).tokens(), ElementsAre(4, 2));
  EXPECT_THAT(routing.layers(1).gate(), ElementsAre(0.4, 0.5));
  EXPECT_EQ(routing.layers(0).entropy_ratio(), 0.7);
  EXPECT_EQ(routing.layers(1).entropy_ratio(), 0.8);
  EXPECT_EQ(routing.layers(1).uncertainty(), 0.02);
}

}  // namespace
}  // namespace deweather
