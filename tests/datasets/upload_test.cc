// Uploads: what becomes a data set, and every way in which one does not and leaves nothing.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/datasets/upload_pictures.h"
#include "training/datasets/datasets.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

void ExpectRefused(const absl::Status& status, absl::StatusCode code, const std::string& reason,
                   const std::string& words) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_EQ(ErrorReason(status), reason) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(words));
}

void ExpectInvalid(const absl::Status& status, const std::string& reason,
                   const std::string& words) {
  ExpectRefused(status, absl::StatusCode::kInvalidArgument, reason, words);
}

class UploadTest : public DatasetsTest {
 protected:
  UploadTest() { Open(); }

  // The upload is dropped: nothing of it is left, and its name is free.
  void ExpectNothingLeft(std::optional<DatasetUpload> upload, const std::string& name = "mine") {
    upload.reset();
    EXPECT_THAT(Entries(), IsEmpty());
    EXPECT_THAT(datasets_->List(), IsEmpty());
    EXPECT_TRUE(datasets_->BeginUpload(name, DatasetKind::kClean).ok());
  }

  // What the server says of one file that is announced like this.
  absl::Status Announce(DatasetKind kind, const std::string& path) {
    DatasetUpload upload = Begin("mine", kind);
    return upload.BeginFile(path, 5, std::string(64, '0'));
  }
};

TEST_F(UploadTest, AppearsWholeWhenItIsCommitted) {
  const std::string png = Png(5, 4);
  DatasetUpload upload = Begin("mine");
  ASSERT_TRUE(Send(upload, "a.png", png).ok());
  ASSERT_TRUE(upload.BeginFile("b.PNG", std::ssize(png), Sha256Hex(png)).ok());
  for (const char c : png) ASSERT_TRUE(upload.Append({&c, 1}).ok());
  EXPECT_FALSE(fs::exists(Folder() + "/mine"));
  EXPECT_THAT(datasets_->List(), IsEmpty());
  const auto dataset = upload.Commit(kNoon);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ(dataset->pictures, 2);
  EXPECT_EQ(dataset->bytes, 2 * std::ssize(png));
  EXPECT_EQ(dataset->kind, DatasetKind::kClean);
  EXPECT_EQ(dataset->create_time, kNoon);
  EXPECT_EQ(datasets_->Find("mine").value().dir, dataset->dir);
  EXPECT_EQ(ReadFile(dataset->dir + "/b.PNG").value(), png);
  EXPECT_THAT(Entries(), ElementsAre("mine"));
}

TEST_F(UploadTest, IsOverAfterItsCommit) {
  DatasetUpload upload = Begin("mine");
  ASSERT_TRUE(Send(upload, "a.png", Png(5, 4)).ok());
  ASSERT_TRUE(upload.Commit(kNoon).ok());
  EXPECT_EQ(upload.Commit(kNoon).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(Send(upload, "b.png", Png(5, 4)).ok());
  EXPECT_EQ(datasets_->Find("mine").value().pictures, 1);
}

TEST_F(UploadTest, PartnersMayDifferInTheirExtension) {
  DatasetUpload upload = Begin("mine", DatasetKind::kPairs);
  ASSERT_TRUE(Send(upload, "input/a.jpg", Png(5, 4)).ok());
  ASSERT_TRUE(Send(upload, "gt/a.png", Png(5, 4, 9)).ok());
  EXPECT_EQ(upload.Commit(kNoon).value().pictures, 1);
}

TEST_F(UploadTest, DroppedMidwayItLeavesNothing) {
  DatasetUpload upload = Begin("mine");
  ASSERT_TRUE(Send(upload, "a.png", Png(5, 4)).ok());
  ASSERT_TRUE(upload.BeginFile("b.png", 100, std::string(64, '0')).ok());
  ASSERT_TRUE(upload.Append("half of it").ok());
  EXPECT_THAT(Entries(), ElementsAre(HasSubstr(".tmp-mine-")));
  ExpectNothingLeft(std::move(upload));
}

TEST_F(UploadTest, OutlivesTheDataSetsObject) {
  DatasetUpload upload = Begin("mine");
  datasets_.reset();
  ASSERT_TRUE(Send(upload, "a.png", Png(5, 4)).ok());
  EXPECT_TRUE(upload.Commit(kNoon).ok());
}

TEST_F(UploadTest, NamesThatAreNone) {
  const std::string nul("a\0b", 3);
  for (const std::string& name :
       {std::string(""), std::string(".."), std::string("../x"), std::string("/tmp/x"),
        std::string(".tmp-x"), nul, std::string(65, 'a')}) {
    ExpectInvalid(datasets_->BeginUpload(name, DatasetKind::kClean).status(), "DATASET_NAME",
                  "name is");
  }
  EXPECT_THAT(Entries(), IsEmpty());
}

TEST_F(UploadTest, PathsLeadNowhereElse) {
  const std::string nul("a\0.png", 6);
  for (const std::string& path :
       {std::string("../x.png"), std::string("/etc/x.png"), std::string("input/../gt/x.png"),
        std::string("input/x.png"), std::string("."), std::string(""), std::string(".png"), nul,
        std::string("a\\b.png"), std::string(61, 'a') + ".png"}) {
    ExpectInvalid(Announce(DatasetKind::kClean, path), "FILE_PATH", "path is '");
  }
  for (const char* path : {"x.png", "input/../gt/x.png", "input/", "input//x.png", "/input/x.png",
                           "truth/x.png", "input/a/x.png", "gt/.x.png"}) {
    ExpectInvalid(Announce(DatasetKind::kPairs, path), "FILE_PATH", absl::StrCat("'", path, "'"));
  }
  for (const char* path : {"dataset.json", "x", "x.gif", "x.png.exe", "png"}) {
    ExpectInvalid(Announce(DatasetKind::kClean, path), "FILE_PATH", "must be a picture");
  }
}

TEST_F(UploadTest, AFileTwice) {
  DatasetUpload upload = Begin("mine");
  ASSERT_TRUE(Send(upload, "a.png", Png(5, 4)).ok());
  ASSERT_TRUE(Send(upload, "a.jpg", Png(5, 4)).ok());  // another picture
  ExpectInvalid(Send(upload, "a.png", Png(5, 4)), "FILE_PATH", "'a.png' comes after 'a.png'");
  ExpectNothingLeft(std::move(upload));
  DatasetUpload pairs = Begin("mine", DatasetKind::kPairs);
  ASSERT_TRUE(Send(pairs, "input/a.png", Png(5, 4)).ok());
  ExpectInvalid(Send(pairs, "input/a.jpg", Png(5, 4)), "FILE_PATH", "after 'input/a.png'");
}

TEST_F(UploadTest, ALieAboutTheSize) {
  const std::string png = Png(5, 4);
  const std::string sha256 = Sha256Hex(png);
  {
    DatasetUpload upload = Begin("mine");
    ASSERT_TRUE(upload.BeginFile("a.png", std::ssize(png) - 1, sha256).ok());
    ExpectInvalid(upload.Append(png), "FILE_SIZE", absl::StrCat("1 to ", png.size() - 1));
  }
  {
    DatasetUpload upload = Begin("mine");
    ASSERT_TRUE(Send(upload, "a.png", png).ok());
    ExpectInvalid(upload.Append("more"), "FILE_SIZE", "more bytes than it announced");
  }
  {
    DatasetUpload upload = Begin("mine");
    ASSERT_TRUE(upload.BeginFile("a.png", std::ssize(png) + 1, sha256).ok());
    ASSERT_TRUE(upload.Append(png).ok());
    ExpectInvalid(upload.BeginFile("b.png", 5, sha256), "FILE_SIZE",
                  absl::StrCat("ends after ", png.size(), " of its ", png.size() + 1));
    ExpectInvalid(upload.Commit(kNoon).status(), "FILE_SIZE", "'a.png' ends after");
  }
  {
    DatasetUpload upload = Begin("mine");
    ASSERT_TRUE(upload.BeginFile("a.png", 9, sha256).ok());
    ExpectInvalid(upload.Append(""), "FILE_SIZE", "has 0 bytes");
  }
  for (const int64_t bytes : {int64_t{0}, int64_t{-1}, options_.max_file_bytes + 1}) {
    DatasetUpload upload = Begin("mine");
    ExpectInvalid(upload.BeginFile("a.png", bytes, sha256), "FILE_SIZE",
                  absl::StrCat("has ", bytes, " bytes; it must have 1 to 67108864"));
    ExpectNothingLeft(std::move(upload));
  }
}

TEST_F(UploadTest, ALieAboutTheChecksum) {
  const std::string png = Png(5, 4);
  DatasetUpload upload = Begin("mine");
  ASSERT_TRUE(upload.BeginFile("a.png", std::ssize(png), Sha256Hex("other")).ok());
  ExpectRefused(upload.Append(png), absl::StatusCode::kDataLoss, "CHECKSUM", Sha256Hex(png));
  ExpectRefused(upload.Commit(kNoon).status(), absl::StatusCode::kDataLoss, "CHECKSUM", "'a.png'");
  ExpectNothingLeft(std::move(upload));
  for (const std::string& sha256 : {std::string(), std::string(63, '0'), std::string(64, 'A')}) {
    ExpectInvalid(Begin("mine").BeginFile("a.png", 5, sha256), "CHECKSUM", "64 hexadecimal digits");
  }
}

TEST_F(UploadTest, ChunksAndFilesOutOfOrder) {
  DatasetUpload upload = Begin("mine");
  ExpectInvalid(upload.Append("bytes"), "MESSAGE_OUT_OF_ORDER", "before the file");
  ExpectInvalid(Begin("empty").Commit(kNoon).status(), "DATASET_EMPTY", "no file");
}

TEST_F(UploadTest, WhatIsNoPicture) {
  ExpectInvalid(Send(Begin("mine"), "a.png", "plain text"), "INVALID_IMAGE",
                "'a.png': not an image");
  const std::string png = Png(40, 40, 3);
  ExpectInvalid(Send(Begin("mine"), "a.png", png.substr(0, png.size() - 9)), "INVALID_IMAGE",
                "'a.png'");
  EXPECT_THAT(Entries(), IsEmpty());
}

TEST_F(UploadTest, ABombOfAPicture) {
  options_.max_image_pixels = 99;
  Open();
  DatasetUpload fits = Begin("mine");
  EXPECT_TRUE(Send(fits, "a.png", Png(11, 9)).ok());
  ExpectInvalid(Send(fits, "b.png", Png(10, 10)), "PIXEL_LIMIT", "over the limit of 99");
  // A header that claims 60000 x 60000, and nothing to back it.
  std::string bomb = Png(10, 10);
  bomb[18] = bomb[22] = static_cast<char>(0xea);
  bomb[19] = bomb[23] = 0x60;
  const absl::Status status = Send(Begin("bomb"), "a.png", bomb);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
}

TEST_F(UploadTest, PairsWithoutAPartner) {
  DatasetUpload upload = Begin("mine", DatasetKind::kPairs);
  ASSERT_TRUE(Send(upload, "input/a.png", Png(5, 4)).ok());
  ASSERT_TRUE(Send(upload, "gt/a.png", Png(5, 4)).ok());
  ASSERT_TRUE(Send(upload, "gt/b.png", Png(5, 4)).ok());
  ExpectInvalid(upload.Commit(kNoon).status(), "PAIRS_MISMATCH",
                "'gt/b.png' has no partner 'input/b'");
  ExpectNothingLeft(std::move(upload));
}

TEST_F(UploadTest, PairsOfDifferentSizes) {
  DatasetUpload upload = Begin("mine", DatasetKind::kPairs);
  ASSERT_TRUE(Send(upload, "gt/a.png", Png(5, 4)).ok());
  ExpectInvalid(Send(upload, "input/a.png", Png(4, 5)), "PAIRS_MISMATCH",
                "'input/a.png' is 4x5 but 'gt/a.png' is 5x4");
  ExpectNothingLeft(std::move(upload));
}

TEST_F(UploadTest, NamesThatAreTaken) {
  options_.registered = {{"rain", place_ + "/rain"}};
  Open();
  const auto again = [this](const std::string& name, const std::string& words) {
    ExpectRefused(datasets_->BeginUpload(name, DatasetKind::kClean).status(),
                  absl::StatusCode::kAlreadyExists, "DATASET_EXISTS", words);
  };
  again("rain", "'rain' is registered");
  DatasetUpload upload = Begin("mine");
  again("mine", "'mine' is being uploaded");
  ASSERT_TRUE(Send(upload, "a.png", Png(5, 4)).ok());
  ASSERT_TRUE(upload.Commit(kNoon).ok());
  again("mine", "'mine' is there already");
  fs::create_directories(Folder() + "/new");  // somebody else's
  again("new", "'new' is there already");
}

TEST_F(UploadTest, TheQuotaCountsWhatIsUnderWay) {
  const std::string png = Png(5, 4);
  const int64_t bytes = std::ssize(png);
  options_.max_bytes = 3 * bytes;
  Open();
  DatasetUpload stored = Begin("stored");
  ASSERT_TRUE(Send(stored, "a.png", png).ok());
  ASSERT_TRUE(stored.Commit(kNoon).ok());
  DatasetUpload one = Begin("one");
  std::optional<DatasetUpload> two = Begin("two");
  ASSERT_TRUE(two->BeginFile("a.png", bytes, Sha256Hex(png)).ok());  // no byte of it yet
  ASSERT_TRUE(Send(one, "a.png", png).ok());
  ExpectRefused(Begin("three").BeginFile("b.png", 1, Sha256Hex(png)),
                absl::StatusCode::kResourceExhausted, "DATASET_QUOTA",
                absl::StrCat("uploads hold ", 3 * bytes, " bytes; 1 more would be over the ",
                             3 * bytes, " of datasets.max_bytes"));
  two.reset();
  EXPECT_TRUE(Send(one, "b.png", png).ok());
}

TEST_F(UploadTest, TheQuotaOutlivesARestart) {
  const std::string png = Png(5, 4);
  options_.max_bytes = 2 * std::ssize(png) - 1;
  Open();
  DatasetUpload upload = Begin("mine");
  ASSERT_TRUE(Send(upload, "a.png", png).ok());
  ASSERT_TRUE(upload.Commit(kNoon).ok());
  Open();
  EXPECT_EQ(ErrorReason(Send(Begin("next"), "a.png", png)), "DATASET_QUOTA");
}

TEST_F(UploadTest, UploadsAtOnceStayBelowTheQuota) {
  const std::string png = Png(5, 4);
  options_.max_bytes = 10 * std::ssize(png);
  Open();
  std::vector<DatasetUpload> uploads;
  for (const char* name : {"a", "b", "c", "d"}) uploads.push_back(Begin(name));
  std::atomic<int> stored = 0;
  std::vector<std::thread> threads;
  for (DatasetUpload& upload : uploads) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20 && Send(upload, absl::StrCat(i, ".png"), png).ok(); ++i) ++stored;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(stored, 10);
}

TEST_F(UploadTest, NoUploadsAtAll) {
  options_.max_bytes = 0;
  Open();
  ExpectRefused(datasets_->BeginUpload("mine", DatasetKind::kClean).status(),
                absl::StatusCode::kResourceExhausted, "DATASET_QUOTA", "0 of datasets.max_bytes");
}

TEST_F(UploadTest, TooManyFiles) {
  options_.max_files = 1;
  Open();
  DatasetUpload upload = Begin("mine");
  ASSERT_TRUE(Send(upload, "a.png", Png(5, 4)).ok());
  ExpectRefused(Send(upload, "b.png", Png(5, 4)), absl::StatusCode::kResourceExhausted,
                "FILE_QUOTA", "'b.png' is file 2; datasets.max_files is 1");
  ExpectNothingLeft(std::move(upload));
}

TEST_F(UploadTest, AFullDisk) {
  options_.min_free_bytes = int64_t{1} << 60;
  Open();
  ExpectRefused(datasets_->BeginUpload("mine", DatasetKind::kClean).status(),
                absl::StatusCode::kResourceExhausted, "DISK_FULL", "datasets.min_free_bytes");
  EXPECT_THAT(Entries(), IsEmpty());
}

// All that is left after a write that failed is the error.
TEST_F(UploadTest, AWriteThatFails) {
  DatasetUpload upload = Begin("mine");
  ASSERT_TRUE(Send(upload, "a.png", Png(5, 4)).ok());
  fs::remove_all(Folder() + "/" + Entries().at(0));
  EXPECT_THAT(std::string(Send(upload, "b.png", Png(5, 4)).message()), HasSubstr("cannot create"));
  EXPECT_FALSE(upload.Commit(kNoon).ok());
  ExpectNothingLeft(std::move(upload));
}

// Between the last file and the rename: a name that somebody else took in the meantime.
TEST_F(UploadTest, ANameThatIsTakenAtTheLastMoment) {
  DatasetUpload upload = Begin("mine");
  ASSERT_TRUE(Send(upload, "a.png", Png(5, 4)).ok());
  WriteTo(Folder() + "/mine/theirs.png", "theirs");
  EXPECT_FALSE(upload.Commit(kNoon).ok());
  std::optional<DatasetUpload> dropped = std::move(upload);
  dropped.reset();
  EXPECT_THAT(Entries(), ElementsAre("mine"));
  EXPECT_EQ(ReadFile(Folder() + "/mine/theirs.png").value(), "theirs");
}

}  // namespace
}  // namespace deweather
