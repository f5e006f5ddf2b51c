// ImportModel: files of ours and the authors', and everything a caller can do wrong with them.

#include <gmock/gmock.h>

#include <filesystem>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/base/file.h"
#include "model/base/sha256.h"
#include "tests/rpc/model_service_fixture.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// One call, as its caller sees it.
class Import {
 public:
  explicit Import(v1::ModelService::Stub& stub) {
    context_.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(60)));
    stream_ = stub.ImportModel(&context_, &response_);
  }

  Import& Start(int64_t bytes, const std::string& sha256, const std::string& name = "",
                const std::string& origin = "") {
    v1::ImportModelRequest request;
    request.mutable_start()->set_bytes(bytes);
    request.mutable_start()->set_sha256(sha256);
    request.mutable_start()->set_name(name);
    request.mutable_start()->set_origin(origin);
    stream_->Write(request);
    return *this;
  }
  Import& Start(const std::string& file, const std::string& name = "",
                const std::string& origin = "") {
    return Start(static_cast<int64_t>(file.size()), Sha256Hex(file), name, origin);
  }
  Import& Send(const std::string& file, size_t chunk_bytes = 100'000) {
    for (size_t at = 0; at < file.size(); at += chunk_bytes) {
      v1::ImportModelRequest request;
      request.set_chunk(file.substr(at, chunk_bytes));
      if (!stream_->Write(request)) break;
    }
    return *this;
  }
  Import& SendNothing() {
    stream_->Write(v1::ImportModelRequest());
    return *this;
  }
  void Cancel() { context_.TryCancel(); }
  // Without closing the caller's side.
  grpc::Status Wait() { return stream_->Finish(); }
  grpc::Status End() {
    stream_->WritesDone();
    return stream_->Finish();
  }
  const v1::ImportModelResponse& response() const { return response_; }

 private:
  grpc::ClientContext context_;
  v1::ImportModelResponse response_;
  std::unique_ptr<grpc::ClientWriter<v1::ImportModelRequest>> stream_;
};

class ImportTest : public ModelServiceTest {
 protected:
  // A checkpoint of ours.
  std::string Ours(const std::string& fixture = "fme") const {
    const std::string path = folder_ + ".safetensors";
    WriteFixture(path, "tiny", fixture);
    std::string file = ReadFile(path).value();
    fs::remove(path);
    return file;
  }
  static std::string Authors() {
    return ReadFile(DW_SOURCE_DIR "/tests/model/fixtures/fme.safetensors").value();
  }
  grpc::Status TryImport(const std::string& file, const std::string& name = "") {
    Import import(*stub_);
    return import.Start(file, name).Send(file).End();
  }
  // Files of imports under way: they have no name, but are open in this process, which is the server.
  static int UnderWay() {
    int count = 0;
    for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
      std::error_code closed;
      const std::string target = fs::read_symlink(entry.path(), closed).string();
      if (absl::StrContains(target, "/.tmp-import-")) ++count;
    }
    return count;
  }
  // Names in the folder, hidden ones too.
  std::vector<std::string> Left() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_))
      names.push_back(entry.path().filename());
    return names;
  }
};

TEST_F(ImportTest, OursBecomesAVersionThatCanGoLive) {
  const std::string file = Ours();
  Import import(*stub_);
  const grpc::Status status = import.Start(file, "", "run 7").Send(file).End();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(import.response().name(), "tiny");
  EXPECT_EQ(import.response().version(), Sha256Hex(file).substr(0, 12));
  EXPECT_TRUE(import.response().added());
  EXPECT_EQ(import.response().unused_tensors_size(), 0);
  const VersionManifest manifest =
      ReadManifest(folder_, "tiny", import.response().version()).value();
  EXPECT_EQ(manifest.source, "import of run 7");
  EXPECT_FALSE(models_.Serving("tiny").ok());
  EXPECT_THAT(Left(), ElementsAre("tiny"));
  EXPECT_TRUE(Promote("tiny", import.response().version()).ok());
  Import again(*stub_);
  ASSERT_TRUE(again.Start(file).Send(file, 7777).End().ok());
  EXPECT_FALSE(again.response().added());
  EXPECT_EQ(again.response().version(), import.response().version());
}

TEST_F(ImportTest, TheAuthorsLayoutIsConverted) {
  const std::string file = Authors();
  Import import(*stub_);
  const grpc::Status status = import.Start(file, "theirs").Send(file).End();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(import.response().name(), "theirs");
  EXPECT_GT(import.response().unused_tensors_size(), 0);
  EXPECT_NE(import.response().version(), Sha256Hex(file).substr(0, 12));
  EXPECT_TRUE(Promote("theirs", import.response().version()).ok());
}

TEST_F(ImportTest, AnotherNameIsAnotherVersion) {
  const std::string file = Ours();
  Import import(*stub_);
  ASSERT_TRUE(import.Start(file, "other").Send(file).End().ok());
  EXPECT_EQ(import.response().name(), "other");
  EXPECT_TRUE(ReadVersion(folder_, "other", import.response().version()).ok());
}

TEST_F(ImportTest, WhatIsNoCheckpointIsInvalid) {
  const std::string file = Ours();
  for (const std::string& bad :
       {std::string("x"), std::string(5000, 'x'), file.substr(0, file.size() - 4), file + "xxxx"}) {
    Expect(TryImport(bad), grpc::StatusCode::INVALID_ARGUMENT, "INVALID_CHECKPOINT");
  }
  std::string renamed = file;
  renamed.replace(renamed.find("tail.conv1.weight"), 4, "tale");
  const grpc::Status status = TryImport(renamed);
  Expect(status, grpc::StatusCode::INVALID_ARGUMENT, "INVALID_CHECKPOINT");
  EXPECT_THAT(status.error_message(), HasSubstr("tail.conv1.weight"));
  EXPECT_THAT(Left(), IsEmpty());
}

TEST_F(ImportTest, WeightsThatAreNotFiniteAreInvalidByName) {
  const std::string version = StoreInfiniteModel(folder_, "tiny");
  const std::string file = ReadFile(VersionPath(folder_, "tiny", version)).value();
  const grpc::Status status = TryImport(file, "other");
  Expect(status, grpc::StatusCode::INVALID_ARGUMENT, "INVALID_CHECKPOINT");
  EXPECT_THAT(status.error_message(), HasSubstr("'tail.conv1.weight'"));
  EXPECT_THAT(Left(), ElementsAre("tiny"));
}

TEST_F(ImportTest, AStartHasLimits) {
  const std::string file = Ours(), sha256 = Sha256Hex(file);
  const auto start = [&](int64_t bytes, const std::string& hash, const std::string& name = "",
                         const std::string& origin = "") {
    Import import(*stub_);
    return import.Start(bytes, hash, name, origin).Wait();
  };
  for (const int64_t bytes : {int64_t{0}, int64_t{-1}}) {
    Expect(start(bytes, sha256), grpc::StatusCode::INVALID_ARGUMENT, "FILE_SIZE");
  }
  Expect(start(std::numeric_limits<int64_t>::max(), sha256), grpc::StatusCode::RESOURCE_EXHAUSTED,
         "MODEL_BUDGET");
  for (const std::string& hash : {std::string(), sha256.substr(1), std::string(64, 'A')}) {
    Expect(start(10, hash), grpc::StatusCode::INVALID_ARGUMENT, "INVALID_ARGUMENT");
  }
  for (const std::string& name : {std::string(".."), std::string("../x"), std::string(65, 'a')}) {
    Expect(start(10, sha256, name), grpc::StatusCode::INVALID_ARGUMENT, "INVALID_ARGUMENT");
  }
  Expect(start(10, sha256, "", std::string(1025, 'a')), grpc::StatusCode::INVALID_ARGUMENT,
         "INVALID_ARGUMENT");
  EXPECT_THAT(Left(), IsEmpty());
}

TEST_F(ImportTest, MessagesHaveAnOrder) {
  const std::string file = Ours();
  Import early(*stub_), twice(*stub_), empty(*stub_), nothing(*stub_);
  Expect(early.Send("x").Wait(), grpc::StatusCode::INVALID_ARGUMENT, "MESSAGE_OUT_OF_ORDER");
  Expect(twice.Start(file).Start(file).Wait(), grpc::StatusCode::INVALID_ARGUMENT,
         "MESSAGE_OUT_OF_ORDER");
  Expect(empty.Start(file).SendNothing().Wait(), grpc::StatusCode::INVALID_ARGUMENT,
         "MESSAGE_OUT_OF_ORDER");
  Expect(nothing.End(), grpc::StatusCode::INVALID_ARGUMENT, "MESSAGE_OUT_OF_ORDER");
}

TEST_F(ImportTest, AFileIsAsLongAsItsStartSays) {
  const std::string file = Ours();
  Import longer(*stub_), shorter(*stub_);
  Expect(longer.Start(file).Send(file).Send("x").Wait(), grpc::StatusCode::INVALID_ARGUMENT,
         "FILE_SIZE");
  const grpc::Status status = shorter.Start(file).Send(file.substr(1)).End();
  Expect(status, grpc::StatusCode::INVALID_ARGUMENT, "FILE_SIZE");
  EXPECT_THAT(status.error_message(), HasSubstr(std::to_string(file.size() - 1)));
  EXPECT_THAT(Left(), IsEmpty());
}

TEST_F(ImportTest, AFileIsWhatItsChecksumSays) {
  std::string file = Ours();
  Import import(*stub_);
  import.Start(file);
  file.back() ^= 1;
  Expect(import.Send(file).End(), grpc::StatusCode::DATA_LOSS, "CHECKSUM");
  EXPECT_THAT(Left(), IsEmpty());
}

TEST_F(ImportTest, NothingIsLeftOfACallThatEnds) {
  const std::string file = Ours();
  Import import(*stub_);
  import.Start(file).Send(file.substr(0, file.size() / 2));
  ASSERT_TRUE(HappensSoon([&] { return calls_.count() == 1; }));
  import.Cancel();
  EXPECT_EQ(import.Wait().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
  EXPECT_THAT(Left(), IsEmpty());
  EXPECT_TRUE(TryImport(file).ok());
}

TEST_F(ImportTest, ASilentCallerIsIdle) {
  Serve({.limits = {.max_stream_idle = absl::Milliseconds(300)}});
  const std::string file = Ours();
  Import silent(*stub_), halfway(*stub_);
  Expect(silent.Wait(), grpc::StatusCode::DEADLINE_EXCEEDED, "STREAM_IDLE");
  Expect(halfway.Start(file).Send(file.substr(0, 10)).Wait(), grpc::StatusCode::DEADLINE_EXCEEDED,
         "STREAM_IDLE");
  EXPECT_TRUE(TryImport(file).ok());
}

TEST_F(ImportTest, ImportsUnderWayShareTheBudget) {
  const std::string file = Ours();
  const auto bytes = static_cast<int64_t>(file.size());
  Serve({.limits = {.max_model_bytes = bytes + 1000}});
  Import first(*stub_);
  first.Start(file).Send(file.substr(0, 100));
  ASSERT_TRUE(HappensSoon([&] { return UnderWay() == 1; }));
  Import second(*stub_);
  Expect(second.Start(1001, Sha256Hex("x")).End(), grpc::StatusCode::RESOURCE_EXHAUSTED,
         "MODEL_BUDGET");
  EXPECT_TRUE(first.Send(file.substr(100)).End().ok());
  ASSERT_TRUE(HappensSoon([&] { return TryImport(file).ok(); }));  // the room was given back
}

TEST_F(ImportTest, AFullDiskTakesNoImport) {
  Serve({.min_free_bytes = int64_t{1} << 60});
  const grpc::Status status = TryImport(Ours());
  Expect(status, grpc::StatusCode::RESOURCE_EXHAUSTED, "DISK_FULL");
  EXPECT_THAT(status.error_message(), HasSubstr("min_free_bytes is 1152921504606846976"));
  EXPECT_THAT(Left(), IsEmpty());
}

TEST_F(ImportTest, WithoutADataFolderNothingIsImported) {
  Serve({.data_folder = false});
  Expect(TryImport(Ours()), grpc::StatusCode::FAILED_PRECONDITION, "NO_DATA_FOLDER");
}

TEST_F(ImportTest, ADrainEndsWhatHasNotComeWhole) {
  const std::string file = Ours();
  Import import(*stub_);
  import.Start(file).Send(file.substr(0, 100));
  ASSERT_TRUE(HappensSoon([&] { return calls_.count() == 1; }));
  service_->BeginDrain();
  Expect(import.Wait(), grpc::StatusCode::UNAVAILABLE, "DRAINING");
  Expect(TryImport(file), grpc::StatusCode::UNAVAILABLE, "DRAINING");
  EXPECT_THAT(Left(), IsEmpty());
}

}  // namespace
}  // namespace deweather
