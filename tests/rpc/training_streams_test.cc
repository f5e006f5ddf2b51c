#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <fstream>
#include <future>
#include <numeric>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "model/base/sha256.h"
#include "tests/rpc/training_fixture.h"
#include "training/jobs/job_log.h"

namespace deweather {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Stub = v1::TrainingService::Stub;

// 1, 2, ..., count.
std::vector<int64_t> Numbers(int64_t count) {
  std::vector<int64_t> numbers(static_cast<size_t>(count));
  std::iota(numbers.begin(), numbers.end(), 1);
  return numbers;
}

// Somebody who watches a job, on a connection of their own.
class Watcher {
 public:
  Watcher(std::unique_ptr<Stub> stub, const std::string& id, int64_t after = 0,
          const std::string& token = "")
      : stub_(std::move(stub)) {
    if (!token.empty()) context_.AddMetadata("authorization", absl::StrCat("Bearer ", token));
    context_.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(120)));
    context_.set_wait_for_ready(true);  // a machine with much to do may take long to connect
    v1::WatchJobRequest request;
    request.set_id(id);
    request.set_after_event(after);
    reader_ = stub_->WatchJob(&context_, request);
  }

  bool Read() {
    if (!reader_->Read(&event_)) return false;
    numbers_.push_back(event_.number());
    return true;
  }
  void Read(size_t count) {
    while (numbers_.size() < count) ASSERT_TRUE(Read());
  }
  grpc::Status ReadToEnd() {
    while (Read()) continue;
    return reader_->Finish();
  }
  void Cancel() { context_.TryCancel(); }

  const v1::JobEvent& event() const { return event_; }  // the last one
  const std::vector<int64_t>& numbers() const { return numbers_; }

 private:
  std::unique_ptr<Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::JobEvent>> reader_;
  v1::JobEvent event_;
  std::vector<int64_t> numbers_;
};

int64_t ResidentBytes() {
  int64_t pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * getpagesize();
}

class WatchTest : public TrainingTest {
 protected:
  Watcher Watch(const std::string& id, int64_t after = 0) { return {OpenStub(), id, after}; }
};

TEST_F(WatchTest, EventsComeAsTheyHappen) {
  Serve();
  const std::string id = Submitted();
  Watcher watcher = Watch(id);
  watcher.Read(1);
  EXPECT_EQ(watcher.event().state_change().state(), v1::Job::STATE_QUEUED);
  Apply(id, JobAction::kStart, "started");
  watcher.Read(2);
  EXPECT_EQ(watcher.event().state_change().reason(), "started");
  EXPECT_EQ(watcher.event().state_change().attempt(), 1);
  EXPECT_GT(watcher.event().time().seconds(), 1'700'000'000);
  ASSERT_TRUE(store_
                  ->AddEvents(id, {{.kind = JobEventKind::kProgress, .progress = {.step = 5}},
                                   {.kind = JobEventKind::kEvaluation, .evaluation = {.step = 6}},
                                   {.kind = JobEventKind::kCheckpoint, .step = 7},
                                   {.kind = JobEventKind::kWarning, .text = "hm"}})
                  .ok());
  watcher.Read(3);
  EXPECT_EQ(watcher.event().progress().step(), 5);
  watcher.Read(4);
  EXPECT_EQ(watcher.event().evaluation().step(), 6);
  watcher.Read(5);
  EXPECT_EQ(watcher.event().checkpoint().step(), 7);
  watcher.Read(6);
  EXPECT_EQ(watcher.event().warning(), "hm");
  Apply(id, JobAction::kSucceed);
  EXPECT_TRUE(watcher.ReadToEnd().ok());
  EXPECT_EQ(watcher.event().state_change().state(), v1::Job::STATE_SUCCEEDED);
  EXPECT_EQ(watcher.numbers(), Numbers(7));
}

TEST_F(WatchTest, TwentyWatchersGetTenThousandEventsInOrderOnce) {
  constexpr int kEvents = 10'000, kFast = 8, kStuck = 8, kDead = 4;
  constexpr size_t kEventBytes = 1024;
  Serve();
  const std::string id = Submitted();
  Apply(id, JobAction::kStart);
  std::deque<Watcher> stuck;
  for (int i = 0; i < kStuck; ++i) stuck.emplace_back(OpenStub(), id);
  for (Watcher& watcher : stuck) watcher.Read(1);  // and then none for long
  std::vector<std::future<void>> fast, dead;
  for (int i = 0; i < kFast; ++i) {
    fast.push_back(std::async(std::launch::async, [&] {
      Watcher watcher = Watch(id);
      EXPECT_EQ(watcher.ReadToEnd().error_message(), "");
      EXPECT_EQ(watcher.numbers(), Numbers(kEvents));
    }));
  }
  for (int i = 0; i < kDead; ++i) {
    dead.push_back(std::async(std::launch::async, [&, i] {
      Watcher watcher = Watch(id);
      watcher.Read(static_cast<size_t>(100 * (i + 1)));
      watcher.Cancel();
      EXPECT_EQ(watcher.ReadToEnd().error_code(), StatusCode::CANCELLED);
      EXPECT_EQ(watcher.numbers(), Numbers(std::ssize(watcher.numbers())));
    }));
  }
  std::mt19937 random(7);
  int made = 2;  // queued and running; the end is the last
  const auto warn = [&](int until) {
    while (made < until) {
      const int count = std::min(until - made, 1 + static_cast<int>(random() % 64));
      Warn(id, count, kEventBytes);
      made += count;
    }
  };
  warn(kEvents / 5);
  const int64_t before = ResidentBytes();
  warn(kEvents - 1);
  Apply(id, JobAction::kSucceed);
  for (std::future<void>& one : fast) one.get();
  for (std::future<void>& one : dead) one.get();
  // What is there for the stuck ones is 80 MB; a page of each is 1 MB.
  EXPECT_LT(ResidentBytes() - before, 40 << 20);
  for (Watcher& watcher : stuck) {
    EXPECT_TRUE(watcher.ReadToEnd().ok());
    EXPECT_EQ(watcher.numbers(), Numbers(kEvents));
  }
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
}

TEST_F(WatchTest, OneWhoComesBackMissesNothing) {
  Serve();
  const std::string id = Submitted();
  Apply(id, JobAction::kStart);
  std::vector<int64_t> numbers;
  for (int i = 0; i < 10; ++i) {
    Warn(id, 50);
    Watcher watcher = Watch(id, numbers.empty() ? 0 : numbers.back());
    watcher.Read(37);
    watcher.Cancel();
    numbers.insert(numbers.end(), watcher.numbers().begin(), watcher.numbers().end());
  }
  Apply(id, JobAction::kFail);
  Watcher watcher = Watch(id, numbers.back());
  EXPECT_TRUE(watcher.ReadToEnd().ok());
  numbers.insert(numbers.end(), watcher.numbers().begin(), watcher.numbers().end());
  EXPECT_EQ(numbers, Numbers(503));
}

TEST_F(WatchTest, OneWhoHasAllIsToldOfTheEnd) {
  Serve();
  const std::string id = Submitted();
  Finish(id);
  Watcher watcher = Watch(id, 3);
  EXPECT_TRUE(watcher.ReadToEnd().ok());
  EXPECT_THAT(watcher.numbers(), IsEmpty());
}

TEST_F(WatchTest, EndsWithItsToken) {
  Serve();
  const std::string id = Submitted();
  const Tokens both = {{Sha256Hex("one"), {"lab", kTrain}}, {Sha256Hex("two"), {"lab", kTrain}}};
  Access access(both);
  entrance_.access = &access;
  Stop();
  Serve();
  Watcher one(OpenStub(), id, 0, "one"), two(OpenStub(), id, 0, "two");
  one.Read(1);
  two.Read(1);
  Tokens rest = both;
  rest.erase(Sha256Hex("one"));
  access.Replace(rest);
  service_->AccessChanged();
  Expect(one.ReadToEnd(), StatusCode::UNAUTHENTICATED, "TOKEN_UNKNOWN");
  Finish(id);
  EXPECT_TRUE(two.ReadToEnd().ok()) << "the other token is still good";
}

TEST_F(WatchTest, ACallThatIsRefusedHearsNothingOfTheServer) {
  Access access(Tokens{});
  entrance_.access = &access;
  Start(absl::FailedPreconditionError("no jobs here"), {});
  Expect(Watcher(OpenStub(), "job", 0, "x").ReadToEnd(), StatusCode::UNAUTHENTICATED,
         "TOKEN_UNKNOWN");
  Expect(Watcher(OpenStub(), "job").ReadToEnd(), StatusCode::UNAUTHENTICATED, "TOKEN_MISSING");
}

TEST_F(WatchTest, WrongRequestsAreRefused) {
  Serve();
  const std::string id = Submitted();
  for (const int64_t after : {int64_t{-1}, int64_t{2}}) {
    const grpc::Status status = Watch(id, after).ReadToEnd();
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr(absl::StrCat("after_event is ", after)));
  }
  Expect(Watch("abcdefghijkl").ReadToEnd(), StatusCode::NOT_FOUND, "UNKNOWN_JOB");
  Expect(Watch("../x").ReadToEnd(), StatusCode::NOT_FOUND, "UNKNOWN_JOB");
}

TEST_F(WatchTest, AJobThatIsDeletedIsNotFound) {
  Serve();
  const std::string id = Submitted();
  Apply(id, JobAction::kStart);
  Warn(id, 1000, 1024);  // more than a connection and a page hold
  Watcher watcher = Watch(id);
  watcher.Read(1);
  Apply(id, JobAction::kFail);
  ASSERT_TRUE(store_->Delete(id).ok());
  Expect(watcher.ReadToEnd(), StatusCode::NOT_FOUND, "UNKNOWN_JOB");
  EXPECT_LT(watcher.numbers().size(), 1000u);
  EXPECT_EQ(watcher.numbers(), Numbers(std::ssize(watcher.numbers())));
}

TEST_F(WatchTest, AServerThatDrainsWaitsForNoWatcher) {
  Serve();
  const std::string id = Submitted();
  Apply(id, JobAction::kStart);
  Watcher waiting = Watch(id), stuck = Watch(id);
  waiting.Read(2);
  stuck.Read(2);
  Warn(id, 2000, 1024);
  waiting.Read(2002);
  service_->BeginDrain();
  Expect(waiting.ReadToEnd(), StatusCode::UNAVAILABLE, "DRAINING");
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(20)));
  EXPECT_EQ(stuck.ReadToEnd().error_code(), StatusCode::UNAVAILABLE);
  Expect(Watch(id).ReadToEnd(), StatusCode::UNAVAILABLE, "DRAINING");
}

TEST_F(WatchTest, OneWhoNeverReadsIsCutOff) {
  Serve({}, {.max_stream_idle = absl::Milliseconds(300)});
  const std::string id = Submitted();
  Apply(id, JobAction::kStart);
  Watcher patient = Watch(id), stuck = Watch(id);
  patient.Read(2);
  Warn(id, 2000, 1024);
  patient.Read(2002);
  EXPECT_TRUE(HappensSoon([&] { return calls_.count() == 1; }));
  EXPECT_EQ(stuck.ReadToEnd().error_code(), StatusCode::DEADLINE_EXCEEDED);
  Apply(id, JobAction::kFail);
  EXPECT_TRUE(patient.ReadToEnd().ok());  // silence of the job is no idleness
}

// --- logs ---

class LogTest : public TrainingTest {
 protected:
  struct Log {
    std::string text;
    int64_t offset = -1;  // of the first chunk
    grpc::Status status;
  };

  // `on_text` is called with what has come so far.
  Log Read(const std::string& id, int64_t offset = 0, bool follow = false,
           const std::function<void(const std::string&)>& on_text = nullptr) {
    v1::StreamLogsRequest request;
    request.set_id(id);
    request.set_offset(offset);
    request.set_follow(follow);
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(60)));
    const auto reader = stub_->StreamLogs(&context, request);
    Log log;
    v1::LogChunk chunk;
    while (reader->Read(&chunk)) {
      if (log.offset < 0) log.offset = chunk.offset();
      EXPECT_EQ(chunk.offset(), log.offset + std::ssize(log.text));
      EXPECT_LE(chunk.data().size(), size_t{64} << 10);
      log.text += chunk.data();
      if (on_text) on_text(log.text);
    }
    log.status = reader->Finish();
    return log;
  }
  JobLog OpenLog(const std::string& id, int64_t max_bytes = 1 << 20) const {
    std::filesystem::create_directories(JobFolder(jobs_, id));
    return JobLog::Open(JobLogPath(jobs_, id), max_bytes).value();
  }
};

std::string Lines(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) absl::StrAppend(&text, "line ", i, "\n");
  return text;
}

TEST_F(LogTest, TheLogIsSentFromAnyByteOn) {
  Serve();
  const std::string id = Submitted();
  EXPECT_TRUE(Read(id).status.ok());  // there is none yet
  const std::string text = Lines(20'000);
  ASSERT_TRUE(OpenLog(id).Append(text).ok());
  Apply(id, JobAction::kStart);
  EXPECT_EQ(Read(id).text, text);
  const Log rest = Read(id, 100'001);
  EXPECT_EQ(rest.offset, 100'001);
  EXPECT_EQ(rest.text, text.substr(100'001));
  EXPECT_TRUE(Read(id, std::ssize(text)).status.ok());
  for (const int64_t offset : {int64_t{-1}, std::ssize(text) + 1}) {
    EXPECT_EQ(Read(id, offset).status.error_code(), StatusCode::INVALID_ARGUMENT);
  }
  Expect(Read("abcdefghijkl").status, StatusCode::NOT_FOUND, "UNKNOWN_JOB");
}

TEST_F(LogTest, WhatWasRotatedAwayIsSkipped) {
  Serve();
  const std::string id = Submitted();
  const std::string text = Lines(2000);
  ASSERT_TRUE(OpenLog(id, 4096).Append(text).ok());
  const Log log = Read(id);
  EXPECT_TRUE(log.status.ok());
  EXPECT_GT(log.offset, 0);
  EXPECT_EQ(log.text, text.substr(static_cast<size_t>(log.offset)));
}

TEST_F(LogTest, AFollowerGetsWhatIsPrintedNext) {
  Serve();
  const std::string id = Submitted();
  JobLog log = OpenLog(id);
  ASSERT_TRUE(log.Append("queued\n").ok());
  const Log got = Read(id, 0, true, [&](const std::string& text) {
    if (text == "queued\n") {
      Apply(id, JobAction::kStart);
      EXPECT_TRUE(log.Append("runs\n").ok());
    } else if (text == "queued\nruns\n") {
      EXPECT_TRUE(log.Append("ends\n").ok());
      Apply(id, JobAction::kFail);
    }
  });
  EXPECT_TRUE(got.status.ok());
  EXPECT_EQ(got.text, "queued\nruns\nends\n");
}

// --- downloads ---

class DownloadTest : public TrainingTest {
 protected:
  struct File {
    std::string bytes;
    int64_t size = -1;
    std::string sha256;
    int64_t offset = -1;
    grpc::Status status;
  };

  File Download(const std::string& id, const std::string& name, int64_t offset = 0,
                const std::string& sha256 = "", const std::function<void()>& on_chunk = nullptr) {
    v1::DownloadArtifactRequest request;
    request.set_id(id);
    request.set_name(name);
    request.set_offset(offset);
    request.set_sha256(sha256);
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(60)));
    const auto reader = stub_->DownloadArtifact(&context, request);
    File file;
    v1::ArtifactChunk chunk;
    while (reader->Read(&chunk)) {
      if (file.size < 0) {
        file.size = chunk.bytes();
        file.sha256 = chunk.sha256();
        file.offset = chunk.offset();
      }
      EXPECT_EQ(chunk.offset(), file.offset + std::ssize(file.bytes));
      EXPECT_LE(chunk.data().size(), size_t{1} << 20);
      file.bytes += chunk.data();
      if (on_chunk) on_chunk();
    }
    file.status = reader->Finish();
    return file;
  }
  std::string JobWith(const std::string& name, const std::string& bytes) {
    const std::string id = Submitted();
    WriteFile(id, name, bytes);
    return id;
  }
};

std::string Noise(size_t count) {
  std::mt19937 random(7);
  std::string bytes(count, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

TEST_F(DownloadTest, AFileIsSentFromAnyByteOn) {
  Serve();
  const std::string bytes = Noise((size_t{5} << 19) + 3), name = "run/north.safetensors";
  const std::string id = JobWith(name, bytes);
  const File whole = Download(id, name);
  EXPECT_TRUE(whole.status.ok()) << whole.status.error_message();
  EXPECT_EQ(whole.bytes, bytes);
  EXPECT_EQ(whole.size, std::ssize(bytes));
  EXPECT_EQ(whole.sha256, Sha256Hex(bytes));
  const File rest = Download(id, name, 1'500'000, whole.sha256);
  EXPECT_EQ(rest.offset, 1'500'000);
  EXPECT_EQ(rest.bytes, bytes.substr(1'500'000));
  EXPECT_EQ(rest.sha256, whole.sha256);
  const File nothing = Download(id, name, std::ssize(bytes), whole.sha256);
  EXPECT_TRUE(nothing.status.ok());
  EXPECT_EQ(nothing.size, std::ssize(bytes));
  EXPECT_EQ(nothing.bytes, "");
}

TEST_F(DownloadTest, AnEmptyFileIsSent) {
  Serve();
  const File file = Download(JobWith("run/log.jsonl", ""), "run/log.jsonl");
  EXPECT_TRUE(file.status.ok());
  EXPECT_EQ(file.size, 0);
  EXPECT_EQ(file.sha256, Sha256Hex(""));
}

TEST_F(DownloadTest, AFileThatIsReplacedMeanwhileStaysWhole) {
  Serve();
  const std::string bytes = Noise(size_t{8} << 20), name = "run/north.safetensors";
  const std::string id = JobWith(name, bytes);
  const File file = Download(id, name, 0, "", [&] { WriteFile(id, name, "another"); });
  EXPECT_TRUE(file.status.ok());
  EXPECT_EQ(Sha256Hex(file.bytes), file.sha256);
  EXPECT_EQ(file.bytes, bytes);
  Expect(Download(id, name, 1, file.sha256).status, StatusCode::ABORTED, "ARTIFACT_CHANGED");
}

TEST_F(DownloadTest, WrongRequestsAreRefused) {
  Serve();
  const std::string name = "config.textproto", id = JobWith(name, "name: 'north'");
  EXPECT_EQ(Download(id, name, -1).status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Download(id, name, 14).status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(Download(id, name, 13).status.ok());
  EXPECT_EQ(Download(id, name, 0, std::string(64, 'A')).status.error_code(),
            StatusCode::INVALID_ARGUMENT);
  Expect(Download(id, "run/none").status, StatusCode::NOT_FOUND, "UNKNOWN_ARTIFACT");
  Expect(Download("abcdefghijkl", name).status, StatusCode::NOT_FOUND, "UNKNOWN_JOB");
  for (const std::string path : {"../jobs.db", "/etc/passwd", "run/../../jobs.db", ""}) {
    EXPECT_FALSE(Download(id, path).status.ok()) << path;
  }
}

TEST_F(DownloadTest, ADownloadThatIsCancelledLeavesNothing) {
  Serve();
  const std::string name = "run/north.safetensors", id = JobWith(name, Noise(size_t{8} << 20));
  v1::DownloadArtifactRequest request;
  request.set_id(id);
  request.set_name(name);
  grpc::ClientContext context;
  const auto reader = stub_->DownloadArtifact(&context, request);
  v1::ArtifactChunk chunk;
  ASSERT_TRUE(reader->Read(&chunk));
  context.TryCancel();
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
  while (reader->Read(&chunk)) continue;
  EXPECT_EQ(reader->Finish().error_code(), StatusCode::CANCELLED);
}

// --- uploads ---

class UploadTest : public TrainingTest {
 protected:
  using Message = v1::UploadDatasetRequest;

  static Message Start(const std::string& name, v1::Dataset::Kind kind = v1::Dataset::KIND_CLEAN) {
    Message message;
    message.mutable_start()->set_name(name);
    message.mutable_start()->set_kind(kind);
    return message;
  }
  static Message File(const std::string& path, const std::string& bytes) {
    Message message;
    message.mutable_file()->set_path(path);
    message.mutable_file()->set_bytes(std::ssize(bytes));
    message.mutable_file()->set_sha256(Sha256Hex(bytes));
    return message;
  }
  static Message Chunk(const std::string& bytes) {
    Message message;
    message.set_chunk(bytes);
    return message;
  }

  grpc::Status Upload(const std::vector<Message>& messages, v1::Dataset* dataset) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(60)));
    const auto writer = stub_->UploadDataset(&context, dataset);
    for (const Message& message : messages) {
      if (!writer->Write(message)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }
  void ExpectRefused(const std::vector<Message>& messages, StatusCode code,
                     const std::string& reason) {
    v1::Dataset dataset;
    Expect(Upload(messages, &dataset), code, reason);
    ExpectNothing();
  }
  void ExpectNothing() {
    EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
    const auto is_empty = [this] { return std::filesystem::is_empty(folder_ + "/datasets"); };
    EXPECT_TRUE(HappensSoon(is_empty));
    EXPECT_THAT(datasets_->List(), IsEmpty());
  }

  const std::string png_ = Png(NoiseImage(32, 24));
};

TEST_F(UploadTest, ADataSetAppearsWhenItIsWhole) {
  Serve();
  v1::Dataset dataset;
  const size_t half = png_.size() / 2;
  const grpc::Status status =
      Upload({Start("streets"), File("a.png", png_), Chunk(png_.substr(0, half)),
              Chunk(png_.substr(half)), File("b.png", png_), Chunk(png_)},
             &dataset);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(dataset.name(), "streets");
  EXPECT_EQ(dataset.kind(), v1::Dataset::KIND_CLEAN);
  EXPECT_EQ(dataset.pictures(), 2);
  EXPECT_EQ(dataset.bytes(), 2 * std::ssize(png_));
  EXPECT_TRUE(dataset.has_create_time());
  ASSERT_EQ(datasets_->List().size(), 1u);
  EXPECT_EQ(ReadFile(datasets_->List().front().dir + "/b.png").value_or(""), png_);
  Expect(Upload({Start("streets")}, &dataset), StatusCode::ALREADY_EXISTS, "DATASET_EXISTS");
}

TEST_F(UploadTest, WhatGoesWrongLeavesNothing) {
  Serve();
  const StatusCode invalid = StatusCode::INVALID_ARGUMENT;
  const std::string other(64, '0');
  Message lie = File("a.png", png_);
  lie.mutable_file()->set_sha256(other);
  ExpectRefused({}, invalid, "MESSAGE_OUT_OF_ORDER");
  ExpectRefused({Message()}, invalid, "MESSAGE_OUT_OF_ORDER");
  ExpectRefused({File("a.png", png_)}, invalid, "MESSAGE_OUT_OF_ORDER");
  ExpectRefused({Start("s"), Chunk("x")}, invalid, "MESSAGE_OUT_OF_ORDER");
  ExpectRefused({Start("s"), Start("s")}, invalid, "MESSAGE_OUT_OF_ORDER");
  ExpectRefused({Start("../s")}, invalid, "DATASET_NAME");
  ExpectRefused({Start("s", v1::Dataset::KIND_UNSPECIFIED)}, invalid, "INVALID_ARGUMENT");
  ExpectRefused({Start("s")}, invalid, "DATASET_EMPTY");
  ExpectRefused({Start("s"), File("../a.png", png_)}, invalid, "FILE_PATH");
  ExpectRefused({Start("s"), File("a.png", png_), Chunk("x")}, invalid, "FILE_SIZE");
  ExpectRefused({Start("s"), lie, Chunk(png_)}, StatusCode::DATA_LOSS, "CHECKSUM");
}

TEST_F(UploadTest, AnUploadThatStopsMidwayLeavesNothing) {
  Serve();
  grpc::ClientContext context;
  v1::Dataset dataset;
  const auto writer = stub_->UploadDataset(&context, &dataset);
  ASSERT_TRUE(writer->Write(Start("streets")));
  ASSERT_TRUE(writer->Write(File("a.png", png_)));
  ASSERT_TRUE(writer->Write(Chunk(png_.substr(0, 10))));
  const auto has_begun = [this] { return !std::filesystem::is_empty(folder_ + "/datasets"); };
  EXPECT_TRUE(HappensSoon(has_begun));
  context.TryCancel();
  EXPECT_EQ(writer->Finish().error_code(), StatusCode::CANCELLED);
  ExpectNothing();
}

}  // namespace
}  // namespace deweather
