// A server in this process, on a free loopback port, over the real pipeline.

#ifndef DEWEATHER_TESTS_RPC_RPC_FIXTURE_H_
#define DEWEATHER_TESTS_RPC_RPC_FIXTURE_H_

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "deweather/v1/restoration.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "model/image/codec.h"
#include "server/restore/live_models.h"
#include "server/restore/metrics.h"
#include "server/restore/restore.h"
#include "server/rpc/restoration_service.h"
#include "server/rpc/rpc_server.h"
#include "tests/batch/signal.h"
#include "tests/restore/fake_model.h"

namespace deweather {

inline Image NoiseImage(int width, int height, int channels = 3) {
  Image image;
  image.width = width;
  image.height = height;
  image.channels = channels;
  image.samples.resize(image.row_bytes() * static_cast<size_t>(height));
  std::mt19937 random(7);
  for (uint8_t& sample : image.samples) sample = static_cast<uint8_t>(random());
  return image;
}

inline std::string Png(const Image& image) {
  return EncodeImage(image, {.format = ImageFormat::kPng}).value();
}

// The detail of that type; an empty one if there is none.
template <typename Detail>
Detail DetailOf(const grpc::Status& status) {
  google::rpc::Status message;
  EXPECT_TRUE(message.ParseFromString(status.error_details()));
  Detail detail;
  for (const google::protobuf::Any& any : message.details()) {
    if (any.UnpackTo(&detail)) return detail;
  }
  return detail;
}

inline std::string ReasonOf(const grpc::Status& status) {
  return DetailOf<google::rpc::ErrorInfo>(status).reason();
}

// Stops the model in each run until it is opened, then never again.
class ModelGate {
 public:
  std::function<void(int)> OnRun() {
    return [this](int) {
      if (!reached_once_) reached_.Raise();
      reached_once_ = true;
      opened_.Wait();
    };
  }
  void AwaitModel() const { reached_.Wait(); }
  void Open() const { opened_.Raise(); }

 private:
  bool reached_once_ = false;  // the model's thread only
  const Signal reached_;
  const Signal opened_;
};

// Asks again and again: for what no event tells.
inline bool HappensSoon(const std::function<bool()>& condition) {
  const absl::Time end = absl::Now() + absl::Seconds(30);
  while (!condition()) {
    if (absl::Now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

class RpcTest : public testing::Test {
 protected:
  // Starts a server with the identity model, or with `fake`.
  void Serve(const LimitOptions& limits = {}, const FakeModel* fake = nullptr,
             RestorePipelineOptions options = {.workers = 2, .max_batch = 4},
             const std::shared_ptr<const LiveCertificates>& certificates = nullptr) {
    options.decode_limits.max_pixels = limits.max_image_pixels;
    pipeline_ = std::make_unique<RestorePipeline>(options, models_, metrics_);
    if (fake != nullptr) {
      Install(models_, *fake, pipeline_->executor());
    } else {
      ASSERT_TRUE(models_.Load("identity", {1}, pipeline_->executor()).ok());
    }
    service_ = std::make_unique<RestorationService>(*pipeline_, calls_, limits, entrance_);
    std::vector<NamedService> services = MoreServices(limits);
    services.push_back({v1::RestorationService::service_full_name(), service_.get()});
    auto server = StartRpcServer("127.0.0.1:0", limits, services, certificates, rules_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = std::move(*server);
    channel_ = OpenChannel();
    stub_ = v1::RestorationService::NewStub(channel_);
  }

  // Beside RestorationService, once the pipeline is there.
  virtual std::vector<NamedService> MoreServices(const LimitOptions& /*limits*/) { return {}; }

  void TearDown() override {
    if (server_.server != nullptr) Shutdown(server_, calls_, absl::ZeroDuration());
    server_.server.reset();
    pipeline_.reset();
  }

  std::shared_ptr<grpc::Channel> OpenChannel() const {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(server_.address, grpc::InsecureChannelCredentials(),
                                     arguments);
  }

  grpc::Status Restore(const std::string& image, const v1::RestoreOptions& options = {},
                       v1::RestoreResponse* response = nullptr,
                       absl::Duration timeout = absl::Seconds(60)) {
    v1::RestoreRequest request;
    request.set_image(image);
    *request.mutable_options() = options;
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    v1::RestoreResponse ignored;
    return stub_->Restore(&context, request, response != nullptr ? response : &ignored);
  }

  // What every test of an error ends with.
  void ExpectStillServes() {
    const Image image = NoiseImage(40, 30);
    v1::RestoreResponse response;
    const grpc::Status status = Restore(Png(image), {}, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(DecodeImage(response.image(), {}).value().samples, image.samples);
  }

  // Of all requests in flight.
  double ReservedBytes() const {
    for (const prometheus::MetricFamily& family : metrics_.Collect()) {
      if (family.name == "deweather_inflight_bytes") return family.metric.front().gauge.value;
    }
    return -1;
  }

  double Requests(absl::StatusCode code) const { return metrics_.requests(code).Value(); }

  // What every test of a call that ended early ends with.
  void ExpectNothingLeft() {
    EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
    EXPECT_TRUE(HappensSoon([this] { return pipeline_->in_flight() == 0; }));
    EXPECT_EQ(ReservedBytes(), 0);
    ExpectStillServes();
  }

  Metrics metrics_{{}};
  LiveModels models_{{}, metrics_};
  std::unique_ptr<RestorePipeline> pipeline_;
  Occupancy calls_;
  Entrance entrance_;
  Rules rules_;
  std::unique_ptr<RestorationService> service_;
  RpcServer server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::RestorationService::Stub> stub_;
};

}  // namespace deweather

#endif  // DEWEATHER_TESTS_RPC_RPC_FIXTURE_H_
