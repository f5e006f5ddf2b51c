// What ModelInfer carries, beside Restore: the same tiles, in turns.

#include <atomic>
#include <cstdio>
#include <thread>

#include "inference/grpc_service.grpc.pb.h"
#include "server/rpc/inference_service.h"
#include "server/rpc/inference_tensors.h"
#include "tests/rpc/rpc_fixture.h"

namespace deweather {
namespace {

constexpr int kSide = 256;
constexpr int kCallers = 8;
constexpr int kRounds = 6;
constexpr absl::Duration kRound = absl::Seconds(2);

class InferenceThroughputTest : public RpcTest {
 protected:
  std::vector<NamedService> MoreServices(const LimitOptions& limits) override {
    inference_ =
        std::make_unique<InferenceService>("test", models_, *pipeline_, calls_, limits, entrance_);
    return {{inference::GRPCInferenceService::service_full_name(), inference_.get()}};
  }

  // Calls that `call`, given a channel, makes in one round.
  int64_t CallsIn(const std::function<bool(const std::shared_ptr<grpc::Channel>&)>& call) const {
    std::atomic<int64_t> calls = 0;
    const absl::Time end = absl::Now() + kRound;
    std::vector<std::jthread> callers;
    for (int i = 0; i < kCallers; ++i) {
      callers.emplace_back([&] {
        const auto channel = OpenChannel();
        while (absl::Now() < end) {
          const bool right = call(channel);
          EXPECT_TRUE(right);
          if (!right) return;
          ++calls;
        }
      });
    }
    callers.clear();
    return calls;
  }

  std::unique_ptr<InferenceService> inference_;
};

TEST_F(InferenceThroughputTest, NineTenthsOfRestore) {
  Serve();
  const Image picture = NoiseImage(kSide, kSide);
  const PictureTensor tensor = {.type = SampleType::kUint8,
                                .layout = TensorLayout::kNchw,
                                .count = 1,
                                .width = kSide,
                                .height = kSide};
  v1::RestoreRequest file;
  file.set_image(EncodeImage(picture, {.format = ImageFormat::kBmp}).value());
  inference::ModelInferRequest planes;
  planes.add_inputs()->set_name("image");
  planes.mutable_inputs(0)->set_datatype("UINT8");
  for (const int side : {1, 3, kSide, kSide}) planes.mutable_inputs(0)->add_shape(side);
  planes.add_raw_input_contents(FromImage(tensor, picture));

  const auto restore = [&](const std::shared_ptr<grpc::Channel>& channel) {
    grpc::ClientContext context;
    v1::RestoreResponse response;
    const bool ok =
        v1::RestorationService::NewStub(channel)->Restore(&context, file, &response).ok();
    return ok && response.image().size() == file.image().size();
  };
  const auto infer = [&](const std::shared_ptr<grpc::Channel>& channel) {
    grpc::ClientContext context;
    inference::ModelInferResponse response;
    const bool ok = inference::GRPCInferenceService::NewStub(channel)
                        ->ModelInfer(&context, planes, &response)
                        .ok();
    return ok && response.raw_output_contents(0) == planes.raw_input_contents(0);
  };
  CallsIn(restore);
  CallsIn(infer);
  int64_t restored = 0, inferred = 0;
  for (int round = 0; round < kRounds; ++round) {
    restored += CallsIn(restore);
    inferred += CallsIn(infer);
  }
  const double seconds = kRounds * absl::ToDoubleSeconds(kRound);
  const double ratio = static_cast<double>(inferred) / static_cast<double>(restored);
  std::printf("Restore %.0f/s, ModelInfer %.0f/s: %.3f\n", static_cast<double>(restored) / seconds,
              static_cast<double>(inferred) / seconds, ratio);
  EXPECT_GE(ratio, 0.9);
}

}  // namespace
}  // namespace deweather
