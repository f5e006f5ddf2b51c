#include "server/restore/restore.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <thread>

#include "absl/strings/str_cat.h"
#include "model/image/tiling.h"
#include "tests/restore/pipeline_fixture.h"

namespace deweather {
namespace {

class RestoreTest : public PipelineTest {};

struct SizeCase {
  int width;
  int height;
  int channels;
};

class RestoreSizeTest : public PipelineTest, public testing::WithParamInterface<SizeCase> {};

TEST_P(RestoreSizeTest, AnIdentityModelGivesThePictureBack) {
  SetUpPipeline(FakeModel{});
  const auto [width, height, channels] = GetParam();
  const Image image = NoiseImage(width, height, 1, channels);
  const auto result = Restore(Png(image));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->width, width);
  EXPECT_EQ(result->height, height);
  EXPECT_EQ(SamplesOf(result->image), image.samples);
}

INSTANTIATE_TEST_SUITE_P(Sizes, RestoreSizeTest,
                         testing::Values(SizeCase{1, 1, 3}, SizeCase{32, 32, 3},
                                         SizeCase{33, 31, 3}, SizeCase{200, 7, 3},
                                         SizeCase{481, 321, 3}, SizeCase{100, 60, 1},
                                         SizeCase{100, 60, 4}));

TEST_F(RestoreTest, TheBuiltInIdentityModelServes) {
  SetUpPipeline(RestorePipelineOptions{});
  ASSERT_TRUE(models_.Load("identity", pipeline_->batch_sizes(), pipeline_->executor()).ok());
  const Image image = NoiseImage(300, 260, 2);
  const auto result = Restore(Png(image));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->model, "identity");
  EXPECT_EQ(SamplesOf(result->image), image.samples);
}

TEST_F(RestoreTest, TheReplySaysWhatWasDone) {
  SetUpPipeline({.name = "rain", .version = "abc"});
  const auto result = Restore(Png(NoiseImage(100, 70, 3)));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->model, "rain");
  EXPECT_EQ(result->version, "abc");
  EXPECT_EQ(result->format, ImageFormat::kPng);
  EXPECT_TRUE(result->expert_map_png.empty());
  const StageTimings& timings = result->timings;
  EXPECT_EQ(timings.tiles, TileGrid(100, 70, FakeModel{}.tile).size());
  EXPECT_GE(timings.batches, timings.tiles / 4);
  EXPECT_LE(timings.batches, timings.tiles);
  EXPECT_GT(timings.decode, absl::ZeroDuration());
  EXPECT_GT(timings.infer, absl::ZeroDuration());
  EXPECT_GT(timings.encode, absl::ZeroDuration());
  EXPECT_GE(timings.total, timings.decode + timings.encode);
}

TEST_F(RestoreTest, TheModelsPixelsAreTheReplys) {
  SetUpPipeline({.gain = 0.5f});
  const auto result = Restore(Png(PlainImage(100, 70, 200)));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(SamplesOf(result->image), testing::Each(100));
}

TEST_F(RestoreTest, StrengthMixesWithTheInput) {
  SetUpPipeline({.gain = 0.5f});
  for (const auto& [strength, expected] : {std::pair(0.0f, 200), {0.5f, 150}, {1.0f, 100}}) {
    const auto result = Restore(Png(PlainImage(40, 40, 200)), {.strength = strength});
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_THAT(SamplesOf(result->image), testing::Each(expected)) << strength;
  }
}

TEST_F(RestoreTest, FormatAndQualityAreTheCallers) {
  SetUpPipeline(FakeModel{});
  const std::string image = Png(NoiseImage(64, 48, 4));
  const auto good = Restore(image, {.format = ImageFormat::kJpeg, .quality = 95});
  const auto poor = Restore(image, {.format = ImageFormat::kJpeg, .quality = 10});
  ASSERT_TRUE(good.ok() && poor.ok());
  EXPECT_EQ(good->format, ImageFormat::kJpeg);
  EXPECT_EQ(ReadImageInfo(good->image, {})->format, ImageFormat::kJpeg);
  EXPECT_LT(poor->image.size(), good->image.size());
}

TEST_F(RestoreTest, AModelIsChosenByName) {
  SetUpPipeline({.name = "rain"});
  Install(models_, {.name = "dark", .gain = 0.0f}, pipeline_->executor());
  const std::string image = Png(PlainImage(8, 8, 200));
  EXPECT_THAT(SamplesOf(Restore(image, {.model = "dark"})->image), testing::Each(0));
  EXPECT_EQ(Restore(image, {.model = "default"})->model, "rain");
  EXPECT_EQ(Restore(image)->model, "rain");
}

TEST_F(RestoreTest, PicturesInOneBatchDoNotMix) {
  Gate gate;
  SetUpPipeline({.on_run = gate.OnRun()}, {.workers = 2, .max_batch = 8, .window_tiles = 16});
  std::vector<Image> images;
  std::vector<Reply> replies;
  for (int i = 0; i < 12; ++i) {
    images.push_back(NoiseImage(40 + 17 * i, 150 - 9 * i, static_cast<uint32_t>(i)));
    replies.push_back(Start(Png(images.back())));
  }
  gate.AwaitModel();
  gate.Open();
  for (size_t i = 0; i < images.size(); ++i) {
    const auto result = replies[i].Wait();
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(SamplesOf(result->image), images[i].samples) << i;
  }
}

TEST_F(RestoreTest, OutstandingTilesNeverExceedTheWindow) {
  constexpr int kWindow = 5;
  std::atomic<int> most = 0;
  std::atomic<int> runs = 0;
  SetUpPipeline({.on_run =
                     [&](int batch) {
                       const auto waiting = static_cast<int>(Series("deweather_queue_tiles"));
                       most = std::max(most.load(), waiting + batch);
                       ++runs;
                     }},
                {.workers = 2, .max_batch = 4, .window_tiles = kWindow});
  const auto result = Restore(Png(NoiseImage(700, 500, 5)));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GT(result->timings.tiles, 500);
  EXPECT_EQ(most, kWindow);
  EXPECT_GE(runs, result->timings.tiles / 4);
}

TEST_F(RestoreTest, AVersionIsPinnedUntilTheEnd) {
  Gate gate;
  SetUpPipeline({.version = "1", .gain = 0.5f, .on_run = gate.OnRun()});
  const Reply reply = Start(Png(PlainImage(300, 200, 200)));
  gate.AwaitModel();
  Install(models_, {.version = "2", .gain = 0.0f}, pipeline_->executor());
  gate.Open();
  const auto result = reply.Wait();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->version, "1");
  EXPECT_THAT(SamplesOf(result->image), testing::Each(100)) << "no tile of version 2";
  EXPECT_EQ(Restore(Png(PlainImage(8, 8, 200)))->version, "2");
}

TEST_F(RestoreTest, ARetiredVersionIsFreedOnTheExecutor) {
  std::thread::id executor;
  std::thread::id freed;
  std::shared_ptr<void> life(nullptr, [&freed](void*) { freed = std::this_thread::get_id(); });
  Gate gate;
  SetUpPipeline({.version = "1",
                 .on_run =
                     [&executor, wait = gate.OnRun()](int batch) {
                       executor = std::this_thread::get_id();
                       wait(batch);
                     },
                 .life = std::move(life)});
  const Reply reply = Start(Png(NoiseImage(100, 100, 6)));
  gate.AwaitModel();
  Install(models_, {.version = "2"}, pipeline_->executor());
  gate.Open();
  ASSERT_TRUE(reply.Wait().ok());
  pipeline_.reset();
  EXPECT_EQ(freed, executor);
}

TEST_F(RestoreTest, TokensOfALayerAddUpInReplyAndMetrics) {
  constexpr int kLayers = 2;
  constexpr int kExperts = 5;
  constexpr int kKept = 2;
  SetUpPipeline({.layers = kLayers, .experts = kExperts, .kept = kKept});
  std::vector<Reply> replies;
  replies.reserve(3);
  for (int i = 0; i < 3; ++i) {
    replies.push_back(Start(Png(NoiseImage(90 + 31 * i, 70, static_cast<uint32_t>(i)))));
  }
  std::vector<int64_t> sums(size_t{kLayers} * kExperts);
  for (const Reply& reply : replies) {
    const auto result = reply.Wait();
    ASSERT_TRUE(result.ok()) << result.status();
    const RoutingSummary& routing = result->routing;
    EXPECT_EQ(routing.tiles, result->timings.tiles);
    EXPECT_EQ(routing.units, routing.tiles * (32 / 8) * (32 / 8));
    for (ptrdiff_t layer = 0; layer < kLayers; ++layer) {
      const auto row = routing.tokens.begin() + layer * kExperts;
      EXPECT_EQ(std::accumulate(row, row + kExperts, int64_t{0}), routing.units * kKept);
      const auto gate = routing.gate.begin() + layer * kExperts;
      EXPECT_NEAR(std::accumulate(gate, gate + kExperts, 0.0), routing.units, 1e-6);
    }
    EXPECT_THAT(routing.entropy, testing::ElementsAre(0.5, 0.5));
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += routing.tokens[i];
  }
  for (int cell = 0; cell < kLayers * kExperts; ++cell) {
    const std::string name = absl::StrCat("deweather_expert_tokens_total{expert=\"",
                                          cell % kExperts, "\",layer=\"", cell / kExperts, "\"}");
    EXPECT_EQ(Series(name), sums[static_cast<size_t>(cell)]) << name;
  }
}

TEST_F(RestoreTest, TheExpertMapShowsWhoWorkedWhere) {
  SetUpPipeline({.layers = 1, .experts = 4, .kept = 1});
  Image image = PlainImage(120, 61, 10);  // expert 0 on the left, 3 on the right of column 64
  for (int y = 0; y < image.height; ++y) {
    for (int x = 64 * 3; x < 120 * 3; ++x) {
      image.samples[static_cast<size_t>(y) * image.row_bytes() + static_cast<size_t>(x)] = 250;
    }
  }
  const auto result = Restore(Png(image), {.expert_map = true});
  ASSERT_TRUE(result.ok()) << result.status();
  const Image map = DecodeImage(result->expert_map_png, {}).value();
  EXPECT_EQ(map.width, 15);
  EXPECT_EQ(map.height, 8);
  EXPECT_EQ(map.channels, 1);
  for (int y = 0; y < map.height; ++y) {
    for (int x = 0; x < map.width; ++x) {
      if (x >= 7 && x <= 8) continue;  // a token of a tile that begins between two cells
      EXPECT_EQ(map.samples[static_cast<size_t>(y * map.width + x)], x < 8 ? 0 : 3)
          << x << "," << y;
    }
  }
  EXPECT_TRUE(Restore(Png(image))->expert_map_png.empty()) << "nobody asked";
}

TEST_F(RestoreTest, CountsAndTimesGoToTheMetrics) {
  SetUpPipeline(FakeModel{});
  const auto result = Restore(Png(NoiseImage(100, 100, 7)));
  ASSERT_TRUE(result.ok()) << result.status();
  pipeline_.reset();
  EXPECT_EQ(Series("deweather_restore_requests_total{code=\"OK\"}"), 1);
  EXPECT_EQ(Series("deweather_restore_seconds_count{priority=\"normal\"}"), 1);
  EXPECT_EQ(Series("deweather_stage_seconds_count{stage=\"decode\"}"), 1);
  EXPECT_EQ(Series("deweather_stage_seconds_count{stage=\"encode\"}"), 1);
  EXPECT_EQ(Series("deweather_stage_seconds_count{stage=\"queue\"}"), result->timings.tiles);
  EXPECT_EQ(Series("deweather_stage_seconds_count{stage=\"blend\"}"), result->timings.tiles);
  EXPECT_EQ(Series("deweather_stage_seconds_count{stage=\"infer\"}"), result->timings.batches);
  EXPECT_EQ(Series("deweather_batch_tiles_sum"), result->timings.tiles);
  EXPECT_EQ(Series("deweather_queue_tiles"), 0);
  EXPECT_EQ(Series("deweather_batch_padding_tiles_total"), 0);
}

TEST_F(RestoreTest, TimesOfBackgroundRequestsAreCountedApart) {
  SetUpPipeline(FakeModel{});
  ASSERT_TRUE(Restore(Png(PlainImage(40, 40, 200)), {.priority = Priority::kBackground}).ok());
  EXPECT_EQ(Series("deweather_restore_seconds_count{priority=\"normal\"}"), 0);
  EXPECT_EQ(Series("deweather_restore_seconds_count{priority=\"background\"}"), 1);
}

TEST_F(RestoreTest, BatchSizesAreTheQuantisedOnes) {
  SetUpPipeline(RestorePipelineOptions{.max_batch = 6});
  EXPECT_THAT(pipeline_->batch_sizes(), testing::ElementsAre(1, 2, 4, 6));
}

TEST_F(RestoreTest, AWholeImageModelGetsOneTile) {
  std::atomic<int> runs = 0;
  SetUpPipeline({.tile = {.multiple_px = 8, .tile_px = 32, .overlap_px = 8, .whole_image = true},
                 .on_run = [&runs](int) { ++runs; }});
  const Image image = NoiseImage(101, 67, 8);
  const auto result = Restore(Png(image));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(SamplesOf(result->image), image.samples);
}

}  // namespace
}  // namespace deweather
