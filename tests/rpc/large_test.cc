// RestoreLarge: pictures in chunks, everything a caller can do wrong with them, and what is left then.

#include <gmock/gmock.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/base/stopwatch.h"
#include "tests/clock_step.h"
#include "tests/rpc/rpc_fixture.h"

namespace deweather {
namespace {

using ::testing::HasSubstr;

// One call, as its caller sees it.
class Upload {
 public:
  explicit Upload(v1::RestorationService::Stub& stub, absl::Duration timeout = absl::Seconds(60)) {
    context_.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    stream_ = stub.RestoreLarge(&context_);
  }

  bool Start(int64_t image_bytes, const v1::RestoreOptions& options = {}) {
    v1::RestoreLargeRequest request;
    request.mutable_start()->set_image_bytes(image_bytes);
    *request.mutable_start()->mutable_options() = options;
    return stream_->Write(request);
  }

  bool Send(int64_t offset, const std::string& data) {
    v1::RestoreLargeRequest request;
    request.mutable_chunk()->set_offset(offset);
    request.mutable_chunk()->set_data(data);
    return stream_->Write(request);
  }

  void SendAll(const std::string& image, size_t chunk_bytes = size_t{1} << 20) {
    ASSERT_TRUE(Start(static_cast<int64_t>(image.size())));
    for (size_t at = 0; at < image.size(); at += chunk_bytes) {
      ASSERT_TRUE(Send(static_cast<int64_t>(at), image.substr(at, chunk_bytes)));
    }
  }

  void SendNothing() { stream_->Write(v1::RestoreLargeRequest()); }
  void HalfClose() { stream_->WritesDone(); }
  bool Read(v1::RestoreLargeResponse* response) { return stream_->Read(response); }
  void Cancel() { context_.TryCancel(); }

  // Leaves unread what has not been read.
  grpc::Status Finish() { return stream_->Finish(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::RestoreLargeRequest, v1::RestoreLargeResponse>>
      stream_;
};

struct Download {
  std::vector<v1::RestoreLargeResponse::Progress> progress;
  std::vector<v1::RestoreLargeResponse::Summary> summaries;
  size_t longest_chunk = 0;
  std::string image;
};

// Checks the order of the messages.
Download ReadAll(Upload& upload) {
  Download all;
  v1::RestoreLargeResponse response;
  while (upload.Read(&response)) {
    if (response.has_progress()) {
      EXPECT_TRUE(all.summaries.empty());
      all.progress.push_back(response.progress());
    } else if (response.has_summary()) {
      EXPECT_TRUE(all.image.empty());
      all.summaries.push_back(response.summary());
    } else {
      EXPECT_EQ(all.summaries.size(), 1u);
      EXPECT_EQ(response.chunk().offset(), static_cast<int64_t>(all.image.size()));
      EXPECT_FALSE(response.chunk().data().empty());
      all.longest_chunk = std::max(all.longest_chunk, response.chunk().data().size());
      all.image += response.chunk().data();
    }
  }
  return all;
}

// A model that stops at its second run.
class SecondRunGate {
 public:
  std::function<void(int)> OnRun() {
    return [this](int) {
      if (++runs_ == 2) opened_.Wait();
    };
  }
  void Open() const { opened_.Raise(); }

 private:
  int runs_ = 0;  // the model's thread only
  const Signal opened_;
};

class LargeTest : public RpcTest {
 protected:
  void ExpectRefused(const std::string& what, const std::string& reason,
                     const std::vector<std::string>& said,
                     const std::function<void(Upload&)>& misbehave) {
    const double before = Requests(absl::StatusCode::kInvalidArgument);
    Upload upload(*stub_);
    misbehave(upload);
    const grpc::Status status = upload.Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << what;
    for (const std::string& words : said) {
      EXPECT_THAT(status.error_message(), HasSubstr(words)) << what;
    }
    EXPECT_EQ(ReasonOf(status), reason) << what;
    EXPECT_EQ(Requests(absl::StatusCode::kInvalidArgument), before + 1) << what;
    ExpectNothingLeft();
  }

  static LimitOptions ShortIdle() {
    LimitOptions limits;
    limits.max_stream_idle = absl::Milliseconds(100);
    return limits;
  }
};

TEST_F(LargeTest, GivesWhatRestoreGives) {
  Serve();
  const std::string image = Png(NoiseImage(900, 600, 4));
  v1::RestoreResponse small;
  ASSERT_TRUE(Restore(image, {}, &small).ok());
  Upload upload(*stub_);
  upload.SendAll(image, 300'000);
  upload.HalfClose();
  const Download large = ReadAll(upload);
  const grpc::Status status = upload.Finish();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(large.image, small.image());
  EXPECT_EQ(large.longest_chunk, size_t{1} << 20);
  ASSERT_EQ(large.summaries.size(), 1u);
  EXPECT_EQ(large.summaries[0].image_bytes(), static_cast<int64_t>(large.image.size()));
  const v1::RestoreResponse& response = large.summaries[0].response();
  EXPECT_TRUE(response.image().empty());
  EXPECT_EQ(response.format(), small.format());
  EXPECT_EQ(response.width_px(), 900);
  EXPECT_EQ(response.height_px(), 600);
  EXPECT_EQ(response.model().name(), "identity");
  EXPECT_EQ(response.timings().tiles(), small.timings().tiles());
  EXPECT_EQ(Requests(absl::StatusCode::kOk), 2);
  ExpectNothingLeft();
}

TEST_F(LargeTest, ProgressAscendsToItsEnd) {
  const FakeModel fake = {};
  Serve({}, &fake, {.workers = 2, .max_batch = 1});
  Upload upload(*stub_);
  upload.SendAll(Png(NoiseImage(150, 100)));
  const Download large = ReadAll(upload);  // without a half-close
  EXPECT_TRUE(upload.Finish().ok());
  ASSERT_FALSE(large.progress.empty());
  int before = 0;
  for (const auto& progress : large.progress) {
    EXPECT_GT(progress.tiles_done(), before);
    before = progress.tiles_done();
  }
  EXPECT_EQ(large.progress.back().tiles_done(), large.progress.back().tiles());
  EXPECT_EQ(large.progress.back().tiles(), large.summaries.at(0).response().timings().tiles());
}

TEST_F(LargeTest, PictureMayExceedAMessage) {
  LimitOptions limits;
  limits.max_receive_bytes = 100'000;
  limits.max_send_bytes = 100'000;
  Serve(limits);
  const Image image = NoiseImage(700, 500);
  Upload upload(*stub_);
  upload.SendAll(Png(image), 60'000);
  const Download large = ReadAll(upload);
  EXPECT_TRUE(upload.Finish().ok());
  EXPECT_EQ(DecodeImage(large.image, {}).value().samples, image.samples);
}

TEST_F(LargeTest, OptionsAreHeeded) {
  Serve();
  const std::string image = Png(NoiseImage(64, 64));
  v1::RestoreOptions options;
  options.set_format(v1::RestoreOptions::FORMAT_JPEG);
  Upload upload(*stub_);
  ASSERT_TRUE(upload.Start(static_cast<int64_t>(image.size()), options));
  ASSERT_TRUE(upload.Send(0, image));
  const Download large = ReadAll(upload);
  EXPECT_TRUE(upload.Finish().ok());
  EXPECT_EQ(large.summaries.at(0).response().format(), v1::RestoreOptions::FORMAT_JPEG);
  EXPECT_EQ(DecodeImage(large.image, {}).value().format, ImageFormat::kJpeg);
}

TEST_F(LargeTest, MapsComeWithTheSummary) {
  const FakeModel fake = {.layers = 1, .experts = 3, .kept = 1};
  Serve({}, &fake);
  const std::string image = Png(NoiseImage(200, 100));
  v1::RestoreOptions options;
  options.set_expert_map(true);
  options.set_uncertainty_map(true);
  options.set_seed(7);
  v1::RestoreResponse small;
  ASSERT_TRUE(Restore(image, options, &small).ok());
  Upload upload(*stub_);
  ASSERT_TRUE(upload.Start(static_cast<int64_t>(image.size()), options));
  ASSERT_TRUE(upload.Send(0, image));
  const Download large = ReadAll(upload);
  EXPECT_TRUE(upload.Finish().ok());
  const v1::RestoreResponse& response = large.summaries.at(0).response();
  EXPECT_FALSE(response.uncertainty_map().empty());
  EXPECT_EQ(response.uncertainty_map(), small.uncertainty_map());
  EXPECT_EQ(response.expert_map(), small.expert_map());
}

TEST_F(LargeTest, MapsThatNoMessageHoldsAreRefusedBeforeTheSummary) {
  const FakeModel fake = {.layers = 1, .experts = 3, .kept = 1};
  LimitOptions limits;
  limits.max_send_bytes = 1024;
  Serve(limits, &fake);
  const std::string image = Png(NoiseImage(400, 300));
  v1::RestoreOptions options;
  options.set_uncertainty_map(true);
  Upload upload(*stub_);
  ASSERT_TRUE(upload.Start(static_cast<int64_t>(image.size()), options));
  ASSERT_TRUE(upload.Send(0, image));
  EXPECT_TRUE(ReadAll(upload).summaries.empty());
  const grpc::Status status = upload.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(status), "REPLY_SIZE");
  EXPECT_THAT(status.error_message(), HasSubstr("the maps have"));
  EXPECT_EQ(Requests(absl::StatusCode::kResourceExhausted), 1);
  EXPECT_EQ(Requests(absl::StatusCode::kOk), 0);
}

TEST_F(LargeTest, AMapOfADenseModelIsRefusedBeforeThePicture) {
  Serve();
  v1::RestoreOptions options;
  options.set_uncertainty_map(true);
  Upload upload(*stub_);
  upload.Start(1000, options);
  const grpc::Status status = upload.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonOf(status), "NOT_ROUTED");
  ExpectNothingLeft();
}

TEST_F(LargeTest, MessagesOutOfOrder) {
  Serve();
  const std::string reason = "MESSAGE_OUT_OF_ORDER";
  ExpectRefused("chunk first", reason, {"before the start"}, [](Upload& u) { u.Send(0, "x"); });
  ExpectRefused("empty message", reason, {"neither a start nor a chunk"},
                [](Upload& u) { u.SendNothing(); });
  ExpectRefused("two starts", reason, {"a second start"}, [](Upload& u) {
    u.Start(10);
    u.Start(10);
  });
}

TEST_F(LargeTest, ChunksOutOfOrder) {
  Serve();
  const std::string reason = "CHUNK_OUT_OF_ORDER";
  const std::string data(4, 'x');
  ExpectRefused("gap at first", reason, {"offset 1;", "next offset is 0"}, [&](Upload& u) {
    u.Start(10);
    u.Send(1, data);
  });
  ExpectRefused("gap", reason, {"4 bytes at offset 5;", "next offset is 4"}, [&](Upload& u) {
    u.Start(10);
    u.Send(0, data);
    u.Send(5, data);
  });
  ExpectRefused("duplicate", reason, {"offset 0;", "next offset is 4"}, [&](Upload& u) {
    u.Start(10);
    u.Send(0, data);
    u.Send(0, data);
  });
  ExpectRefused("negative", reason, {"offset -1;", "next offset is 0"}, [&](Upload& u) {
    u.Start(10);
    u.Send(-1, data);
  });
  ExpectRefused("empty", reason, {"offset 0 is empty", "1 byte"}, [](Upload& u) {
    u.Start(10);
    u.Send(0, "");
  });
  ExpectRefused("beyond", reason, {"4 bytes at offset 0", "image_bytes is 3"}, [&](Upload& u) {
    u.Start(3);
    u.Send(0, data);
  });
}

TEST_F(LargeTest, ChunkAfterTheLastOne) {
  ModelGate gate;
  const FakeModel fake = {.on_run = gate.OnRun()};
  Serve({}, &fake);
  const std::string image = Png(NoiseImage(32, 32));
  Upload upload(*stub_);
  upload.SendAll(image);
  gate.AwaitModel();
  upload.Send(static_cast<int64_t>(image.size()), "x");
  const grpc::Status status = upload.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonOf(status), "CHUNK_OUT_OF_ORDER");
  gate.Open();
  ExpectNothingLeft();
  EXPECT_EQ(Requests(absl::StatusCode::kInvalidArgument), 1);
  EXPECT_EQ(Requests(absl::StatusCode::kCancelled), 0);
}

TEST_F(LargeTest, HalfCloseBeforeTheEnd) {
  Serve();
  ExpectRefused("nothing", "PICTURE_INCOMPLETE", {"without a start"},
                [](Upload& u) { u.HalfClose(); });
  ExpectRefused("half", "PICTURE_INCOMPLETE", {"4 bytes of image_bytes 10"}, [](Upload& u) {
    u.Start(10);
    u.Send(0, "xxxx");
    u.HalfClose();
  });
}

TEST_F(LargeTest, SizesOutOfRange) {
  LimitOptions limits;
  limits.max_large_bytes = 5000;
  Serve(limits);
  for (const int64_t bytes : {int64_t{5001}, int64_t{0}, int64_t{-3}, int64_t{1} << 62}) {
    ExpectRefused("size", "PICTURE_SIZE",
                  {"image_bytes is " + std::to_string(bytes) + ";", "1..5000"},
                  [bytes](Upload& u) { u.Start(bytes); });
  }
}

TEST_F(LargeTest, WhatIsNoPictureOrOption) {
  Serve();
  ExpectRefused("no picture", "INVALID_IMAGE", {}, [](Upload& u) { u.SendAll("no picture"); });
  ExpectRefused("no option", "INVALID_OPTION", {"priority is 9"}, [](Upload& u) {
    v1::RestoreOptions options;
    options.set_priority(static_cast<v1::RestoreOptions::Priority>(9));
    u.Start(10, options);
  });
}

TEST_F(LargeTest, OptionsAreCheckedBeforeTheFirstChunk) {
  Serve();
  ExpectRefused("quality", "INVALID_OPTION", {"101"}, [](Upload& u) {
    v1::RestoreOptions options;
    options.set_quality(101);
    u.Start(10, options);
  });
  v1::RestoreOptions options;
  options.set_model("nobody");
  Upload upload(*stub_);
  upload.Start(10, options);
  const grpc::Status status = upload.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ReasonOf(status), "UNKNOWN_MODEL");
  EXPECT_EQ(Requests(absl::StatusCode::kNotFound), 1);
  ExpectNothingLeft();
}

TEST_F(LargeTest, ChunkLargerThanAMessage) {
  LimitOptions limits;
  limits.max_receive_bytes = 10'000;
  Serve(limits);
  Upload upload(*stub_);
  upload.Start(100'000);
  upload.Send(0, std::string(20'000, 'x'));
  const grpc::Status status = upload.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("10000"));
  ExpectNothingLeft();
}

TEST_F(LargeTest, RoomIsReservedBeforeTheFirstChunk) {
  Serve({}, nullptr, {.workers = 2, .max_batch = 4, .admission = {.max_bytes = 1'000'000}});
  Upload first(*stub_);
  ASSERT_TRUE(first.Start(900'000));
  ASSERT_TRUE(HappensSoon([this] { return ReservedBytes() == 900'000; }));
  const auto other = v1::RestorationService::NewStub(OpenChannel());
  Upload second(*other);
  second.Start(200'000);
  const grpc::Status status = second.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("200000"));
  EXPECT_THAT(status.error_message(), HasSubstr("1000000"));
  EXPECT_EQ(ReasonOf(status), "BYTE_BUDGET");
  EXPECT_TRUE(DetailOf<google::rpc::RetryInfo>(status).has_retry_delay());
  EXPECT_EQ(Requests(absl::StatusCode::kResourceExhausted), 1);
  first.Cancel();
  EXPECT_EQ(first.Finish().error_code(), grpc::StatusCode::CANCELLED);
  ExpectNothingLeft();
}

TEST_F(LargeTest, IdleUploadsShutNobodyOut) {
  Serve();
  const auto other = v1::RestorationService::NewStub(OpenChannel());
  Upload first(*stub_), second(*other);
  ASSERT_TRUE(first.Start(int64_t{1} << 30));
  ASSERT_TRUE(second.Start(int64_t{1} << 30));
  ASSERT_TRUE(HappensSoon([this] { return ReservedBytes() == 32 << 20; }));
  const auto third = v1::RestorationService::NewStub(OpenChannel());
  Upload upload(*third);
  upload.SendAll(Png(NoiseImage(64, 64)));
  EXPECT_FALSE(ReadAll(upload).image.empty());
  EXPECT_TRUE(upload.Finish().ok());
  first.Cancel();
  second.Cancel();
  first.Finish();
  second.Finish();
  ExpectNothingLeft();
}

TEST_F(LargeTest, RoomGrowsInSteps) {
  Serve();
  Upload upload(*stub_);
  ASSERT_TRUE(upload.Start(40 << 20));
  const std::string data(4 << 20, 'x');
  for (int sent = 0; sent < 36 << 20;) {
    ASSERT_TRUE(upload.Send(sent, data));
    sent += 4 << 20;
    const int steps = std::min(40 << 20, (sent / (16 << 20) + 1) * (16 << 20));
    ASSERT_TRUE(HappensSoon([&] { return ReservedBytes() == steps; })) << sent;
  }
  upload.Cancel();
  upload.Finish();
  ExpectNothingLeft();
}

TEST_F(LargeTest, StepWithoutRoomEndsTheCall) {
  Serve({}, nullptr, {.workers = 2, .max_batch = 4, .admission = {.max_bytes = 20 << 20}});
  auto others = pipeline_->Reserve("somebody", 1 << 20);
  ASSERT_TRUE(others.ok());
  Upload upload(*stub_);
  ASSERT_TRUE(upload.Start(30 << 20));
  ASSERT_TRUE(HappensSoon([this] { return ReservedBytes() == 17 << 20; }));
  upload.Send(0, std::string(16 << 20, 'x'));
  const grpc::Status status = upload.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(status), "BYTE_BUDGET");
  EXPECT_TRUE(DetailOf<google::rpc::RetryInfo>(status).has_retry_delay());
  EXPECT_EQ(Requests(absl::StatusCode::kResourceExhausted), 1);
  others->reset();
  ExpectNothingLeft();
}

TEST_F(LargeTest, PictureLargerThanTheBudgetIsServedAlone) {
  Serve({}, nullptr, {.workers = 2, .max_batch = 4, .admission = {.max_bytes = 10 << 20}});
  const Image image = NoiseImage(2600, 2400);
  Upload upload(*stub_);
  upload.SendAll(Png(image));
  EXPECT_EQ(DecodeImage(ReadAll(upload).image, {}).value().samples, image.samples);
  EXPECT_TRUE(upload.Finish().ok());
}

TEST_F(LargeTest, CancelWhileUploading) {
  Serve();
  Upload upload(*stub_);
  ASSERT_TRUE(upload.Start(100'000));
  ASSERT_TRUE(upload.Send(0, std::string(1000, 'x')));
  ASSERT_TRUE(HappensSoon([this] { return ReservedBytes() == 100'000; }));
  upload.Cancel();
  EXPECT_EQ(upload.Finish().error_code(), grpc::StatusCode::CANCELLED);
  ExpectNothingLeft();
  EXPECT_EQ(Requests(absl::StatusCode::kCancelled), 1);
  EXPECT_EQ(Requests(absl::StatusCode::kInvalidArgument), 0);
}

TEST_F(LargeTest, CancelWhileRestoring) {
  SecondRunGate gate;
  const FakeModel fake = {.on_run = gate.OnRun()};
  Serve({}, &fake, {.workers = 2, .max_batch = 1});
  Upload upload(*stub_);
  upload.SendAll(Png(NoiseImage(100, 100)));
  v1::RestoreLargeResponse response;
  ASSERT_TRUE(upload.Read(&response));
  EXPECT_EQ(response.progress().tiles_done(), 1);
  upload.Cancel();
  EXPECT_EQ(upload.Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
  gate.Open();
  ExpectNothingLeft();
  EXPECT_EQ(Requests(absl::StatusCode::kCancelled), 1);
}

TEST_F(LargeTest, CancelWhileDownloading) {
  Serve();
  Upload upload(*stub_);
  upload.SendAll(Png(NoiseImage(2000, 1500)));
  v1::RestoreLargeResponse response;
  while (!response.has_chunk()) ASSERT_TRUE(upload.Read(&response));
  upload.Cancel();
  EXPECT_EQ(upload.Finish().error_code(), grpc::StatusCode::CANCELLED);
  ExpectNothingLeft();
}

TEST_F(LargeTest, DeadlineIsPastAtTheStart) {
  Serve();
  Upload upload(*stub_, -absl::Milliseconds(10));
  upload.Start(10);
  EXPECT_EQ(upload.Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  ExpectNothingLeft();
}

TEST_F(LargeTest, DeadlinePassesWhileUploading) {
  Serve();
  Upload upload(*stub_, absl::Milliseconds(100));
  upload.Start(10);
  EXPECT_EQ(upload.Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  ExpectNothingLeft();
  EXPECT_EQ(Requests(absl::StatusCode::kDeadlineExceeded), 1);
  EXPECT_EQ(Requests(absl::StatusCode::kInvalidArgument), 0);
}

TEST_F(LargeTest, SilentCallerIsCutOff) {
  Serve(ShortIdle());
  Upload upload(*stub_);
  upload.Start(1'000'000);
  const grpc::Status status = upload.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(status.error_message(), HasSubstr("100ms"));
  EXPECT_EQ(ReasonOf(status), "STREAM_IDLE");
  ExpectNothingLeft();
}

TEST_F(LargeTest, SilentCallerIsCutOffWhateverTheClockSays) {
  Serve(ShortIdle());
  const StoppedClock stopped;
  const Stopwatch watch;
  Upload upload(*stub_);
  upload.Start(1'000'000);
  EXPECT_EQ(ReasonOf(upload.Finish()), "STREAM_IDLE");
  EXPECT_LT(watch.elapsed(), absl::Seconds(8)) << "it waits for a time of day";
}

TEST_F(LargeTest, CallerThatSendsNextToNothingIsCutOff) {
  Serve(ShortIdle());
  Upload upload(*stub_, absl::Seconds(20));
  ASSERT_TRUE(upload.Start(1'000'000));
  for (int64_t at = 0; upload.Send(at, "x"); ++at) {
    ASSERT_FALSE(Restore("no picture").ok());  // takes its time
  }
  const grpc::Status status = upload.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(status.error_message(), HasSubstr("less than 65536 bytes of the picture have come"));
  EXPECT_EQ(ReasonOf(status), "STREAM_IDLE");
  ExpectNothingLeft();
}

TEST_F(LargeTest, CallerThatDoesNotReadIsCutOff) {
  LimitOptions limits;
  limits.max_stream_idle = absl::Milliseconds(500);
  Serve(limits);
  const std::string image = Png(NoiseImage(2500, 2000));
  Upload upload(*stub_);
  upload.SendAll(image);
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
  ReadAll(upload);
  const grpc::Status status = upload.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(status.error_message(), HasSubstr("read no reply for the limit of 500ms"));
  ExpectNothingLeft();
}

TEST_F(LargeTest, RestoringIsNotIdle) {
  ModelGate gate;
  const FakeModel fake = {.on_run = gate.OnRun()};
  Serve(ShortIdle(), &fake);
  const std::string image = Png(NoiseImage(32, 32));
  Upload busy(*stub_);
  busy.SendAll(image);
  gate.AwaitModel();
  Upload idle(*stub_);  // began later: when its limit has passed, so has the other's
  EXPECT_EQ(ReasonOf(idle.Finish()), "STREAM_IDLE");
  gate.Open();
  EXPECT_FALSE(ReadAll(busy).image.empty());
  EXPECT_TRUE(busy.Finish().ok());
}

TEST_F(LargeTest, DrainFinishesWhatHasBegunAndRefusesTheRest) {
  ModelGate gate;
  const FakeModel fake = {.on_run = gate.OnRun()};
  Serve({}, &fake);
  const std::string image = Png(NoiseImage(32, 32));
  Upload arrived(*stub_), half(*stub_), silent(*stub_);
  arrived.SendAll(image);
  gate.AwaitModel();
  const double reserved = ReservedBytes();
  half.Start(static_cast<int64_t>(image.size()));
  half.Send(0, image.substr(0, 10));
  ASSERT_TRUE(HappensSoon([&] { return ReservedBytes() > reserved; }));
  service_->BeginDrain();
  pipeline_->BeginDrain();
  EXPECT_EQ(ReasonOf(silent.Finish()), "DRAINING");
  Upload late(*stub_);
  const grpc::Status status = late.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(status), "DRAINING");
  gate.Open();
  half.Send(10, image.substr(10));
  for (Upload* const upload : {&arrived, &half}) {
    EXPECT_FALSE(ReadAll(*upload).image.empty());
    EXPECT_TRUE(upload->Finish().ok());
  }
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
}

TEST(UnreadRepliesTest, BoundedButForOneThatIsAlone) {
  UnreadReplies unread(100);
  auto large = unread.Take("a", 1000);
  ASSERT_TRUE(large.ok());
  EXPECT_EQ(unread.Take("b", 1).status().code(), absl::StatusCode::kResourceExhausted);
  large->reset();
  auto small = unread.Take("b", 60);
  ASSERT_TRUE(small.ok());
  EXPECT_FALSE(unread.Take("a", 60).ok());
  EXPECT_TRUE(unread.Take("a", 40).ok());
}

}  // namespace
}  // namespace deweather
