#include "client/jobs_download.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "client/fetch.h"
#include "model/base/file.h"
#include "model/base/sha256.h"
#include "tests/client/fake_training.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

using grpc::Status;
using grpc::StatusCode;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

class PartFileTest : public testing::Test {
 protected:
  bool Exists(const std::string& end) const { return std::filesystem::exists(path_ + end); }

  const std::string path_ = NewFolder() + "/file";
  const std::string sha256_ = Sha256Hex("hello world");
};

TEST_F(PartFileTest, IsTakenUpAndPutInPlaceWhenWhole) {
  {
    PartFile part = *PartFile::Open(path_);
    ASSERT_TRUE(part.Restart(sha256_).ok());
    ASSERT_TRUE(part.Append("hello ").ok());
  }
  PartFile part = *PartFile::Open(path_);
  EXPECT_EQ(part.bytes(), 6);
  EXPECT_EQ(part.sha256(), sha256_);
  ASSERT_TRUE(part.Append("world").ok());
  EXPECT_FALSE(Exists(""));
  ASSERT_TRUE(part.Commit().ok());
  EXPECT_EQ(*ReadFile(path_), "hello world");
  EXPECT_FALSE(Exists(".part"));
  EXPECT_FALSE(Exists(".part.sha256"));
}

TEST_F(PartFileTest, OtherBytesAreDataLossAndForgotten) {
  PartFile part = *PartFile::Open(path_);
  ASSERT_TRUE(part.Restart(sha256_).ok());
  ASSERT_TRUE(part.Append("hello weird").ok());
  EXPECT_EQ(part.Commit().code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(Exists(""));
  EXPECT_FALSE(Exists(".part"));
  EXPECT_FALSE(Exists(".part.sha256"));
}

TEST_F(PartFileTest, WithoutItsSumItBeginsAgain) {
  ASSERT_TRUE(WriteFileAtomically(path_ + ".part", "hello").ok());
  EXPECT_EQ(PartFile::Open(path_)->bytes(), 0);
  ASSERT_TRUE(WriteFileAtomically(path_ + ".part.sha256", "torn").ok());
  EXPECT_EQ(PartFile::Open(path_)->bytes(), 0);
}

class JobsDownloadTest : public testing::Test {
 protected:
  JobsDownloadTest() {
    flags_.server.server = server_.flags().server;
    flags_.id = "job";
    flags_.name = "run/best.safetensors";
    flags_.output = folder_ + "/copy";
    service_.download = [this](int call, const v1::DownloadArtifactRequest& request, auto* writer) {
      offsets_.push_back(request.offset());
      return Serve(call, request, writer);
    };
  }

  // As the server does: in pieces of 4 bytes, of which the first `break_after` calls send two.
  Status Serve(int call, const v1::DownloadArtifactRequest& request,
               grpc::ServerWriter<v1::ArtifactChunk>* writer) {
    const std::string sha256 = Sha256Hex(file_);
    if (!request.sha256().empty() && request.sha256() != sha256) {
      return Status(StatusCode::ABORTED, "changed");
    }
    v1::ArtifactChunk chunk;
    chunk.set_bytes(static_cast<int64_t>(file_.size()));
    chunk.set_sha256(lie_.empty() ? sha256 : lie_);
    int pieces = 0;
    for (size_t at = static_cast<size_t>(request.offset()); at < file_.size() || pieces == 0;
         at += 4) {
      if (pieces++ == 2 && call <= breaks_) return Status(StatusCode::UNAVAILABLE, "Socket closed");
      chunk.set_offset(static_cast<int64_t>(at));
      chunk.set_data(file_.substr(at, 4));
      writer->Write(chunk);
      chunk.Clear();
    }
    return Status::OK;
  }

  int Run() {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int status = RunJobsDownload(flags_);
    stdout_ = testing::internal::GetCapturedStdout();
    stderr_ = testing::internal::GetCapturedStderr();
    return status;
  }

  // One call of the server, begun where `path` ends.
  Status FetchOnce(PartFile* part, int patience_ms = 0) {
    const auto stub =
        v1::TrainingService::NewStub(OpenChannel(server_.flags(), {.repeats_reads = false}));
    const std::atomic<bool> never = false;
    return Fetch(
        *stub, {.patience = absl::Milliseconds(patience_ms), .first_pause = absl::Milliseconds(1)},
        never, {}, [](int64_t, int64_t) {}, part);
  }

  std::string Copy() const { return ReadFile(folder_ + "/copy").value_or("none"); }

  const std::string folder_ = NewFolder();
  std::string file_ = "the weights of a model";
  std::string lie_;
  int breaks_ = 0;
  std::vector<int64_t> offsets_;
  FakeTraining service_;
  TestServer server_{&service_};
  DownloadFlags flags_;
  std::string stdout_, stderr_;
};

TEST_F(JobsDownloadTest, AFileAndWhatIsTold) {
  flags_.json = true;
  ASSERT_EQ(Run(), 0) << stderr_;
  EXPECT_EQ(Copy(), file_);
  EXPECT_EQ(json::parse(stdout_), json({{"name", flags_.name},
                                        {"output", flags_.output},
                                        {"bytes", file_.size()},
                                        {"sha256", Sha256Hex(file_)}}));
}

TEST_F(JobsDownloadTest, GoesOnWhereTheConnectionBroke) {
  breaks_ = 2;
  testing::internal::CaptureStderr();
  PartFile part = *PartFile::Open(flags_.output);
  const Status status = FetchOnce(&part, 60'000);
  testing::internal::GetCapturedStderr();
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_TRUE(part.Commit().ok());
  EXPECT_EQ(Copy(), file_);
  EXPECT_THAT(offsets_, ElementsAre(0, 8, 16));
}

TEST_F(JobsDownloadTest, GoesOnInALaterRun) {
  breaks_ = 1;
  {
    PartFile part = *PartFile::Open(flags_.output);
    EXPECT_EQ(FetchOnce(&part).error_code(), StatusCode::UNAVAILABLE);
  }
  EXPECT_EQ(Copy(), "none");
  ASSERT_EQ(Run(), 0) << stderr_;
  EXPECT_EQ(Copy(), file_);
  EXPECT_THAT(offsets_, ElementsAre(0, 8));
}

TEST_F(JobsDownloadTest, AFileThatChangedBeginsAgain) {
  breaks_ = 1;
  {
    PartFile part = *PartFile::Open(flags_.output);
    EXPECT_EQ(FetchOnce(&part).error_code(), StatusCode::UNAVAILABLE);
  }
  file_ = "another";
  ASSERT_EQ(Run(), 0) << stderr_;
  EXPECT_EQ(Copy(), "another");
  EXPECT_THAT(offsets_, ElementsAre(0, 8, 0));
}

TEST_F(JobsDownloadTest, AnEmptyFile) {
  file_ = "";
  ASSERT_EQ(Run(), 0) << stderr_;
  EXPECT_EQ(Copy(), "");
}

TEST_F(JobsDownloadTest, BytesThatAreNotTheSumsAreRefused) {
  lie_ = Sha256Hex("something else");
  EXPECT_EQ(Run(), 1);
  EXPECT_THAT(stderr_, testing::StartsWith("DATA_LOSS: "));
  EXPECT_EQ(Copy(), "none");
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
  lie_ = "short";
  EXPECT_EQ(Run(), 1);
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(JobsDownloadTest, WhatIsThereStaysUnlessItIsTheSame) {
  ASSERT_TRUE(WriteFileAtomically(flags_.output, "mine").ok());
  EXPECT_EQ(Run(), 1);
  EXPECT_THAT(stderr_, testing::StartsWith("ALREADY_EXISTS: "));
  EXPECT_EQ(Copy(), "mine");
  flags_.overwrite = true;
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(Copy(), file_);
  flags_.overwrite = false;
  EXPECT_EQ(Run(), 0) << "the same bytes";
  EXPECT_THAT(stdout_, HasSubstr(", was there\n"));
}

TEST_F(JobsDownloadTest, StdoutGetsTheFileAndNothingElse) {
  flags_.output = "-";
  ASSERT_EQ(Run(), 0) << stderr_;
  EXPECT_EQ(stdout_, file_);
  flags_.json = true;
  EXPECT_EQ(Run(), 2);
}

TEST_F(JobsDownloadTest, AllOfThemGoesOnAfterOneThatFails) {
  for (const char* const name : {"run/a", "../b", "log.txt"}) {
    service_.artifacts.emplace_back().set_name(name);
  }
  flags_.all = true;
  flags_.name = "";
  flags_.output = folder_ + "/all";
  flags_.json = true;
  EXPECT_EQ(Run(), 1);
  const json told = json::parse(stdout_);
  EXPECT_EQ(told["downloaded"], 2);
  EXPECT_EQ(told["failed"], 1);
  EXPECT_EQ(told["files"][1]["error"]["code"], "INVALID_ARGUMENT");
  EXPECT_THAT(stderr_, HasSubstr("../b"));
  EXPECT_EQ(*ReadFile(folder_ + "/all/run/a"), file_);
  EXPECT_EQ(*ReadFile(folder_ + "/all/log.txt"), file_);
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/b"));
}

TEST_F(JobsDownloadTest, ARefusalIsTheServers) {
  service_.download = [](int, const v1::DownloadArtifactRequest&, auto*) {
    return Status(StatusCode::NOT_FOUND, "no such file");
  };
  EXPECT_EQ(Run(), 1);
  EXPECT_EQ(stderr_, "NOT_FOUND: no such file\n");
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(JobsDownloadTest, EitherANameOrAll) {
  flags_.all = true;
  EXPECT_EQ(Run(), 2);
  flags_.all = false;
  flags_.name = "";
  EXPECT_EQ(Run(), 2);
}

TEST(OutputOfTest, NamesStayInTheFolder) {
  DownloadFlags flags;
  EXPECT_EQ(*OutputOf(flags, "run/curve.png"), "curve.png");
  flags.output = "out/";
  EXPECT_EQ(*OutputOf(flags, "run/curve.png"), "out/curve.png");
  EXPECT_EQ(*OutputOf(flags, "../curve.png"), "out/curve.png") << "only its name is used";
  EXPECT_FALSE(OutputOf(flags, "run/..").ok());
  flags.output = "mine.png";
  EXPECT_EQ(*OutputOf(flags, "run/curve.png"), "mine.png");
  flags.all = true;
  EXPECT_EQ(*OutputOf(flags, "run/curve.png"), "mine.png/run/curve.png");
  for (const char* const name : {"../x", "/etc/passwd", "a/../../x", "", "..", "a//..", "a/"}) {
    EXPECT_FALSE(OutputOf(flags, name).ok()) << name;
  }
}

}  // namespace
}  // namespace deweather
