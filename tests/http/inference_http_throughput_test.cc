// What ModelInfer carries over HTTP, as binary data, beside /v1/restore there and beside both over gRPC: the same
// tiles, in turns.

#include <atomic>
#include <cstdio>
#include <functional>
#include <thread>

#include "inference/grpc_service.grpc.pb.h"
#include "server/rpc/inference_service.h"
#include "server/rpc/inference_tensors.h"
#include "tests/http/http_fixture.h"

namespace deweather {
namespace {

constexpr int kSide = 256;
constexpr int kCallers = 8;
constexpr int kRounds = 6;
constexpr absl::Duration kRound = absl::Seconds(2);

class InferenceHttpThroughputTest : public HttpTest {
 protected:
  // Whether a call was answered as it should be.
  using Call = std::function<bool()>;

  struct Way {
    std::function<Call()> connect;
    int64_t calls = 0;
  };

  std::vector<NamedService> MoreServices(const LimitOptions& limits) override {
    inference_ =
        std::make_unique<InferenceService>("test", models_, *pipeline_, calls_, limits, entrance_);
    return {{inference::GRPCInferenceService::service_full_name(), inference_.get()}};
  }

  // Calls of one round; each caller makes them with what `connect` gives it.
  static int64_t CallsIn(const std::function<Call()>& connect) {
    std::atomic<int64_t> calls = 0;
    const absl::Time end = absl::Now() + kRound;
    std::vector<std::jthread> callers;
    for (int i = 0; i < kCallers; ++i) {
      callers.emplace_back([&] {
        const Call call = connect();
        while (absl::Now() < end) {
          const bool right = call();
          EXPECT_TRUE(right);
          if (!right) return;
          ++calls;
        }
      });
    }
    callers.clear();
    return calls;
  }

  static std::string Planes() {
    const PictureTensor tensor = {.type = SampleType::kUint8,
                                  .layout = TensorLayout::kNchw,
                                  .count = 1,
                                  .width = kSide,
                                  .height = kSide};
    return FromImage(tensor, NoiseImage(kSide, kSide));
  }

  Call OverHttp(const std::string& planes) const {
    const std::string json =
        absl::StrCat(R"({"inputs":[{"name":"image","datatype":"UINT8","shape":[1,3,)", kSide, ",",
                     kSide, R"(],"parameters":{"binary_data_size":)", planes.size(),
                     R"(}}],"parameters":{"binary_data_output":true}})");
    const std::string header =
        absl::StrCat("Inference-Header-Content-Length: ", json.size(), "\r\n");
    auto client = std::make_shared<HttpClient>(http_->address());
    return [=, body = json + planes] {
      const ReceivedReply reply = client->Call("POST", "/v2/models/default/infer", body, header);
      return reply.status == 200 && reply.body.ends_with(planes);
    };
  }

  static std::string Bmp() {
    return EncodeImage(NoiseImage(kSide, kSide), {.format = ImageFormat::kBmp}).value();
  }

  Call RestoreOverHttp() const {
    auto client = std::make_shared<HttpClient>(http_->address());
    return [client, body = Bmp()] {
      const ReceivedReply reply = client->Call("POST", "/v1/restore", body);
      return reply.status == 200 && reply.body.size() == body.size();
    };
  }

  Call OverGrpc(const std::string& planes) const {
    inference::ModelInferRequest request;
    request.add_inputs()->set_name("image");
    request.mutable_inputs(0)->set_datatype("UINT8");
    for (const int side : {1, 3, kSide, kSide}) request.mutable_inputs(0)->add_shape(side);
    request.add_raw_input_contents(planes);
    return [request, channel = OpenChannel()] {
      grpc::ClientContext context;
      inference::ModelInferResponse response;
      const auto stub = inference::GRPCInferenceService::NewStub(channel);
      return stub->ModelInfer(&context, request, &response).ok() &&
             response.raw_output_contents(0) == request.raw_input_contents(0);
    };
  }

  Call OverRestore() const {
    v1::RestoreRequest request;
    request.set_image(Bmp());
    return [request, channel = OpenChannel()] {
      grpc::ClientContext context;
      v1::RestoreResponse response;
      const auto stub = v1::RestorationService::NewStub(channel);
      return stub->Restore(&context, request, &response).ok() &&
             response.image().size() == request.image().size();
    };
  }

  std::unique_ptr<InferenceService> inference_;
};

TEST_F(InferenceHttpThroughputTest, NineTenthsOfRestore) {
  ServeHttp();
  const std::string planes = Planes();
  Way http = {.connect = [&] { return OverHttp(planes); }};
  Way grpc = {.connect = [&] { return OverGrpc(planes); }};
  Way restore = {.connect = [&] { return OverRestore(); }};
  Way http_restore = {.connect = [&] { return RestoreOverHttp(); }};
  for (const Way* way : {&http, &grpc, &restore, &http_restore}) CallsIn(way->connect);
  for (int round = 0; round < kRounds; ++round) {
    for (Way* way : {&http, &grpc, &restore, &http_restore}) way->calls += CallsIn(way->connect);
  }
  const auto rate = [](const Way& way) {
    return static_cast<double>(way.calls) / (kRounds * absl::ToDoubleSeconds(kRound));
  };
  std::printf("HTTP: infer %.0f/s, restore %.0f/s; gRPC: infer %.0f/s, restore %.0f/s\n",
              rate(http), rate(http_restore), rate(grpc), rate(restore));
  std::printf(
      "infer over HTTP: %.3f of restore there, %.3f of infer and %.3f of restore over gRPC\n",
      rate(http) / rate(http_restore), rate(http) / rate(grpc), rate(http) / rate(restore));
  EXPECT_GE(rate(http), 0.9 * rate(http_restore));
  EXPECT_GE(rate(http), 0.7 * rate(restore));  // one more hop, within the process
}

}  // namespace
}  // namespace deweather
