#include "server/rpc/rpc_server.h"

#include <gmock/gmock.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/rpc/rpc_fixture.h"

namespace deweather {
namespace {

namespace health = ::grpc::health::v1;
using ::testing::HasSubstr;

// Threads of this process.
int ThreadCount() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<int>(std::distance(begin(tasks), end(tasks)));
}

// A stream of reflection that has asked for the services, and stays open.
class OpenReflection {
 public:
  explicit OpenReflection(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(channel), stream_(stub_.PrepareCall(&context_, kReflection, &queue_)) {
    stream_->StartCall(nullptr);
    Await();
    // ServerReflectionRequest{list_services: ""}, which the distribution ships no header for.
    const grpc::Slice request(std::string("\x3a\0", 2));
    stream_->Write(grpc::ByteBuffer(&request, 1), nullptr);
    Await();
    stream_->Read(&reply_, nullptr);
    answered_ = Await();
  }
  ~OpenReflection() {
    context_.TryCancel();
    if (!finished_) Finish();
  }
  OpenReflection(const OpenReflection&) = delete;
  OpenReflection& operator=(const OpenReflection&) = delete;

  bool answered() const { return answered_; }
  std::string Reply() const {
    grpc::Slice whole;
    if (!answered_ || !reply_.DumpToSingleSlice(&whole).ok()) return "";
    return std::string(reinterpret_cast<const char*>(whole.begin()), whole.size());
  }
  grpc::Status Finish() {
    finished_ = true;
    grpc::Status status;
    stream_->Finish(&status, nullptr);
    Await();
    return status;
  }

 private:
  static constexpr char kReflection[] =
      "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

  bool Await() {
    void* tag = nullptr;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }

  grpc::CompletionQueue queue_;
  grpc::ClientContext context_;
  grpc::GenericStub stub_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
  grpc::ByteBuffer reply_;
  bool answered_ = false;
  bool finished_ = false;
};

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
};

TEST_F(RpcServerTest, HealthOfEveryService) {
  Serve();
  for (const char* service : {"", "deweather.v1.RestorationService", "grpc.health.v1.Health",
                              "grpc.reflection.v1alpha.ServerReflection"}) {
    EXPECT_EQ(HealthOf(service).value(), health::HealthCheckResponse::SERVING) << service;
  }
  EXPECT_TRUE(absl::IsNotFound(HealthOf("deweather.v1.Nothing").status()));
  StopServing(server_);
  EXPECT_EQ(HealthOf("").value(), health::HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(HealthOf("deweather.v1.RestorationService").value(),
            health::HealthCheckResponse::NOT_SERVING);
  ExpectStillServes();
}

TEST_F(RpcServerTest, HealthOfNamesThatAreAdded) {
  Serve();
  EXPECT_TRUE(absl::IsNotFound(HealthOf("service/rain").status()));
  AddToHealth(server_, "service/rain");
  EXPECT_EQ(HealthOf("service/rain").value(), health::HealthCheckResponse::SERVING);
  StopServing(server_);
  EXPECT_EQ(HealthOf("service/rain").value(), health::HealthCheckResponse::NOT_SERVING);
  AddToHealth(server_, "service/snow");
  EXPECT_EQ(HealthOf("service/snow").value(), health::HealthCheckResponse::NOT_SERVING)
      << "a server that drains serves no new model either";
}

TEST_F(RpcServerTest, ReflectionListsServices) {
  Serve();
  const std::string reply = OpenReflection(channel_).Reply();
  EXPECT_THAT(reply, HasSubstr("deweather.v1.RestorationService"));
  EXPECT_THAT(reply, HasSubstr("grpc.health.v1.Health"));
}

// Each stream of it holds a thread of the server's.
TEST_F(RpcServerTest, ReflectionTakesSoManyStreamsAndNoMore) {
  Serve();
  constexpr int kStreams = 200;
  constexpr int kMost = 64;
  const int threads = ThreadCount();
  int refused = 0;
  std::vector<std::unique_ptr<OpenReflection>> open;
  for (int i = 0; i < kStreams; ++i) {
    if (i % 50 == 0) channel_ = OpenChannel();  // a connection has 64 calls at a time
    auto stream = std::make_unique<OpenReflection>(channel_);
    if (stream->answered()) {
      open.push_back(std::move(stream));
    } else {
      EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
      ++refused;
    }
  }
  EXPECT_GE(refused, kStreams - kMost);
  EXPECT_LT(ThreadCount() - threads, kMost + 32) << "those of this test's own channels included";
  ExpectStillServes();
  EXPECT_GT(open.size(), 8U);
  open.clear();
  EXPECT_TRUE(HappensSoon([this] { return OpenReflection(channel_).answered(); }));
}

TEST_F(RpcServerTest, AConnectionWithoutACallIsClosedInTheEnd) {
  LimitOptions limits;
  limits.max_connection_idle = absl::Seconds(1);
  Serve(limits);
  const std::shared_ptr<grpc::Channel> busy = OpenChannel();
  const auto stub = health::Health::NewStub(busy);
  grpc::ClientContext context;
  const auto watch = stub->Watch(&context, {});
  health::HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  const auto end = std::chrono::system_clock::now() + std::chrono::seconds(30);
  for (int i = 0; i < 2; ++i) {
    ExpectStillServes();
    ASSERT_EQ(channel_->GetState(false), GRPC_CHANNEL_READY);
    EXPECT_TRUE(channel_->WaitForStateChange(GRPC_CHANNEL_READY, end)) << "it is never closed";
  }
  EXPECT_EQ(busy->GetState(false), GRPC_CHANNEL_READY) << "it has a call";
  context.TryCancel();
  EXPECT_TRUE(busy->WaitForStateChange(GRPC_CHANNEL_READY, end));
  watch->Finish().IgnoreError();
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
