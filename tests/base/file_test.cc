#include "model/base/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "model/base/error_reason.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;

std::string NewFolder(const std::string& name) {
  const std::string path = testing::TempDir() + "/" + name;
  fs::remove_all(path);
  fs::create_directories(path);
  return path;
}

TEST(FileTest, WhatIsWrittenIsRead) {
  const std::string path = NewFolder("written") + "/file";
  for (const std::string& bytes :
       {std::string(), std::string("a\0b", 3), std::string(200'000, 'x')}) {
    ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
    EXPECT_EQ(ReadFile(path).value(), bytes);
  }
}

TEST(FileTest, FailureLeavesTheOldFileAndNoOther) {
  const std::string folder = NewFolder("kept");
  fs::create_directories(folder + "/busy/inside");  // a folder cannot be replaced by a file
  EXPECT_FALSE(WriteFileAtomically(folder + "/busy", "new").ok());
  EXPECT_TRUE(fs::is_directory(folder + "/busy/inside"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), fs::directory_iterator()), 1);
}

TEST(FileTest, OnlyRegularFilesAreReplacedAndLinksAreFollowed) {
  const std::string folder = NewFolder("special");
  EXPECT_EQ(WriteFileAtomically("/dev/null", "x").code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(WriteFileAtomically(folder + "/file", "old").ok());
  fs::create_symlink("file", folder + "/link");
  ASSERT_TRUE(WriteFileAtomically(folder + "/link", "new").ok());
  EXPECT_TRUE(fs::is_symlink(folder + "/link"));
  EXPECT_EQ(ReadFile(folder + "/file").value(), "new");
}

TEST(FileTest, ErrorsNameThePath) {
  const std::string folder = NewFolder("errors");
  const auto absent = ReadFile(folder + "/absent");
  EXPECT_EQ(absent.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(absent.status().message()), testing::HasSubstr(folder + "/absent"));
  EXPECT_EQ(ReadFile(folder).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(WriteFileAtomically(folder + "/no/file", "x").message()),
              testing::HasSubstr(folder + "/no/file"));
}

TEST(FileTest, WhatTheDiskSaysHasAReason) {
  const absl::Status full = DiskError(ENOSPC, "cannot write 'a'");
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorReason(full), "DISK_FULL");
  EXPECT_EQ(ErrorReason(DiskError(EDQUOT, "")), "DISK_FULL");
  const absl::Status read_only = DiskError(EROFS, "");
  EXPECT_EQ(read_only.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorReason(read_only), "READ_ONLY");
  EXPECT_EQ(ErrorReason(DiskError(EMFILE, "")), "RESOURCE_EXHAUSTED");
}

TEST(FileTest, FilesAndFoldersAreRenamedAndRemoved) {
  const std::string folder = NewFolder("moved");
  fs::create_directories(folder + "/a/b");
  ASSERT_TRUE(Rename(folder + "/a", folder + "/c").ok());
  EXPECT_TRUE(fs::is_directory(folder + "/c/b"));
  const absl::Status absent = Rename(folder + "/a", folder + "/d");
  EXPECT_EQ(absent.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(absent.message()), testing::HasSubstr(folder + "/d"));
  RemoveAll(folder + "/c");
  RemoveAll(folder + "/c");
  EXPECT_FALSE(fs::exists(folder + "/c"));
}

TEST(FileTest, ADiskHasASizeAndHoldsWhatIsFree) {
  const absl::StatusOr<DiskSpace> space = SpaceOf(NewFolder("disk"));
  ASSERT_TRUE(space.ok()) << space.status();
  EXPECT_GT(space->free_bytes, 0);
  EXPECT_GT(space->size_bytes, space->free_bytes);
  EXPECT_FALSE(SpaceOf("/no/such/folder").ok());
}

TEST(FileTest, FoldersAreMadeWithThoseAbove) {
  const std::string folder = NewFolder("made") + "/a/b";
  ASSERT_TRUE(MakeFolder(folder).ok());
  EXPECT_TRUE(MakeFolder(folder).ok());  // again
  EXPECT_TRUE(fs::is_directory(folder));
  EXPECT_GT(FreeBytes(folder).value(), 0);
  EXPECT_EQ(FreeBytes(folder + "/none").status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(WriteFileAtomically(folder + "/file", "").ok());
  EXPECT_THAT(std::string(MakeFolder(folder + "/file/c").message()),
              testing::HasSubstr(folder + "/file/c"));
}

TEST(FileTest, OpenFilesAreWrittenAndReadInPart) {
  const std::string path = NewFolder("open") + "/file";
  ASSERT_TRUE(WriteFileAtomically(path, "").ok());
  std::FILE* const file = std::fopen(path.c_str(), "r+");
  ASSERT_NE(file, nullptr);
  int64_t written = 1;
  EXPECT_TRUE(WriteAll(fileno(file), "0123456789", path, &written).ok());
  EXPECT_EQ(written, 11);
  EXPECT_EQ(ReadAt(fileno(file), 3, 4), "3456");
  EXPECT_EQ(ReadAt(fileno(file), 8, 4), "89");
  EXPECT_EQ(ReadAt(fileno(file), 20, 4), "");
  EXPECT_EQ(ReadAt(-1, 0, 4), "");
  EXPECT_FALSE(WriteAll(-1, "x", path).ok());
  std::fclose(file);
}

TEST(FileTest, ReadsWhatHasNoSize) {  // as a pipe or a file of /proc
  EXPECT_FALSE(ReadFile("/proc/self/status").value().empty());
}

}  // namespace
}  // namespace deweather
