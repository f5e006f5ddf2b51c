// Maps of the router's uncertainty and models with a gate for each task, whose tiles share batches.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "model/base/random_key.h"
#include "tests/new_folder.h"
#include "tests/restore/pipeline_fixture.h"
#include "tests/restore/stored_models.h"

namespace deweather {
namespace {

using testing::Each;

constexpr int kTokens = (32 / 8) * (32 / 8);  // of a tile of FakeModel

FakeModel Routed() { return {.layers = 2, .experts = 4, .kept = 1}; }

std::vector<uint16_t> Samples16(const std::string& png) {
  const Image image = DecodeImage(png, {}).value();
  EXPECT_EQ(image.channels, 1);
  EXPECT_EQ(image.bytes_per_sample, 2);
  std::vector<uint16_t> samples(image.samples.size() / 2);
  std::memcpy(samples.data(), image.samples.data(), image.samples.size());
  return samples;
}

class UncertaintyTest : public PipelineTest {
 protected:
  // The same picture always.
  RestoreResult Map(uint64_t seed = 0) {
    auto result = Restore(picture_, {.seed = seed, .uncertainty_map = true});
    EXPECT_TRUE(result.ok()) << result.status();
    return *std::move(result);
  }
  static void ExpectSame(const RestoreResult& a, const RestoreResult& b) {
    EXPECT_EQ(a.uncertainty_map_png, b.uncertainty_map_png);
    EXPECT_EQ(a.routing.uncertainty, b.routing.uncertainty);
    EXPECT_EQ(a.image, b.image);
  }
  // Others' requests: pictures, seeds and sizes of their own, every second one without a map.
  std::vector<Reply> StartOthers(int count) {
    std::vector<Reply> replies;
    for (int i = 0; i < count; ++i) {
      const auto seed = static_cast<uint32_t>(i);
      replies.push_back(Start(Png(NoiseImage(40 + 13 * i, 60, seed)),
                              {.seed = seed, .uncertainty_map = i % 2 == 0}));
    }
    return replies;
  }
  static void ExpectAllGood(const std::vector<Reply>& replies) {
    for (const Reply& reply : replies) {
      const auto result = reply.Wait();
      EXPECT_TRUE(result.ok()) << result.status();
    }
  }

  const std::string picture_ = Png(NoiseImage(150, 101, 77));
};

TEST_F(UncertaintyTest, TheMapIsTheMeanOverLayersByTheTilesKey) {
  SetUpPipeline(Routed());
  const auto result = Restore(Png(NoiseImage(32, 32, 1)), {.seed = 9, .uncertainty_map = true});
  ASSERT_TRUE(result.ok()) << result.status();
  const std::vector<uint16_t> map = Samples16(result->uncertainty_map_png);
  ASSERT_EQ(map.size(), kTokens);
  const uint64_t key = RandomKey({9, 0, 0});
  double second = 0;
  for (int token = 0; token < kTokens; ++token) {
    const float mean = (FakeUncertainty(key, 0, token) + FakeUncertainty(key, 1, token)) / 2;
    EXPECT_EQ(map[static_cast<size_t>(token)], std::round(mean * 65535)) << token;
    second += FakeUncertainty(key, 1, token) / kTokens;
  }
  ASSERT_EQ(result->routing.uncertainty.size(), 2u);
  EXPECT_NEAR(result->routing.uncertainty[1], second, 1e-9);
  EXPECT_NEAR(Series("deweather_router_uncertainty{layer=\"1\"}"), second, 1e-6);
}

TEST_F(UncertaintyTest, OnlyWhoAsksGetsAMapAndThePictureIsTheSame) {
  SetUpPipeline(Routed());
  const RestoreResult asked = Map();
  const auto plain = Restore(picture_);
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(plain->uncertainty_map_png, "");
  EXPECT_THAT(plain->routing.uncertainty, testing::IsEmpty());
  EXPECT_EQ(plain->image, asked.image);
  EXPECT_EQ(plain->routing.tokens, asked.routing.tokens);
  EXPECT_EQ(ReadImageInfo(asked.uncertainty_map_png, {})->width, 19);
  EXPECT_EQ(ReadImageInfo(asked.uncertainty_map_png, {})->height, 13);
}

TEST_F(UncertaintyTest, ASeedHasAMapOfItsOwn) {
  SetUpPipeline(Routed());
  const RestoreResult zero = Map(), one = Map(1), most = Map(~uint64_t{0});
  EXPECT_NE(zero.uncertainty_map_png, one.uncertainty_map_png);
  EXPECT_NE(zero.uncertainty_map_png, most.uncertainty_map_png);
  EXPECT_EQ(zero.image, one.image);
}

TEST_F(UncertaintyTest, AloneAndInCompanyItIsTheSame) {
  std::atomic<int> shared = 0;
  RestorePipelineOptions options{.workers = 2, .max_batch = 8, .window_tiles = 16};
  options.decorate_run = [&shared](RunBatch run) -> RunBatch {
    return [&shared, run = std::move(run)](absl::Span<const Tile> tiles) {
      shared += tiles.front().uncertainty && tiles.front().call != tiles.back().call ? 1 : 0;
      return run(tiles);
    };
  };
  SetUpPipeline(Routed(), options);
  const RestoreResult alone = Map(5);
  for (int repeat = 0; repeat < 20; ++repeat) {
    const Signal open;
    pipeline_->executor()([open] { open.Wait(); });
    const std::vector<Reply> others = StartOthers(6);
    const Reply mine = Start(picture_, {.seed = 5, .uncertainty_map = true});
    while (Series("deweather_queue_tiles") < 60) std::this_thread::yield();
    shared = 0;
    open.Raise();
    ExpectSame(*mine.Wait(), alone);
    ExpectAllGood(others);
    EXPECT_GT(shared, 0);
  }
}

TEST_F(UncertaintyTest, WhoWantsNoMapPaysForNone) {
  std::atomic<int> mixed = 0;
  RestorePipelineOptions options{.workers = 2, .max_batch = 8, .window_tiles = 16};
  options.decorate_run = [&mixed](RunBatch run) -> RunBatch {
    return [&mixed, run = std::move(run)](absl::Span<const Tile> tiles) {
      for (const Tile& tile : tiles) mixed += tile.uncertainty != tiles.front().uncertainty ? 1 : 0;
      return run(tiles);
    };
  };
  SetUpPipeline(Routed(), options);
  ExpectAllGood(StartOthers(8));
  EXPECT_EQ(mixed, 0);
}

TEST_F(UncertaintyTest, WhatRunsAgainAloneKeepsItsKey) {
  std::atomic<int> failed = 0;
  RestorePipelineOptions options{.workers = 2, .max_batch = 4, .window_tiles = 8};
  options.decorate_run = [&failed](RunBatch run) -> RunBatch {
    return [&failed, run = std::move(run)](absl::Span<const Tile> tiles) {
      if (tiles.size() > 1 && failed++ % 2 == 0) throw std::runtime_error("planted");
      if (tiles.size() > 2) throw std::bad_alloc();
      return run(tiles);
    };
  };
  SetUpPipeline(Routed(), options);
  const RestoreResult broken = Map(3);
  EXPECT_GT(failed, 0);
  failed = 0;
  pipeline_.reset();
  SetUpPipeline(Routed());
  ExpectSame(broken, Map(3));
}

TEST_F(UncertaintyTest, TheReplysSizeHoldsTheMap) {
  SetUpPipeline(Routed());
  const RestoreResult whole = Map();
  const auto reply_size = whole.image.size() + whole.uncertainty_map_png.size();
  for (const int64_t missing : {0, 1}) {
    RestoreRequest request;
    request.image = picture_;
    request.options.uncertainty_map = true;
    request.max_reply_bytes = static_cast<int64_t>(reply_size) - missing;
    const absl::Status status = Start(std::move(request)).Wait().status();
    EXPECT_EQ(ErrorReason(status), missing == 0 ? "OK" : "REPLY_SIZE");
  }
}

TEST_F(UncertaintyTest, MapsHaveALimitOfTheirOwn) {
  SetUpPipeline(Routed());
  const auto size = static_cast<int64_t>(Map().uncertainty_map_png.size());
  for (const int64_t missing : {0, 1}) {
    RestoreRequest request;
    request.image = picture_;
    request.options.uncertainty_map = true;
    request.max_map_bytes = size - missing;
    const absl::Status status = Start(std::move(request)).Wait().status();
    EXPECT_EQ(ErrorReason(status), missing == 0 ? "OK" : "REPLY_SIZE");
  }
}

TEST_F(UncertaintyTest, LayersMayDifferInTheirExperts) {
  SetUpPipeline({.layers = 2, .experts = 4, .experts_by_layer = {2, 4}, .kept = 2});
  const RestoreResult result = Map();
  const RoutingSummary& routing = result.routing;
  EXPECT_THAT(routing.layer_experts, testing::ElementsAre(2, 4));
  for (const size_t layer : {0, 1}) {
    int64_t sum = 0;
    for (size_t i = 4 * layer; i < 4 * layer + 4; ++i) sum += routing.tokens[i];
    EXPECT_EQ(sum, routing.units * routing.kept);
  }
  EXPECT_EQ(Series("deweather_expert_tokens_total{expert=\"1\",layer=\"0\"}"), routing.tokens[1]);
  EXPECT_EQ(Series("deweather_expert_tokens_total{expert=\"2\",layer=\"0\"}"), -1) << "it is not";
}

// The fake shifts experts by the task's number.
TEST_F(UncertaintyTest, TasksShareABatchAndDoNotMix) {
  FakeModel model{.layers = 1, .experts = 4, .kept = 1, .tasks = {"rain", "snow", "haze"}};
  Gate gate;
  std::atomic<int> largest = 0;
  model.on_run = [&largest, wait = gate.OnRun()](int batch) {
    largest = std::max(largest.load(), batch);
    wait(batch);
  };
  SetUpPipeline(model, {.workers = 2, .max_batch = 8, .window_tiles = 16});
  const std::string dark = Png(PlainImage(32, 32, 10));  // expert 0 of task 0
  std::vector<Reply> replies;
  for (int i = 0; i < 30; ++i) {
    replies.push_back(Start(dark, {.task = model.tasks[static_cast<size_t>(i % 3)],
                                   .expert_map = true,
                                   .uncertainty_map = i % 4 == 0}));
  }
  gate.AwaitModel();
  gate.Open();
  for (size_t i = 0; i < replies.size(); ++i) {
    const auto result = replies[i].Wait();
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_THAT(SamplesOf(result->expert_map_png), Each(i % 3)) << i;
    EXPECT_EQ(result->uncertainty_map_png.empty(), i % 4 != 0);
  }
  EXPECT_GT(largest, 1);
}

// A live version without tasks, and one with them on trial for half of the requests.
TEST(GatedCanaryTest, OptionsAreCheckedAgainstTheVersionThatIsPinned) {
  const std::string folder = NewFolder();
  const std::string plain = StoreFixture(folder, "tiny", "fme");
  const std::string gated = StoreGatedModel(folder, "tiny", {"rain", "snow"});
  Metrics metrics({});
  LiveModels models({.store = folder, .device = "cpu", .threads = 1}, metrics);
  RestorePipeline pipeline({.workers = 1, .max_batch = 2}, models, metrics);
  ASSERT_TRUE(models.Promote("tiny", plain, {1, 2}, pipeline.executor()).ok());
  ASSERT_TRUE(
      models.Promote("tiny", gated, {1, 2}, pipeline.executor(), {}, {.canary_percent = 50}).ok());
  EXPECT_THAT(models.StatusOf("tiny")->canary_tasks, testing::ElementsAre("rain", "snow"));
  for (const char* const task : {"", "rain"}) {
    EXPECT_TRUE(pipeline.CheckOptions({.task = task}).ok()) << "one of the two takes it";
    int good = 0;
    for (int i = 0; i < 10; ++i) {
      const Reply reply;
      RestoreRequest request;
      request.image = Png(NoiseImage(16, 16, 1));
      request.options.task = task;
      pipeline.Start(std::move(request), reply.Done());
      const auto result = reply.Wait();
      if (!result.ok()) {
        EXPECT_EQ(ErrorReason(result.status()),
                  *task == 0 ? "TASK_REQUIRED" : "UNSUPPORTED_OPTION");
        continue;
      }
      ++good;
      EXPECT_EQ(result->version, *task == 0 ? plain : gated);
    }
    EXPECT_NEAR(good, 5, 1);
  }
  EXPECT_EQ(ErrorReason(pipeline.CheckOptions({.task = "fog"})), "UNSUPPORTED_OPTION");
}

}  // namespace
}  // namespace deweather
