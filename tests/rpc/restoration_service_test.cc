#include "server/rpc/restoration_service.h"

#include <gmock/gmock.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>

#include <future>
#include <limits>
#include <thread>

#include "tests/rpc/rpc_fixture.h"

namespace deweather {
namespace {

using ::testing::HasSubstr;

TEST_F(RpcTest, IdentityGivesThePictureBack) {
  Serve();
  const Image image = NoiseImage(481, 321, 4);
  v1::RestoreResponse response;
  const grpc::Status status = Restore(Png(image), {}, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(DecodeImage(response.image(), {}).value().samples, image.samples);
  EXPECT_EQ(response.format(), v1::RestoreOptions::FORMAT_PNG);
  EXPECT_EQ(response.width_px(), 481);
  EXPECT_EQ(response.height_px(), 321);
  EXPECT_EQ(response.model().name(), "identity");
  EXPECT_EQ(response.model().version(), "builtin");
  EXPECT_FALSE(response.has_routing());
  EXPECT_EQ(response.timings().tiles(), 6);
  EXPECT_GE(response.timings().batches(), 1);
  EXPECT_TRUE(response.expert_map().empty());
}

TEST_F(RpcTest, AMessageThatDoesNotComeEndsTheCall) {
  Serve({.max_stream_idle = absl::Milliseconds(200)});
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto call = stub.PrepareCall(&context, "/deweather.v1.RestorationService/Restore", &queue);
  void* tag = nullptr;
  bool ok = false;
  call->StartCall(nullptr);
  queue.Next(&tag, &ok);
  grpc::Status status;
  call->Finish(&status, nullptr);
  queue.Next(&tag, &ok);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED) << status.error_message();
  ExpectNothingLeft();
}

TEST_F(RpcTest, OptionsAreHeeded) {
  Serve();
  v1::RestoreOptions options;
  options.set_model("identity");
  options.set_format(v1::RestoreOptions::FORMAT_JPEG);
  options.set_quality(50);
  v1::RestoreResponse coarse, fine;
  ASSERT_TRUE(Restore(Png(NoiseImage(64, 64)), options, &coarse).ok());
  options.set_quality(95);
  ASSERT_TRUE(Restore(Png(NoiseImage(64, 64)), options, &fine).ok());
  EXPECT_EQ(coarse.format(), v1::RestoreOptions::FORMAT_JPEG);
  EXPECT_EQ(DecodeImage(coarse.image(), {}).value().format, ImageFormat::kJpeg);
  EXPECT_LT(coarse.image().size(), fine.image().size());
}

TEST_F(RpcTest, StrengthMixes) {
  const FakeModel black = {.gain = 0};
  Serve({}, &black);
  Image white = NoiseImage(32, 32);
  std::fill(white.samples.begin(), white.samples.end(), uint8_t{200});
  v1::RestoreOptions options;
  options.set_strength(0.25f);
  v1::RestoreResponse response;
  ASSERT_TRUE(Restore(Png(white), options, &response).ok());
  EXPECT_EQ(DecodeImage(response.image(), {}).value().samples[0], 150);
  options.set_strength(0);
  ASSERT_TRUE(Restore(Png(white), options, &response).ok());
  EXPECT_EQ(DecodeImage(response.image(), {}).value().samples[0], 200);
}

TEST_F(RpcTest, RoutingSumsToUnitsTimesKept) {
  const FakeModel fake = {.layers = 2, .experts = 5, .kept = 3};
  Serve({}, &fake);
  v1::RestoreOptions options;
  options.set_expert_map(true);
  v1::RestoreResponse response;
  ASSERT_TRUE(Restore(Png(NoiseImage(100, 70)), options, &response).ok());
  const v1::Routing& routing = response.routing();
  EXPECT_EQ(routing.unit(), v1::Routing::UNIT_TOKEN);
  EXPECT_EQ(routing.kept(), 3);
  ASSERT_EQ(routing.layers_size(), 2);
  for (const v1::Routing::Layer& layer : routing.layers()) {
    ASSERT_EQ(layer.tokens_size(), 5);
    int64_t sum = 0;
    for (const int64_t tokens : layer.tokens()) sum += tokens;
    EXPECT_EQ(sum, routing.units() * routing.kept());
    EXPECT_GT(sum, 0);
    EXPECT_DOUBLE_EQ(layer.entropy_ratio(), 0.5);
  }
  EXPECT_EQ(ReadImageInfo(response.expert_map(), {}).value().channels, 1);
}

TEST_F(RpcTest, UncertaintyIsAFunctionOfTheSeed) {
  const FakeModel fake = {.layers = 2, .experts = 5, .kept = 3};
  Serve({}, &fake);
  v1::RestoreOptions options;
  options.set_uncertainty_map(true);
  options.set_seed(~uint64_t{0});
  v1::RestoreResponse first, again, other, plain;
  ASSERT_TRUE(Restore(Png(NoiseImage(100, 70)), options, &first).ok());
  ASSERT_TRUE(Restore(Png(NoiseImage(100, 70)), options, &again).ok());
  options.set_seed(1);
  ASSERT_TRUE(Restore(Png(NoiseImage(100, 70)), options, &other).ok());
  ASSERT_TRUE(Restore(Png(NoiseImage(100, 70)), {}, &plain).ok());
  EXPECT_EQ(ReadImageInfo(first.uncertainty_map(), {}).value().bytes_per_sample, 2);
  EXPECT_EQ(first.uncertainty_map(), again.uncertainty_map());
  EXPECT_NE(first.uncertainty_map(), other.uncertainty_map());
  EXPECT_EQ(plain.uncertainty_map(), "");
  EXPECT_EQ(plain.image(), first.image());
  for (const v1::Routing::Layer& layer : first.routing().layers()) {
    EXPECT_NEAR(layer.uncertainty(), 0.5, 0.1);  // the fake's is uniform in [0,1)
  }
  EXPECT_EQ(plain.routing().layers(0).uncertainty(), 0);
}

TEST_F(RpcTest, AMapOfADenseModelIsAFailedPrecondition) {
  Serve();
  v1::RestoreOptions options;
  options.set_uncertainty_map(true);
  const grpc::Status status = Restore(Png(NoiseImage(8, 8)), options);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("no router"));
  EXPECT_EQ(ReasonOf(status), "NOT_ROUTED");
  ExpectStillServes();
}

TEST_F(RpcTest, AGatedModelIsToldTheTask) {
  const FakeModel fake = {.layers = 1, .experts = 3, .kept = 1, .tasks = {"rain", "snow"}};
  Serve({}, &fake);
  const std::string image = Png(NoiseImage(8, 8));
  EXPECT_EQ(ReasonOf(Restore(image)), "TASK_REQUIRED");
  v1::RestoreOptions options;
  options.set_task("fog");
  const grpc::Status unknown = Restore(image, options);
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonOf(unknown), "UNKNOWN_TASK");
  options.set_task("snow");
  EXPECT_TRUE(Restore(image, options).ok());
}

TEST_F(RpcTest, UnknownModelIsNotFound) {
  Serve();
  v1::RestoreOptions options;
  options.set_model("snow");
  const grpc::Status status = Restore(Png(NoiseImage(8, 8)), options);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("snow"));
  EXPECT_THAT(status.error_message(), HasSubstr("identity"));
  EXPECT_EQ(ReasonOf(status), "UNKNOWN_MODEL");
  EXPECT_EQ(DetailOf<google::rpc::ErrorInfo>(status).domain(), "deweather");
  ExpectStillServes();
}

TEST_F(RpcTest, CancelEndsTheCallAndFreesIt) {
  ModelGate gate;
  const FakeModel fake = {.on_run = gate.OnRun()};
  Serve({}, &fake);
  v1::RestoreRequest request;
  request.set_image(Png(NoiseImage(300, 300)));
  grpc::ClientContext context;
  v1::RestoreResponse response;
  std::promise<grpc::Status> answered;
  stub_->async()->Restore(&context, &request, &response,
                          [&](grpc::Status status) { answered.set_value(std::move(status)); });
  gate.AwaitModel();
  context.TryCancel();
  EXPECT_EQ(answered.get_future().get().error_code(), grpc::StatusCode::CANCELLED);
  gate.Open();
  ExpectStillServes();
  EXPECT_EQ(metrics_.requests(absl::StatusCode::kCancelled).Value(), 1);
}

TEST_F(RpcTest, CallerThatDoesNotReadItsReplyIsCutOff) {
  LimitOptions limits;
  limits.max_stream_idle = absl::Milliseconds(300);
  Serve(limits);
  v1::RestoreRequest request;
  request.set_image(Png(NoiseImage(1500, 1500)));  // more than a window of HTTP/2
  const std::string bytes = request.SerializeAsString();
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto call = stub.PrepareCall(&context, "/deweather.v1.RestorationService/Restore", &queue);
  void* tag = nullptr;
  bool ok = false;
  call->StartCall(nullptr);
  queue.Next(&tag, &ok);
  const grpc::Slice slice(bytes);
  call->WriteLast(grpc::ByteBuffer(&slice, 1), {}, nullptr);
  queue.Next(&tag, &ok);
  EXPECT_TRUE(
      HappensSoon([this] { return metrics_.requests(absl::StatusCode::kOk).Value() == 1; }));
  EXPECT_TRUE(HappensSoon([this] { return calls_.count() == 0; })) << "its reply is still held";
  context.TryCancel();
  ExpectStillServes();
}

TEST_F(RpcTest, DeadlineEndsTheCall) {
  ModelGate gate;
  const FakeModel fake = {.on_run = gate.OnRun()};
  Serve({}, &fake);
  const grpc::Status status =
      Restore(Png(NoiseImage(300, 300)), {}, nullptr, absl::Milliseconds(200));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  gate.Open();
  ExpectStillServes();
  EXPECT_EQ(metrics_.requests(absl::StatusCode::kDeadlineExceeded).Value(), 1);
}

TEST_F(RpcTest, PastDeadlineNeverReachesTheModel) {
  int runs = 0;
  const FakeModel fake = {.on_run = [&runs](int) { ++runs; }};
  Serve({}, &fake);
  const grpc::Status status =
      Restore(Png(NoiseImage(32, 32)), {}, nullptr, -absl::Milliseconds(10));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(runs, 0);
  ExpectStillServes();
}

TEST_F(RpcTest, OversizeRequestNamesTheLimit) {
  LimitOptions limits;
  limits.max_receive_bytes = 100'000;
  Serve(limits);
  const grpc::Status status = Restore(std::string(200'000, 'x'));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("2000"));
  EXPECT_THAT(status.error_message(), HasSubstr("100000"));
  ExpectStillServes();
}

TEST_F(RpcTest, OversizeReplyNamesTheLimit) {
  LimitOptions limits;
  limits.max_send_bytes = 20'000;
  Serve(limits);
  const grpc::Status status = Restore(Png(NoiseImage(100, 100)));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("at most 20000"));
  EXPECT_EQ(ReasonOf(status), "REPLY_SIZE");
  EXPECT_EQ(Requests(absl::StatusCode::kResourceExhausted), 1);
  ExpectStillServes();
}

TEST_F(RpcTest, FullServerSaysWhenToTryAgain) {
  ModelGate gate;
  const FakeModel fake = {.on_run = gate.OnRun()};
  Serve({}, &fake, {.workers = 2, .max_batch = 1, .admission = {.max_tiles = 1}});
  std::thread first([this] { EXPECT_TRUE(Restore(Png(NoiseImage(32, 32))).ok()); });
  gate.AwaitModel();
  const grpc::Status status = Restore(Png(NoiseImage(32, 32)));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(status), "TILE_BUDGET");
  const auto delay = DetailOf<google::rpc::RetryInfo>(status).retry_delay();
  EXPECT_GT(delay.seconds() * 1e9 + delay.nanos(), 0);
  gate.Open();
  first.join();
  ExpectStillServes();
}

TEST_F(RpcTest, DrainingIsUnavailable) {
  Serve();
  pipeline_->BeginDrain();
  const grpc::Status status = Restore(Png(NoiseImage(8, 8)));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(status), "DRAINING");
}

TEST_F(RpcTest, NonFiniteOutputIsInternal) {
  const FakeModel fake = {.nan_for_white = true};
  Serve({}, &fake);
  Image white = NoiseImage(32, 32);
  std::fill(white.samples.begin(), white.samples.end(), uint8_t{255});
  const grpc::Status status = Restore(Png(white));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(ReasonOf(status), "MODEL_FAILED");
}

TEST_F(RpcTest, ManyCallersAtOnce) {
  Serve();
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i) {
    callers.emplace_back([this, i] {
      const Image image = NoiseImage(50 + 40 * i, 60);
      v1::RestoreResponse response;
      ASSERT_TRUE(Restore(Png(image), {}, &response).ok());
      EXPECT_EQ(DecodeImage(response.image(), {}).value().samples, image.samples);
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(10)));
}

}  // namespace
}  // namespace deweather
