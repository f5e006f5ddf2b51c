// RestoreStream: frames in order, the window, dropping, and all that ends a stream.

#include <gmock/gmock.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_split.h"
#include "server/log/log.h"
#include "server/rpc/request_log.h"
#include "tests/rpc/rpc_fixture.h"

namespace deweather {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Response = v1::RestoreStreamResponse;

// One call, as its caller sees it.
class Stream {
 public:
  explicit Stream(v1::RestorationService::Stub& stub, absl::Duration timeout = absl::Seconds(60)) {
    context_.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    stream_ = stub.RestoreStream(&context_);
  }

  bool Start(int window = 0, bool drop_oldest = false, const v1::RestoreOptions& options = {}) {
    v1::RestoreStreamRequest request;
    request.mutable_start()->set_window(window);
    request.mutable_start()->set_drop_oldest(drop_oldest);
    *request.mutable_start()->mutable_options() = options;
    return stream_->Write(request);
  }

  bool Send(int64_t id, const std::string& image) {
    v1::RestoreStreamRequest request;
    request.mutable_frame()->set_id(id);
    request.mutable_frame()->set_image(image);
    return stream_->Write(request);
  }

  void SendNothing() { stream_->Write(v1::RestoreStreamRequest()); }
  void HalfClose() { stream_->WritesDone(); }
  void Cancel() { context_.TryCancel(); }
  grpc::Status Finish() { return stream_->Finish(); }

  // An empty one at the end.
  Response Read() {
    Response response;
    if (!stream_->Read(&response)) response.Clear();
    return response;
  }

  std::vector<Response> ReadAll() {
    std::vector<Response> all;
    Response response;
    while (stream_->Read(&response)) all.push_back(response);
    return all;
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::RestoreStreamRequest, Response>> stream_;
};

std::vector<int64_t> IdsOf(const std::vector<Response>& responses) {
  std::vector<int64_t> ids;
  for (const Response& response : responses) ids.push_back(response.id());
  return ids;
}

class StreamTest : public RpcTest {
 protected:
  void ExpectRefused(const std::string& reason, const std::vector<std::string>& said,
                     const std::function<void(Stream&)>& misbehave) {
    Stream stream(*stub_);
    misbehave(stream);
    const grpc::Status status = stream.Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    for (const std::string& words : said) EXPECT_THAT(status.error_message(), HasSubstr(words));
    EXPECT_EQ(ReasonOf(status), reason);
    ExpectNothingLeft();
  }

  // Writes frames until the server ends the call, and reads nothing; the end.
  grpc::Status SendWithoutReading(bool drop_oldest) {
    LimitOptions limits;
    limits.max_stream_idle = absl::Milliseconds(300);
    Serve(limits);
    const std::string image = Png(NoiseImage(1000, 700));
    Stream stream(*stub_);
    EXPECT_TRUE(stream.Start(2, drop_oldest));
    int64_t sent = 0;
    while (stream.Send(sent, image)) ++sent;
    EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
    stream.ReadAll();
    return stream.Finish();
  }
};

TEST_F(StreamTest, FramesComeBackInOrder) {
  Serve();
  Stream stream(*stub_);
  ASSERT_TRUE(stream.Start());
  std::vector<Image> images;
  std::thread writer([&] {
    for (int i = 0; i < 20; ++i) {
      images.push_back(NoiseImage(20 + 50 * (i % 3), 40));  // a frame may change its size
      ASSERT_TRUE(stream.Send(100 - i, Png(images.back())));
    }
    stream.HalfClose();
  });
  const std::vector<Response> all = stream.ReadAll();
  writer.join();
  EXPECT_TRUE(stream.Finish().ok());
  ASSERT_EQ(all.size(), 20u);
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(all[i].id(), 100 - static_cast<int64_t>(i));
    EXPECT_EQ(DecodeImage(all[i].restored().image(), {}).value().samples, images[i].samples);
    EXPECT_EQ(all[i].restored().model().name(), "identity");
  }
  EXPECT_EQ(Requests(absl::StatusCode::kOk), 20);
  ExpectNothingLeft();
}

TEST_F(StreamTest, OptionsHoldForEveryFrame) {
  Serve();
  v1::RestoreOptions options;
  options.set_format(v1::RestoreOptions::FORMAT_JPEG);
  Stream stream(*stub_);
  ASSERT_TRUE(stream.Start(0, false, options));
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(stream.Send(i, Png(NoiseImage(30, 30))));
    EXPECT_EQ(stream.Read().restored().format(), v1::RestoreOptions::FORMAT_JPEG);
  }
  stream.HalfClose();
  EXPECT_TRUE(stream.Finish().ok());
}

TEST_F(StreamTest, AnswerThatIsReadyWaitsForItsTurn) {
  ModelGate gate;
  const FakeModel fake = {.on_run = gate.OnRun()};
  Serve({}, &fake);
  Stream stream(*stub_);
  ASSERT_TRUE(stream.Start());
  ASSERT_TRUE(stream.Send(1, Png(NoiseImage(32, 32))));
  gate.AwaitModel();
  ASSERT_TRUE(stream.Send(2, "no picture"));
  ASSERT_TRUE(HappensSoon([this] { return Requests(absl::StatusCode::kInvalidArgument) == 1; }));
  gate.Open();
  stream.HalfClose();
  const std::vector<Response> all = stream.ReadAll();
  EXPECT_TRUE(stream.Finish().ok());
  EXPECT_THAT(IdsOf(all), ElementsAre(1, 2));
  EXPECT_TRUE(all[0].has_restored());
  EXPECT_TRUE(all[1].has_error());
}

TEST_F(StreamTest, BadFrameDoesNotEndTheStream) {
  Serve();
  Stream stream(*stub_);
  ASSERT_TRUE(stream.Start());
  const std::string image = Png(NoiseImage(32, 32));
  for (const std::string& frame : {image, image.substr(0, 30), std::string(), image}) {
    ASSERT_TRUE(stream.Send(7, frame));
  }
  stream.HalfClose();
  const std::vector<Response> all = stream.ReadAll();
  EXPECT_TRUE(stream.Finish().ok());
  ASSERT_EQ(all.size(), 4u);
  for (const int bad : {1, 2}) {
    const v1::FrameError& error = all[static_cast<size_t>(bad)].error();
    EXPECT_EQ(error.code(), static_cast<int>(grpc::StatusCode::INVALID_ARGUMENT));
    EXPECT_EQ(error.reason(), "INVALID_IMAGE");
    EXPECT_FALSE(error.message().empty());
    EXPECT_FALSE(error.has_retry_delay());
  }
  EXPECT_TRUE(all[0].has_restored());
  EXPECT_TRUE(all[3].has_restored());
}

// What a stream brings makes few lines, however many frames fail.
TEST_F(StreamTest, FailedFramesAreCountedInTheCallsLine) {
  const std::shared_ptr<spdlog::logger> before = spdlog::default_logger();
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::tmpfile(), std::fclose);
  {
    Log log(fileno(file.get()));
    RequestLog requests(100);
    entrance_.requests = &requests;
    const FakeModel fake = {.nan_for_white = true};
    Serve({}, &fake);
    Image white = NoiseImage(32, 32);
    const std::string good = Png(white);
    std::fill(white.samples.begin(), white.samples.end(), uint8_t{255});
    const std::string failing = Png(white);
    Stream stream(*stub_);
    ASSERT_TRUE(stream.Start());
    for (const std::string& frame : {good, failing, std::string("no picture"), failing, failing}) {
      ASSERT_TRUE(stream.Send(1, frame));
    }
    stream.HalfClose();
    EXPECT_EQ(stream.ReadAll().size(), 5u);
    EXPECT_TRUE(stream.Finish().ok());
    TearDown();  // it logs no more
    spdlog::set_default_logger(before);
  }
  std::rewind(file.get());
  std::string text(1 << 14, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  const std::vector<std::string> lines = absl::StrSplit(text, '\n');
  ASSERT_EQ(lines.size(), 3u) << text;
  EXPECT_THAT(lines[0], HasSubstr("\"level\":\"error\""));
  EXPECT_THAT(lines[1], HasSubstr("\"level\":\"info\""));
  EXPECT_THAT(lines[1], HasSubstr("\"frames\":5,\"failed_frames\":4"));
  EXPECT_EQ(lines[2], "");
}

TEST_F(StreamTest, RefusedFrameSaysWhenToTryAgain) {
  Serve({}, nullptr, {.workers = 2, .max_batch = 4, .admission = {.max_bytes = 1'000'000}});
  auto room = pipeline_->Reserve("somebody", 999'999);
  ASSERT_TRUE(room.ok());
  Stream stream(*stub_);
  ASSERT_TRUE(stream.Start());
  ASSERT_TRUE(stream.Send(1, Png(NoiseImage(32, 32))));
  const v1::FrameError error = stream.Read().error();
  EXPECT_EQ(error.code(), static_cast<int>(grpc::StatusCode::RESOURCE_EXHAUSTED));
  EXPECT_EQ(error.reason(), "BYTE_BUDGET");
  EXPECT_TRUE(error.has_retry_delay());
  room->reset();
  ASSERT_TRUE(stream.Send(2, Png(NoiseImage(32, 32))));
  EXPECT_TRUE(stream.Read().has_restored());
}

TEST_F(StreamTest, OversizeReplyIsTheFramesError) {
  LimitOptions limits;
  limits.max_send_bytes = 5000;
  Serve(limits);
  Stream stream(*stub_);
  ASSERT_TRUE(stream.Start());
  ASSERT_TRUE(stream.Send(1, Png(NoiseImage(100, 100))));
  EXPECT_EQ(stream.Read().error().reason(), "REPLY_SIZE");
  ASSERT_TRUE(stream.Send(2, Png(NoiseImage(10, 10))));
  EXPECT_TRUE(stream.Read().has_restored());
}

TEST_F(StreamTest, NoMoreFramesThanTheWindowAreUnderWay) {
  std::atomic<size_t> most = 0;
  RestorePipelineOptions options = {.workers = 2, .max_batch = 16};
  options.decorate_run = [&most](RunBatch run) -> RunBatch {
    return [&most, run](absl::Span<const Tile> tiles) {
      std::set<const Call*> calls;
      for (const Tile& tile : tiles) calls.insert(tile.call.get());
      most = std::max(most.load(), calls.size());
      return run(tiles);
    };
  };
  ModelGate gate;
  const FakeModel fake = {.on_run = gate.OnRun()};
  Serve({}, &fake, options);
  Stream stream(*stub_);
  ASSERT_TRUE(stream.Start(3));
  for (int i = 0; i < 12; ++i) ASSERT_TRUE(stream.Send(i, Png(NoiseImage(60, 60))));
  ASSERT_TRUE(HappensSoon([this] { return pipeline_->in_flight() == 3; }));
  gate.Open();
  stream.HalfClose();
  EXPECT_EQ(stream.ReadAll().size(), 12u);
  EXPECT_TRUE(stream.Finish().ok());
  EXPECT_GE(most, 2u);
  EXPECT_LE(most, 3u);
}

TEST_F(StreamTest, OldestWaitingFramesAreDropped) {
  ModelGate gate;
  const FakeModel fake = {.on_run = gate.OnRun()};
  Serve({}, &fake);
  Stream stream(*stub_);
  ASSERT_TRUE(stream.Start(2, true));
  for (int i = 0; i < 9; ++i) ASSERT_TRUE(stream.Send(i, Png(NoiseImage(32, 32))));
  ASSERT_TRUE(stream.Send(9, std::string(1'000'000, 'x')));
  ASSERT_TRUE(HappensSoon([this] { return ReservedBytes() > 1'000'000; }));  // all have been read
  EXPECT_EQ(pipeline_->in_flight(), 2);
  gate.Open();
  stream.HalfClose();
  const std::vector<Response> all = stream.ReadAll();
  EXPECT_TRUE(stream.Finish().ok());
  EXPECT_THAT(IdsOf(all), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
  for (const size_t kept : {0u, 1u, 8u}) EXPECT_TRUE(all[kept].has_restored()) << kept;
  for (size_t i = 2; i < 8; ++i) EXPECT_TRUE(all[i].dropped()) << i;
  EXPECT_EQ(all[9].error().reason(), "INVALID_IMAGE");
  ExpectNothingLeft();
}

TEST_F(StreamTest, NothingIsDroppedWhileTheServerKeepsUp) {
  Serve();
  Stream stream(*stub_);
  ASSERT_TRUE(stream.Start(1, true));
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(stream.Send(i, Png(NoiseImage(32, 32))));
    EXPECT_TRUE(stream.Read().has_restored());
  }
}

TEST_F(StreamTest, WaitingFrameThatFindsNoRoomIsRefused) {
  ModelGate gate;
  const FakeModel fake = {.on_run = gate.OnRun()};
  Serve({}, &fake, {.workers = 2, .max_batch = 4, .admission = {.max_bytes = 1'000'000}});
  Stream stream(*stub_);
  ASSERT_TRUE(stream.Start(1, true));
  ASSERT_TRUE(stream.Send(0, Png(NoiseImage(32, 32))));
  gate.AwaitModel();
  ASSERT_TRUE(stream.Send(1, std::string(2'000'000, 'x')));
  ASSERT_TRUE(HappensSoon([this] { return Requests(absl::StatusCode::kResourceExhausted) == 1; }));
  gate.Open();
  stream.HalfClose();
  const std::vector<Response> all = stream.ReadAll();
  EXPECT_TRUE(stream.Finish().ok());
  ASSERT_THAT(IdsOf(all), ElementsAre(0, 1));
  EXPECT_EQ(all[1].error().code(), static_cast<int>(grpc::StatusCode::RESOURCE_EXHAUSTED));
}

TEST_F(StreamTest, FrameWithoutRoomDropsNoOther) {
  ModelGate gate;
  const FakeModel fake = {.on_run = gate.OnRun()};
  Serve({}, &fake, {.workers = 2, .max_batch = 4, .admission = {.max_bytes = 1'000'000}});
  Stream stream(*stub_);
  ASSERT_TRUE(stream.Start(1, true));
  ASSERT_TRUE(stream.Send(0, Png(NoiseImage(32, 32))));
  gate.AwaitModel();
  ASSERT_TRUE(stream.Send(1, Png(NoiseImage(32, 32))));
  ASSERT_TRUE(stream.Send(2, std::string(2'000'000, 'x')));
  ASSERT_TRUE(HappensSoon([this] { return Requests(absl::StatusCode::kResourceExhausted) == 1; }));
  gate.Open();
  stream.HalfClose();
  const std::vector<Response> all = stream.ReadAll();
  EXPECT_TRUE(stream.Finish().ok());
  ASSERT_THAT(IdsOf(all), ElementsAre(0, 1, 2));
  EXPECT_TRUE(all[1].has_restored());
  EXPECT_EQ(all[2].error().code(), static_cast<int>(grpc::StatusCode::RESOURCE_EXHAUSTED));
}

TEST_F(StreamTest, EveryFrameHasItsMapOfTheStreamsSeed) {
  const FakeModel fake = {.layers = 1, .experts = 3, .kept = 1};
  Serve({}, &fake);
  v1::RestoreOptions options;
  options.set_uncertainty_map(true);
  options.set_seed(7);
  const std::string image = Png(NoiseImage(200, 100));
  v1::RestoreResponse alone;
  ASSERT_TRUE(Restore(image, options, &alone).ok());
  Stream stream(*stub_);
  ASSERT_TRUE(stream.Start(2, false, options));
  for (int id = 0; id < 3; ++id) ASSERT_TRUE(stream.Send(id, image));
  stream.HalfClose();
  const std::vector<Response> all = stream.ReadAll();
  EXPECT_TRUE(stream.Finish().ok());
  ASSERT_EQ(all.size(), 3u);
  for (const Response& response : all) {
    EXPECT_EQ(response.restored().uncertainty_map(), alone.uncertainty_map());
  }
}

TEST_F(StreamTest, TasksAndMapsAreCheckedAtTheStart) {
  const FakeModel fake = {.tasks = {"rain"}};
  Serve({}, &fake);
  const auto end_of = [this](const std::string& task, bool map) {
    v1::RestoreOptions options;
    options.set_task(task);
    options.set_uncertainty_map(map);
    Stream stream(*stub_);
    stream.Start(0, false, options);
    return stream.Finish();
  };
  EXPECT_EQ(ReasonOf(end_of("", false)), "TASK_REQUIRED");
  EXPECT_EQ(ReasonOf(end_of("fog", false)), "UNKNOWN_TASK");
  const grpc::Status map = end_of("rain", true);
  EXPECT_EQ(map.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonOf(map), "NOT_ROUTED");
}

// Of small files with large replies. gRPC's own quota has the same limit: near it new calls wait for memory.
TEST_F(StreamTest, ReplyWithoutRoomCountsAsRefused) {
  LimitOptions limits;
  limits.max_transport_bytes = 12'000'000;
  Serve(limits);
  const auto plain = [](int height) {
    Image image = NoiseImage(2000, height);
    std::ranges::fill(image.samples, uint8_t{7});
    return Png(image);
  };
  v1::RestoreOptions options;
  options.set_format(v1::RestoreOptions::FORMAT_BMP);
  Stream unread(*stub_);
  ASSERT_TRUE(unread.Start(0, false, options));
  ASSERT_TRUE(unread.Send(1, plain(700)));  // 4.2 MB
  ASSERT_TRUE(HappensSoon([this] { return Requests(absl::StatusCode::kOk) == 1; }));
  const auto other = v1::RestorationService::NewStub(OpenChannel());
  Stream stream(*other);
  ASSERT_TRUE(stream.Start(0, false, options));
  ASSERT_TRUE(stream.Send(1, plain(1500)));  // 9 MB
  EXPECT_EQ(stream.Read().error().reason(), "BYTE_BUDGET");
  EXPECT_EQ(Requests(absl::StatusCode::kOk), 1);
  EXPECT_EQ(Requests(absl::StatusCode::kResourceExhausted), 1);
  EXPECT_TRUE(unread.Read().has_restored());
}

TEST_F(StreamTest, HalfCloseAtOnceIsFine) {
  Serve();
  Stream nothing(*stub_), started(*stub_);
  nothing.HalfClose();
  EXPECT_TRUE(nothing.Finish().ok());
  started.Start();
  started.HalfClose();
  EXPECT_TRUE(started.ReadAll().empty());
  EXPECT_TRUE(started.Finish().ok());
  ExpectNothingLeft();
}

TEST_F(StreamTest, MessagesOutOfOrder) {
  Serve();
  const std::string reason = "MESSAGE_OUT_OF_ORDER";
  ExpectRefused(reason, {"before the start"}, [](Stream& s) { s.Send(1, "x"); });
  ExpectRefused(reason, {"neither a start nor a frame"}, [](Stream& s) { s.SendNothing(); });
  ExpectRefused(reason, {"a second start"}, [](Stream& s) {
    s.Start();
    s.Start();
  });
}

TEST_F(StreamTest, StartOutOfRange) {
  Serve();
  ExpectRefused("WINDOW_RANGE", {"window is 17;", "1..16"}, [](Stream& s) { s.Start(17); });
  ExpectRefused("WINDOW_RANGE", {"window is -1;"}, [](Stream& s) { s.Start(-1); });
  ExpectRefused("INVALID_OPTION", {"format is 77"}, [](Stream& s) {
    v1::RestoreOptions options;
    options.set_format(static_cast<v1::RestoreOptions::Format>(77));
    s.Start(1, false, options);
  });
  ExpectRefused("INVALID_OPTION", {"101"}, [](Stream& s) {
    v1::RestoreOptions options;
    options.set_quality(101);
    s.Start(1, false, options);
  });
  EXPECT_EQ(Requests(absl::StatusCode::kInvalidArgument), 4);
}

TEST_F(StreamTest, UnknownModelEndsTheStreamAtItsStart) {
  Serve();
  v1::RestoreOptions options;
  options.set_model("nobody");
  Stream stream(*stub_);
  stream.Start(1, false, options);
  const grpc::Status status = stream.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ReasonOf(status), "UNKNOWN_MODEL");
}

TEST_F(StreamTest, FrameLargerThanAMessage) {
  LimitOptions limits;
  limits.max_receive_bytes = 10'000;
  Serve(limits);
  Stream stream(*stub_);
  stream.Start();
  stream.Send(1, std::string(20'000, 'x'));
  const grpc::Status status = stream.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("10000"));
  ExpectNothingLeft();
}

TEST_F(StreamTest, CancelStopsEverything) {
  ModelGate gate;
  const FakeModel fake = {.on_run = gate.OnRun()};
  Serve({}, &fake);
  Stream stream(*stub_);
  ASSERT_TRUE(stream.Start(2, true));
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(stream.Send(i, Png(NoiseImage(100, 100))));
  gate.AwaitModel();
  ASSERT_TRUE(HappensSoon([this] { return pipeline_->in_flight() == 2; }));
  stream.Cancel();
  EXPECT_EQ(stream.Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
  gate.Open();
  ExpectNothingLeft();
  EXPECT_EQ(Requests(absl::StatusCode::kCancelled), 2);
}

TEST_F(StreamTest, DeadlineIsThatOfTheWholeStream) {
  ModelGate gate;
  const FakeModel fake = {.on_run = gate.OnRun()};
  Serve({}, &fake);
  Stream stream(*stub_, absl::Milliseconds(200));
  ASSERT_TRUE(stream.Start());
  ASSERT_TRUE(stream.Send(1, Png(NoiseImage(32, 32))));
  EXPECT_EQ(stream.Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  gate.Open();
  ExpectNothingLeft();
}

TEST_F(StreamTest, DeadlineIsPastAtTheStart) {
  Serve();
  Stream stream(*stub_, -absl::Milliseconds(10));
  stream.Start();
  EXPECT_EQ(stream.Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  ExpectNothingLeft();
}

TEST_F(StreamTest, SilentCallerIsCutOff) {
  LimitOptions limits;
  limits.max_stream_idle = absl::Milliseconds(250);
  Serve(limits);
  Stream stream(*stub_);
  ASSERT_TRUE(stream.Start());
  ASSERT_TRUE(stream.Send(1, Png(NoiseImage(32, 32))));
  EXPECT_TRUE(stream.Read().has_restored());
  const grpc::Status status = stream.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(status.error_message(), HasSubstr("no message has come for the limit of 250ms"));
  EXPECT_EQ(ReasonOf(status), "STREAM_IDLE");
  ExpectNothingLeft();
}

// Two of the window, and what HTTP/2 holds on its way.
constexpr double kMostUnread = 8;

TEST_F(StreamTest, CallerThatDoesNotReadIsCutOff) {
  const grpc::Status status = SendWithoutReading(false);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(status.error_message(), HasSubstr("read no reply for the limit of 300ms"));
  EXPECT_LE(Requests(absl::StatusCode::kOk), kMostUnread);
  ExpectNothingLeft();
}

TEST_F(StreamTest, CallerThatDoesNotReadIsCutOffThoughFramesAreDropped) {
  const grpc::Status status = SendWithoutReading(true);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_LE(Requests(absl::StatusCode::kOk), kMostUnread);
  ExpectNothingLeft();
}

TEST_F(StreamTest, AnswersToFramesThatDidNotRunAreBounded) {
  ModelGate gate;
  const FakeModel fake = {.on_run = gate.OnRun()};
  Serve({}, &fake, {.workers = 2, .max_batch = 4, .admission = {.max_bytes = 10'000}});
  Stream stream(*stub_);
  ASSERT_TRUE(stream.Start(1, true));
  ASSERT_TRUE(stream.Send(-1, Png(NoiseImage(32, 32))));
  gate.AwaitModel();
  std::thread writer([&] {
    const std::string frame(9000, 'x');  // more than there is room for
    for (int i = 0; i < 3000; ++i) ASSERT_TRUE(stream.Send(i, frame));
    stream.HalfClose();
  });
  const auto refused = [this] { return Requests(absl::StatusCode::kResourceExhausted); };
  EXPECT_TRUE(HappensSoon([&] { return refused() >= 1024; }));
  for (int i = 0; i < 50; ++i) EXPECT_FALSE(Restore("no picture").ok());  // time to go wrong
  EXPECT_EQ(refused(), 1024);
  gate.Open();
  const std::vector<Response> all = stream.ReadAll();
  writer.join();
  EXPECT_TRUE(stream.Finish().ok());
  EXPECT_EQ(all.size(), 3001u);
  ExpectNothingLeft();
}

TEST_F(StreamTest, DrainFinishesWhatIsUnderWayAndEndsTheStream) {
  ModelGate gate;
  const FakeModel fake = {.on_run = gate.OnRun()};
  Serve({}, &fake);
  Stream stream(*stub_);
  ASSERT_TRUE(stream.Start(1, true));
  ASSERT_TRUE(stream.Send(1, Png(NoiseImage(32, 32))));
  gate.AwaitModel();
  const double reserved = ReservedBytes();
  ASSERT_TRUE(stream.Send(2, Png(NoiseImage(32, 32))));
  ASSERT_TRUE(HappensSoon([&] { return ReservedBytes() > reserved; }));  // it waits
  service_->BeginDrain();
  pipeline_->BeginDrain();
  gate.Open();
  const std::vector<Response> all = stream.ReadAll();
  const grpc::Status status = stream.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(status), "DRAINING");
  ASSERT_THAT(IdsOf(all), ElementsAre(1, 2));
  EXPECT_TRUE(all[0].has_restored());
  EXPECT_EQ(all[1].error().code(), static_cast<int>(grpc::StatusCode::UNAVAILABLE));
  EXPECT_EQ(all[1].error().reason(), "DRAINING");
}

TEST_F(StreamTest, DrainDoesNotWaitForIdleStreams) {
  Serve();
  Stream idle(*stub_);
  ASSERT_TRUE(idle.Start());
  ASSERT_TRUE(idle.Send(1, Png(NoiseImage(32, 32))));
  EXPECT_TRUE(idle.Read().has_restored());
  service_->BeginDrain();
  EXPECT_EQ(ReasonOf(idle.Finish()), "DRAINING");
  Stream late(*stub_);
  EXPECT_EQ(ReasonOf(late.Finish()), "DRAINING");
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
}

TEST_F(StreamTest, ShutdownEndsOpenStreams) {
  Serve();
  Stream stream(*stub_);
  ASSERT_TRUE(stream.Start());
  ASSERT_TRUE(stream.Send(1, Png(NoiseImage(32, 32))));
  EXPECT_TRUE(stream.Read().has_restored());
  Shutdown(server_, calls_, absl::ZeroDuration());
  EXPECT_EQ(calls_.count(), 0);
  EXPECT_FALSE(stream.Finish().ok());
}

}  // namespace
}  // namespace deweather
