// What goes wrong in a batch: only the culprit fails, and nothing stays behind.

#include <gmock/gmock.h>

#include <atomic>
#include <new>
#include <stdexcept>
#include <thread>

#include "model/base/device_failure.h"
#include "tests/restore/pipeline_fixture.h"

namespace deweather {
namespace {

using testing::HasSubstr;

constexpr int kFaults = 100;
constexpr uint8_t kCulprit = 255;  // every sample of the picture that brings the fault

class RestoreFaultsTest : public PipelineTest {
 protected:
  void SetUpFaults(std::function<void()> fault, FakeModel model = {}) {
    RestorePipelineOptions options{.workers = 2, .max_batch = 4, .window_tiles = 8};
    options.decorate_run = [fault = std::move(fault)](RunBatch run) -> RunBatch {
      return [fault, run = std::move(run)](absl::Span<const Tile> tiles) {
        for (const Tile& tile : tiles) {
          if (fault && IsCulprit(tile)) fault();
        }
        return run(tiles);
      };
    };
    options.on_device_failure = [this](const absl::Status& status) {
      ++failures_;
      failure_ = status;
    };
    SetUpPipeline(model, options);
  }

  static bool IsCulprit(const Tile& tile) {
    float pixel[3];
    tile.source->Gather({tile.rect.x, tile.rect.y, 1, 1}, pixel);
    return pixel[0] == 1.0f;
  }

  // A hundred culprits among as many good pictures: the culprits get `code`, all others their pixels.
  void ExpectOnlyCulpritsFail(absl::StatusCode code) {
    const Image good = NoiseImage(60, 50, 1);
    const std::string good_file = Png(good);
    const std::string bad_file = Png(PlainImage(60, 50, kCulprit));
    std::vector<Reply> good_replies;
    std::vector<Reply> bad_replies;
    for (int i = 0; i < kFaults; ++i) {
      good_replies.push_back(Start(good_file));
      bad_replies.push_back(Start(bad_file));
    }
    for (const Reply& reply : bad_replies) EXPECT_EQ(reply.Wait().status().code(), code);
    for (const Reply& reply : good_replies) {
      const absl::StatusOr<RestoreResult> result = reply.Wait();
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_EQ(SamplesOf(result->image), good.samples);
    }
    ExpectNothingLeft();
  }

  void ExpectNothingLeft() {
    while (pipeline_->in_flight() > 0) std::this_thread::yield();
    EXPECT_EQ(Series("deweather_queue_tiles"), 0);
    EXPECT_EQ(Series("deweather_inflight_requests"), 0);
    EXPECT_EQ(Series("deweather_inflight_bytes"), 0);
  }

  std::atomic<int> failures_ = 0;
  absl::Status failure_;
};

TEST_F(RestoreFaultsTest, AnExceptionBlamesOnlyTheCulprit) {
  SetUpFaults([] { throw std::runtime_error("planted"); });
  ExpectOnlyCulpritsFail(absl::StatusCode::kInternal);
}

TEST_F(RestoreFaultsTest, ANanBlamesOnlyTheCulprit) {
  SetUpFaults(nullptr, {.nan_for_white = true});
  ExpectOnlyCulpritsFail(absl::StatusCode::kInternal);
}

TEST_F(RestoreFaultsTest, OutOfMemoryBlamesOnlyTheCulprit) {
  SetUpFaults([] { throw std::bad_alloc(); });
  ExpectOnlyCulpritsFail(absl::StatusCode::kResourceExhausted);
}

TEST_F(RestoreFaultsTest, SlowBatchesHurtNobody) {
  std::atomic<int> slow = 0;
  SetUpFaults([&slow] {
    ++slow;
    for (int i = 0; i < 1000; ++i) std::this_thread::yield();
  });
  ExpectOnlyCulpritsFail(absl::StatusCode::kOk);
  EXPECT_GE(slow, kFaults);
}

TEST_F(RestoreFaultsTest, BatchesThatDoNotFitIntoMemoryAreHalved) {
  std::atomic<int> too_large = 0;
  FakeModel model;
  model.on_run = [&too_large](int batch) {
    if (batch <= 2) return;
    ++too_large;
    throw std::bad_alloc();
  };
  SetUpFaults(nullptr, model);
  const Image image = NoiseImage(300, 300, 1);
  const absl::StatusOr<RestoreResult> result = Restore(Png(image));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(SamplesOf(result->image), image.samples);
  EXPECT_GE(too_large, 1);
  EXPECT_LE(too_large, 3) << "the limit is remembered";
}

TEST_F(RestoreFaultsTest, ADeviceThatFailedIsReportedOnceAndNothingHangs) {
  std::atomic<int> runs = 0;
  RestorePipelineOptions options{.workers = 2, .max_batch = 4};
  options.decorate_run = [&runs](const RunBatch&) -> RunBatch {
    return [&runs](absl::Span<const Tile> tiles) {
      ++runs;
      return std::vector<absl::StatusOr<RestoredTile>>(
          tiles.size(), MarkDeviceFailure(absl::InternalError("illegal address")));
    };
  };
  options.on_device_failure = [this](const absl::Status& status) {
    ++failures_;
    failure_ = status;
  };
  SetUpPipeline(FakeModel{}, options);
  for (int i = 0; i < 5; ++i) {
    const absl::Status status = Restore(Png(NoiseImage(200, 200, 1))).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("illegal address"));
  }
  pipeline_.reset();
  EXPECT_EQ(failures_, 1);
  EXPECT_TRUE(IsDeviceFailure(failure_));
  EXPECT_EQ(runs, 1) << "nothing runs after it";
}

}  // namespace
}  // namespace deweather
