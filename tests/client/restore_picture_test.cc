#include "client/restore_picture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <thread>

#include "client/restore_large.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/client/fake_training.h"

namespace deweather {
namespace {

using grpc::Status;
using grpc::StatusCode;
using testing::HasSubstr;

Status Refused(StatusCode code, const std::string& reason) {
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  google::rpc::Status message;
  message.add_details()->PackFrom(info);
  return {code, "refused", message.SerializeAsString()};
}

// Sends pictures back as they came; `answer` is Restore's, of each call by its number.
class FakeRestoration final : public v1::RestorationService::Service {
 public:
  using Large = grpc::ServerReaderWriter<v1::RestoreLargeResponse, v1::RestoreLargeRequest>;

  std::function<Status(int, grpc::ServerContext&)> answer = [](int, auto&) { return Status::OK; };
  int calls = 0;
  int in_chunks = 0;
  int64_t cut_off = 0;  // bytes that RestoreLarge leaves away

  Status Restore(grpc::ServerContext* context, const v1::RestoreRequest* request,
                 v1::RestoreResponse* response) override {
    response->set_image(request->image());
    return answer(++calls, *context);
  }

  Status RestoreLarge(grpc::ServerContext*, Large* stream) override {
    ++in_chunks;
    std::string image;
    v1::RestoreLargeRequest part;
    while (stream->Read(&part)) image += part.chunk().data();
    v1::RestoreLargeResponse reply;
    reply.mutable_progress()->set_tiles_done(1);
    reply.mutable_progress()->set_tiles(1);
    stream->Write(reply);
    reply.mutable_summary()->set_image_bytes(static_cast<int64_t>(image.size()));
    stream->Write(reply);
    reply.mutable_chunk()->set_data(image.substr(static_cast<size_t>(cut_off)));
    stream->Write(reply);
    return Status::OK;
  }
};

class RestorePictureTest : public testing::Test {
 protected:
  Status Restore() {
    v1::RestoreRequest request;
    request.set_image(image_);
    return RestorePicture(
        *stub_, call_, request, [this](int, int) { ++told_; }, &response_);
  }

  FakeRestoration service_;
  TestServer server_{&service_};
  std::unique_ptr<v1::RestorationService::Stub> stub_ =
      v1::RestorationService::NewStub(OpenChannel(server_.flags()));
  PictureCall call_ = {.deadline = absl::InfiniteFuture(), .request_id = "id"};
  std::string image_ = "picture";
  v1::RestoreResponse response_;
  int told_ = 0;
};

TEST_F(RestorePictureTest, ADrainingServerIsAskedAgain) {
  service_.answer = [](int call, auto&) {
    return call < 3 ? Refused(StatusCode::UNAVAILABLE, "DRAINING") : Status::OK;
  };
  ASSERT_TRUE(Restore().ok());
  EXPECT_EQ(service_.calls, 3);
  EXPECT_EQ(response_.image(), "picture");
}

TEST_F(RestorePictureTest, WhatIsLostIsSentOnceMore) {
  service_.answer = [](int, auto&) { return Status(StatusCode::UNAVAILABLE, "gone"); };
  EXPECT_EQ(Restore().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(service_.calls, 2);
}

TEST_F(RestorePictureTest, NobodyRepeatsWhatIsNotToBe) {
  call_.repeats = false;
  service_.answer = [](int, auto&) { return Refused(StatusCode::UNAVAILABLE, "DRAINING"); };
  EXPECT_EQ(Restore().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(service_.calls, 1);
}

TEST_F(RestorePictureTest, WhatNoMessageTakesGoesInChunks) {
  service_.answer = [](int, auto&) {
    return Refused(StatusCode::RESOURCE_EXHAUSTED, "REPLY_SIZE");
  };
  image_ = std::string(600'000, 'x');
  ASSERT_TRUE(Restore().ok());
  EXPECT_EQ(service_.in_chunks, 1);
  EXPECT_EQ(response_.image(), image_);
  EXPECT_EQ(told_, 1);
}

TEST_F(RestorePictureTest, AFullServerIsNotAskedInChunks) {
  service_.answer = [](int, auto&) {
    return Refused(StatusCode::RESOURCE_EXHAUSTED, "TILE_BUDGET");
  };
  EXPECT_EQ(Restore().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(service_.in_chunks, 0);
}

TEST_F(RestorePictureTest, AStopEndsACallInFlight) {
  std::atomic<bool> stop = false;
  call_.stop = &stop;
  service_.answer = [&](int, grpc::ServerContext& context) {
    stop = true;
    while (!context.IsCancelled()) std::this_thread::yield();
    return Status::OK;
  };
  EXPECT_EQ(Restore().error_code(), StatusCode::CANCELLED);
}

class RestoreLargeTest : public RestorePictureTest {
 protected:
  RestoreLargeTest() {
    ends_.image_bytes = 600'000;
    ends_.read = [](int64_t, size_t most) { return std::string(most, 'x'); };
    ends_.write = [](std::string_view) { return absl::OkStatus(); };
  }

  Status Send() {
    grpc::ClientContext context;
    return RestoreLarge(*stub_, context, {}, ends_, &response_);
  }

  PictureEnds ends_;
};

TEST_F(RestoreLargeTest, AFileThatBecameShorter) {
  ends_.read = [](int64_t offset, size_t most) { return std::string(offset == 0 ? most : 0, 'x'); };
  const Status status = Send();
  EXPECT_EQ(status.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("262144 bytes, not 600000"));
}

TEST_F(RestoreLargeTest, ADiskThatIsFull) {
  ends_.write = [](std::string_view) { return absl::ResourceExhaustedError("no room"); };
  const Status status = Send();
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "no room");
}

TEST_F(RestoreLargeTest, APictureThatIsNotWhole) {
  service_.cut_off = 100;
  const Status status = Send();
  EXPECT_EQ(status.error_code(), StatusCode::DATA_LOSS);
  EXPECT_THAT(status.error_message(), HasSubstr("100 bytes less"));
}

}  // namespace
}  // namespace deweather
