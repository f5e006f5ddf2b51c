// Bytes that are no message, on both streams: neither a half-close nor a frame.

#include <gmock/gmock.h>

#include <string>

#include "tests/rpc/raw_call.h"
#include "tests/rpc/rpc_fixture.h"

namespace deweather {
namespace {

using ::testing::HasSubstr;

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
  RawCall call(channel_, "deweather.v1.RestorationService/RestoreStream");
  call.Send(StreamStart());
  call.Send(Frame(Png(NoiseImage(32, 32))));
  call.Send(kNoMessage);
  ExpectMalformed(call, "RestoreStreamRequest");
  ExpectNothingLeft();
}

TEST_F(MalformedTest, InsteadOfAStreamsStart) {
  Serve();
  RawCall call(channel_, "deweather.v1.RestorationService/RestoreStream");
  call.Send(kNoMessage);
  ExpectMalformed(call, "RestoreStreamRequest");
  ExpectNothingLeft();
}

TEST_F(MalformedTest, BetweenChunks) {
  Serve();
  RawCall call(channel_, "deweather.v1.RestorationService/RestoreLarge");
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
  RawCall call(channel_, "deweather.v1.RestorationService/RestoreLarge");
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
