#include <deweather/frame_stream.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "tests/client_cpp/fake_services.h"

namespace deweather {
namespace {

using grpc::Status;
using grpc::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;

// Sends each frame back: "bad" as an error, "late" as dropped.
Status Echo(grpc::ServerContext&, FakeRestoration::Frames& stream) {
  v1::RestoreStreamRequest request;
  while (stream.Read(&request)) {
    if (!request.has_frame()) continue;
    v1::RestoreStreamResponse response;
    response.set_id(request.frame().id());
    if (request.frame().image() == "bad") {
      response.mutable_error()->set_code(StatusCode::INVALID_ARGUMENT);
      response.mutable_error()->set_message("no picture");
      response.mutable_error()->set_reason("INVALID_IMAGE");
      response.mutable_error()->mutable_retry_delay()->set_seconds(2);
    } else if (request.frame().image() == "late") {
      response.set_dropped(true);
    } else {
      response.mutable_restored()->set_image(request.frame().image());
    }
    stream.Write(response);
  }
  return Status::OK;
}

class FrameStreamTest : public ClientTest {
 protected:
  FrameStreamTest() { restoration_.frames = Echo; }
};

TEST_F(FrameStreamTest, OneThreadPushesAndReads) {
  FrameStream stream = client_->RestoreStream();
  std::vector<std::string> seen;
  for (int i = 0; i < 50;) {
    if (stream.HasRoom()) {
      stream.Push(std::to_string(i), i);
      ++i;
    } else {
      seen.push_back(stream.Next()->restored->image);
    }
  }
  stream.Close();
  for (const FrameResult& result : stream) {
    EXPECT_EQ(result.id, static_cast<int64_t>(seen.size()));
    seen.push_back(result.restored->image);
  }
  ASSERT_EQ(seen.size(), 50U);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(seen[static_cast<size_t>(i)], std::to_string(i));
  EXPECT_FALSE(stream.Next());
}

TEST_F(FrameStreamTest, OptionsOfTheStart) {
  v1::RestoreStreamRequest start;
  restoration_.frames = [&](grpc::ServerContext&, FakeRestoration::Frames& stream) {
    stream.Read(&start);
    return Status::OK;
  };
  RestoreOptions options;
  options.model = "rain";
  StreamOptions wishes;
  wishes.window = 7;
  wishes.drop_oldest = true;
  FrameStream stream = client_->RestoreStream(options, wishes);
  stream.Close();
  EXPECT_FALSE(stream.Next());
  EXPECT_EQ(start.start().options().model(), "rain");
  EXPECT_EQ(start.start().window(), 7);
  EXPECT_TRUE(start.start().drop_oldest());
  wishes.window = 17;
  EXPECT_THAT(ErrorOf([&] { client_->RestoreStream({}, wishes); }).message(),
              HasSubstr("window is 17; it must be 1 to 16"));
}

TEST_F(FrameStreamTest, WhatBecameOfAFrame) {
  FrameStream stream = client_->RestoreStream();
  for (const char* const frame : {"good", "bad", "late"}) {
    stream.Push(std::string(frame), 5);
  }
  stream.Close();
  const FrameResult good = *stream.Next();
  EXPECT_EQ(good.restored->image, "good");
  EXPECT_FALSE(good.dropped());
  const FrameResult bad = *stream.Next();
  EXPECT_FALSE(bad.restored);
  EXPECT_EQ(bad.error->code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(bad.error->reason(), "INVALID_IMAGE");
  EXPECT_EQ(bad.error->retry_delay(), std::chrono::seconds(2));
  EXPECT_EQ(bad.error->request_id(), good.restored->request_id);
  EXPECT_TRUE(stream.Next()->dropped());
}

TEST_F(FrameStreamTest, NoMoreThanTheWindowIsUnderWay) {
  std::atomic<int> pushed = 0;
  std::atomic<int> taken = 0;
  std::atomic<int> most = 0;
  StreamOptions wishes;
  wishes.window = 3;
  const auto next = [&]() -> std::optional<std::string> {
    // This frame is not under way yet.
    most = std::max<int>(most, pushed - taken);
    return pushed++ < 200 ? std::optional<std::string>("frame") : std::nullopt;
  };
  EXPECT_EQ(client_->RestoreFrames(
                next, [&](FrameResult&) { ++taken; }, {}, wishes),
            200);
  EXPECT_LE(most, 4);  // one result may be between the stream and `take`
}

TEST_F(FrameStreamTest, AnErrorOfTheStreamEndsBothSides) {
  restoration_.frames = [](grpc::ServerContext&, FakeRestoration::Frames&) {
    return Refusal(StatusCode::NOT_FOUND, "no model 'x'", "UNKNOWN_MODEL");
  };
  FrameStream stream = client_->RestoreStream();
  for (int i = 0; i < 2; ++i) {
    const Error error = ErrorOf([&] { stream.Next(); });
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
    EXPECT_EQ(error.reason(), "UNKNOWN_MODEL");
  }
  EXPECT_TRUE(stream.HasRoom());
  EXPECT_FALSE(stream.Push(std::string("frame")));
}

TEST_F(FrameStreamTest, ThrowingSourcesAndSinksEndIt) {
  const auto endless = [] { return std::optional<std::string>("frame"); };
  EXPECT_THROW(
      client_->RestoreFrames(endless, [](FrameResult&) { throw std::logic_error("sink"); }),
      std::logic_error);
  const auto broken = []() -> std::optional<std::string> { throw std::out_of_range("source"); };
  EXPECT_THROW(client_->RestoreFrames(broken, [](FrameResult&) {}), std::out_of_range);
}

TEST_F(FrameStreamTest, AnotherThreadCancelsWhoWaits) {
  restoration_.frames = [](grpc::ServerContext& context, FakeRestoration::Frames&) {
    return Hang(context);
  };
  FrameStream stream = client_->RestoreStream();
  std::atomic<int> pushed = 0;
  std::jthread pusher([&] {
    while (stream.Push(std::string("frame"))) ++pushed;
  });
  std::jthread reader(
      [&] { EXPECT_EQ(ErrorOf([&] { stream.Next(); }).code(), ErrorCode::kCancelled); });
  while (pushed < 4) std::this_thread::yield();
  stream.Cancel();
}

TEST_F(FrameStreamTest, ACancellationEndsAPushThatNobodyReads) {
  CallOptions call;
  call.cancellation.emplace();
  FrameStream stream = client_->RestoreStream({}, {}, call);
  std::jthread pusher([&] {
    while (stream.Push(std::string("frame"))) continue;
  });
  while (stream.HasRoom()) std::this_thread::yield();
  call.cancellation->Cancel();
}

// The loop that frame_stream.h shows.
TEST_F(FrameStreamTest, ACancellationEndsOneThreadThatPushesAndReads) {
  CallOptions call;
  call.cancellation.emplace();
  FrameStream stream = client_->RestoreStream({}, {}, call);
  int results = 0;
  const auto restore = [&] {
    for (;;) {
      if (stream.HasRoom() && stream.Push(std::string("frame"))) continue;
      if (!stream.Next()) break;
      if (++results == 5) call.cancellation->Cancel();
    }
  };
  EXPECT_EQ(ErrorOf(restore).code(), ErrorCode::kCancelled);
}

TEST_F(FrameStreamTest, DestroyedWithFramesUnderWay) {
  std::atomic<bool> cancelled = false;
  restoration_.frames = [&](grpc::ServerContext& context, FakeRestoration::Frames&) {
    while (!context.IsCancelled()) std::this_thread::yield();
    cancelled = true;
    return Status::OK;
  };
  {
    FrameStream stream = client_->RestoreStream();
    stream.Push(std::string("frame"));
    FrameStream moved = std::move(stream);
  }
  while (!cancelled) std::this_thread::yield();
}

TEST_F(FrameStreamTest, NothingFollowsAClose) {
  FrameStream stream = client_->RestoreStream();
  stream.Close();
  stream.Close();
  EXPECT_EQ(ErrorOf([&] { stream.Push(std::string("frame")); }).code(),
            ErrorCode::kFailedPrecondition);
}

}  // namespace
}  // namespace deweather
