// A pipeline over a fake model, pictures to send, and replies to wait for.

#ifndef DEWEATHER_TESTS_RESTORE_PIPELINE_FIXTURE_H_
#define DEWEATHER_TESTS_RESTORE_PIPELINE_FIXTURE_H_

#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "model/base/mutex.h"
#include "model/image/codec.h"
#include "server/restore/live_models.h"
#include "server/restore/metrics.h"
#include "server/restore/restore.h"
#include "tests/batch/signal.h"
#include "tests/restore/fake_model.h"

namespace deweather {

inline Image NoiseImage(int width, int height, uint32_t seed, int channels = 3) {
  Image image;
  image.width = width;
  image.height = height;
  image.channels = channels;
  image.samples.resize(image.row_bytes() * static_cast<size_t>(height));
  std::mt19937 random(seed);
  for (uint8_t& sample : image.samples) sample = static_cast<uint8_t>(random() % 255);  // not white
  return image;
}

inline Image PlainImage(int width, int height, uint8_t value) {
  Image image;
  image.width = width;
  image.height = height;
  image.samples.assign(image.row_bytes() * static_cast<size_t>(height), value);
  return image;
}

inline std::string Png(const Image& image) {
  return EncodeImage(image, {.format = ImageFormat::kPng}).value();
}

inline std::vector<uint8_t> SamplesOf(const std::string& file) {
  return DecodeImage(file, {}).value().samples;
}

// What one request got. Copies share it.
class Reply {
 public:
  RestoreDone Done() const {
    return [state = state_](absl::StatusOr<RestoreResult> result) {
      MutexLock lock(state->mutex);
      ++state->calls;
      state->result = std::move(result);
      state->changed.NotifyAll();
    };
  }
  absl::StatusOr<RestoreResult> Wait() const {
    MutexLock lock(state_->mutex);
    while (state_->calls == 0) state_->changed.Wait(state_->mutex);
    return state_->result;
  }
  int calls() const {
    MutexLock lock(state_->mutex);
    return state_->calls;
  }

 private:
  struct State {
    Mutex mutex;
    CondVar changed;
    int calls ABSL_GUARDED_BY(mutex) = 0;
    absl::StatusOr<RestoreResult> result ABSL_GUARDED_BY(mutex) = absl::UnknownError("none");
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

// Stops the model in its first run until it is opened. What OnRun gives outlives the gate.
class Gate {
 public:
  std::function<void(int)> OnRun() const {
    return [reached = reached_, opened = opened_, passed = std::make_shared<bool>(false)](int) {
      if (std::exchange(*passed, true)) return;
      reached.Raise();
      opened.Wait();
    };
  }
  void AwaitModel() const { reached_.Wait(); }
  void Open() const { opened_.Raise(); }

 private:
  Signal reached_;
  Signal opened_;
};

class PipelineTest : public testing::Test {
 protected:
  // Makes the pipeline with a model, or without.
  void SetUpPipeline(const RestorePipelineOptions& options) {
    pipeline_ = std::make_unique<RestorePipeline>(options, models_, metrics_);
  }
  void SetUpPipeline(const FakeModel& model, const RestorePipelineOptions& options = {
                                                 .workers = 2, .max_batch = 4, .window_tiles = 8}) {
    SetUpPipeline(options);
    Install(models_, model, pipeline_->executor());
  }
  // Waits until all memory and tiles of the requests are given back.
  void TearDown() override { pipeline_.reset(); }

  Reply Start(RestoreRequest request) {
    const Reply reply;
    pipeline_->Start(std::move(request), reply.Done());
    return reply;
  }
  Reply Start(std::string image, RestoreOptions options = {}) {
    RestoreRequest request;
    request.image = std::move(image);
    request.options = std::move(options);
    return Start(std::move(request));
  }
  absl::StatusOr<RestoreResult> Restore(std::string image, RestoreOptions options = {}) {
    return Start(std::move(image), std::move(options)).Wait();
  }

  // Value of a series in /metrics, written as there.
  double Series(const std::string& name) const {
    const std::string text = "\n" + prometheus::TextSerializer().Serialize(metrics_.Collect());
    const size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
  }

  Metrics metrics_{{}};
  LiveModels models_{{}, metrics_};
  std::unique_ptr<RestorePipeline> pipeline_;
};

}  // namespace deweather

#endif  // DEWEATHER_TESTS_RESTORE_PIPELINE_FIXTURE_H_
