#include "server/rpc/rpc_server.h"

#include <gmock/gmock.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>

#include <future>
#include <string>
#include <thread>

#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/rpc/rpc_fixture.h"

namespace deweather {
namespace {

namespace health = ::grpc::health::v1;
using ::testing::HasSubstr;

class RpcServerTest : public RpcTest {
 protected:
  absl::StatusOr<health::HealthCheckResponse::ServingStatus> HealthOf(const std::string& service) {
    health::HealthCheckRequest request;
    request.set_service(service);
    health::HealthCheckResponse response;
    grpc::ClientContext context;
    const grpc::Status status =
        health::Health::NewStub(channel_)->Check(&context, request, &response);
    if (status.ok()) return response.status();
    return absl::Status(static_cast<absl::StatusCode>(status.error_code()), "");
  }

  // Sends the bytes of one message and gives those of the first reply.
  std::string CallStream(const std::string& method, const std::string& request) {
    grpc::GenericStub stub(channel_);
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    const auto stream = stub.PrepareCall(&context, method, &queue);
    void* tag = nullptr;
    bool ok = false;
    stream->StartCall(nullptr);
    queue.Next(&tag, &ok);
    const grpc::Slice slice(request);
    stream->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    queue.Next(&tag, &ok);
    grpc::ByteBuffer reply;
    stream->Read(&reply, nullptr);
    queue.Next(&tag, &ok);
    context.TryCancel();
    grpc::Slice whole;
    if (!ok || !reply.DumpToSingleSlice(&whole).ok()) return "";
    return std::string(reinterpret_cast<const char*>(whole.begin()), whole.size());
  }
};

TEST_F(RpcServerTest, HealthOfEveryService) {
  Serve();
  for (const char* service : {"", "deweather.v1.RestorationService", "grpc.health.v1.Health",
                              "grpc.reflection.v1alpha.ServerReflection"}) {
    EXPECT_EQ(HealthOf(service).value(), health::HealthCheckResponse::SERVING) << service;
  }
  EXPECT_TRUE(absl::IsNotFound(HealthOf("deweather.v1.Nothing").status()));
  SetServing(server_, false);
  EXPECT_EQ(HealthOf("").value(), health::HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(HealthOf("deweather.v1.RestorationService").value(),
            health::HealthCheckResponse::NOT_SERVING);
  ExpectStillServes();
}

TEST_F(RpcServerTest, ReflectionListsServices) {
  Serve();
  // ServerReflectionRequest{list_services: ""}, which the distribution ships no header for.
  const std::string reply = CallStream(
      "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", std::string("\x3a\0", 2));
  EXPECT_THAT(reply, HasSubstr("deweather.v1.RestorationService"));
  EXPECT_THAT(reply, HasSubstr("grpc.health.v1.Health"));
}

TEST_F(RpcServerTest, CompressedMessagesAreRefusedBeforeTheyAreUnpacked) {
  Serve();
  for (const auto algorithm : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
    v1::RestoreRequest request;
    request.set_image(std::string(8 << 20, '\0'));  // a few kilobytes on the wire
    grpc::ClientContext context;
    context.set_compression_algorithm(algorithm);
    v1::RestoreResponse response;
    const grpc::Status status = stub_->Restore(&context, request, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << status.error_message();
  }
  ExpectStillServes();
}

TEST_F(RpcServerTest, ShutdownFinishesTheCallInFlight) {
  ModelGate gate;
  const FakeModel fake = {.on_run = gate.OnRun()};
  Serve({}, &fake);
  std::future<grpc::Status> call =
      std::async(std::launch::async, [this] { return Restore(Png(NoiseImage(32, 32))); });
  gate.AwaitModel();
  std::thread shutdown([this] { Shutdown(server_, calls_, absl::Seconds(60)); });
  gate.Open();
  EXPECT_TRUE(call.get().ok());
  shutdown.join();
  EXPECT_EQ(calls_.count(), 0);
}

TEST_F(RpcServerTest, ShutdownServesUntilTheLastCallHasEnded) {
  Serve();
  auto call = std::make_unique<Occupancy::Place>(calls_);
  std::thread shutdown([this] { Shutdown(server_, calls_, absl::Seconds(60)); });
  for (int i = 0; i < 50; ++i) ExpectStillServes();
  call.reset();
  shutdown.join();
  EXPECT_FALSE(Restore(Png(NoiseImage(8, 8))).ok());
}

TEST_F(RpcServerTest, ShutdownCancelsWhatIsLeft) {
  ModelGate gate;
  const FakeModel fake = {.on_run = gate.OnRun()};
  Serve({}, &fake);
  std::future<grpc::Status> call =
      std::async(std::launch::async, [this] { return Restore(Png(NoiseImage(32, 32))); });
  gate.AwaitModel();
  std::thread shutdown([this] { Shutdown(server_, calls_, absl::ZeroDuration()); });
  EXPECT_FALSE(call.get().ok());
  gate.Open();
  shutdown.join();
}

TEST_F(RpcServerTest, ShutdownDoesNotWaitForWatchers) {
  Serve();
  const auto stub = health::Health::NewStub(channel_);
  grpc::ClientContext context;
  const auto watch = stub->Watch(&context, {});
  health::HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  const absl::Time start = absl::Now();
  Shutdown(server_, calls_, absl::Seconds(20));
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  while (watch->Read(&response)) {
  }
  watch->Finish().IgnoreError();
}

}  // namespace
}  // namespace deweather
