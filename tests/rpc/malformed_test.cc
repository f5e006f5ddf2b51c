// Bytes that are no message, on both streams: neither a half-close nor a frame.

#include <gmock/gmock.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>

#include <memory>
#include <string>

#include "tests/rpc/rpc_fixture.h"

namespace deweather {
namespace {

using ::testing::HasSubstr;

// A call whose messages are bytes, as a caller with a broken library sends them.
class RawCall {
 public:
  RawCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method)
      : stub_(channel) {
    stream_ = stub_.PrepareCall(&context_, "/deweather.v1.RestorationService/" + method, &queue_);
    stream_->StartCall(this);
    Await();
  }
  ~RawCall() { queue_.Shutdown(); }

  void Send(const std::string& bytes) {
    const grpc::Slice slice(bytes);
    stream_->Write(grpc::ByteBuffer(&slice, 1), this);
    Await();
  }

  // Reads first: the status does not come while a reply waits.
  grpc::Status Finish() {
    grpc::ByteBuffer reply;
    do stream_->Read(&reply, this);
    while (Await());
    grpc::Status status;
    stream_->Finish(&status, this);
    Await();
    return status;
  }

 private:
  // Whether what was begun came out well.
  bool Await() {
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue_.Next(&tag, &ok));
    return ok;
  }

  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
};

const std::string kNoMessage(5, '\xff');

std::string StreamStart() {
  v1::RestoreStreamRequest request;
  request.mutable_start();
  return request.SerializeAsString();
}

std::string Frame(const std::string& image) {
  v1::RestoreStreamRequest request;
  request.mutable_frame()->set_image(image);
  return request.SerializeAsString();
}

std::string LargeStart(size_t image_bytes) {
  v1::RestoreLargeRequest request;
  request.mutable_start()->set_image_bytes(static_cast<int64_t>(image_bytes));
  return request.SerializeAsString();
}

std::string Chunk(const std::string& data) {
  v1::RestoreLargeRequest request;
  request.mutable_chunk()->set_data(data);
  return request.SerializeAsString();
}

class MalformedTest : public RpcTest {
 protected:
  void ExpectMalformed(RawCall& call, const std::string& type) {
    const grpc::Status status = call.Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr("deweather.v1." + type));
    EXPECT_EQ(ReasonOf(status), "MALFORMED_MESSAGE");
    EXPECT_EQ(Requests(absl::StatusCode::kInvalidArgument), 1);
  }
};

TEST_F(MalformedTest, BetweenFrames) {
  Serve();
  RawCall call(channel_, "RestoreStream");
  call.Send(StreamStart());
  call.Send(Frame(Png(NoiseImage(32, 32))));
  call.Send(kNoMessage);
  ExpectMalformed(call, "RestoreStreamRequest");
  ExpectNothingLeft();
}

TEST_F(MalformedTest, InsteadOfAStreamsStart) {
  Serve();
  RawCall call(channel_, "RestoreStream");
  call.Send(kNoMessage);
  ExpectMalformed(call, "RestoreStreamRequest");
  ExpectNothingLeft();
}

TEST_F(MalformedTest, BetweenChunks) {
  Serve();
  RawCall call(channel_, "RestoreLarge");
  call.Send(LargeStart(1000));
  call.Send(Chunk("xxxx"));
  call.Send(kNoMessage);
  ExpectMalformed(call, "RestoreLargeRequest");
  ExpectNothingLeft();
}

TEST_F(MalformedTest, AfterTheLastChunk) {
  ModelGate gate;
  const FakeModel fake = {.on_run = gate.OnRun()};
  Serve({}, &fake);
  const std::string image = Png(NoiseImage(32, 32));
  RawCall call(channel_, "RestoreLarge");
  call.Send(LargeStart(image.size()));
  call.Send(Chunk(image));
  gate.AwaitModel();
  call.Send(kNoMessage);
  const grpc::Status status = call.Finish();
  EXPECT_EQ(ReasonOf(status), "MALFORMED_MESSAGE");
  gate.Open();
  ExpectNothingLeft();
}

}  // namespace
}  // namespace deweather
