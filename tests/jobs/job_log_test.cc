#include "training/jobs/job_log.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "absl/strings/str_format.h"
#include "model/base/file.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMax = 4096;

class JobLogTest : public testing::Test {
 protected:
  JobLog Open() {
    absl::StatusOr<JobLog> log = JobLog::Open(path_, kMax);
    EXPECT_TRUE(log.ok()) << log.status();
    return *std::move(log);
  }

  LogPiece Read(int64_t offset, int64_t max_bytes = 1 << 20) {
    const absl::StatusOr<LogPiece> piece = ReadLog(path_, offset, max_bytes);
    EXPECT_TRUE(piece.ok()) << piece.status();
    return piece.value_or(LogPiece{});
  }

  // All that is there, from its first byte on; checks that no piece has a hole before it.
  LogPiece ReadAll() {
    LogPiece all = Read(0);
    while (all.offset + static_cast<int64_t>(all.text.size()) < all.end) {
      const int64_t next = all.offset + static_cast<int64_t>(all.text.size());
      const LogPiece piece = Read(next, 100);
      EXPECT_EQ(piece.offset, next);
      EXPECT_FALSE(piece.text.empty());
      if (piece.text.empty()) break;
      all.text += piece.text;
    }
    return all;
  }

  int64_t BytesOnDisk() const {
    int64_t bytes = 0;
    for (const auto& entry : fs::directory_iterator(fs::path(path_).parent_path())) {
      bytes += static_cast<int64_t>(entry.file_size());
    }
    return bytes;
  }

  const std::string path_ = NewFolder() + "/log.txt";
};

// Line i of a long log: each byte of it can be told by its place.
std::string Line(int i) { return absl::StrFormat("line %010d of the program\n", i); }
constexpr int64_t kLineBytes = 31;

std::string Lines(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += Line(i);
  return text;
}

TEST_F(JobLogTest, IsEmptyBeforeItIsThere) {
  const LogPiece piece = Read(0);
  EXPECT_EQ(piece.offset, 0);
  EXPECT_EQ(piece.text, "");
  EXPECT_EQ(piece.end, 0);
  EXPECT_TRUE(absl::IsInvalidArgument(ReadLog(path_, 1, 100).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ReadLog(path_, -1, 100).status()));
}

TEST_F(JobLogTest, ReadsFromAnyByteAtMostSoMuch) {
  JobLog log = Open();
  ASSERT_TRUE(log.Append("first\n").ok());
  ASSERT_TRUE(log.Append("second\n").ok());
  EXPECT_EQ(log.end(), 13);
  EXPECT_EQ(Read(0).text, "first\nsecond\n");
  EXPECT_EQ(Read(6).text, "second\n");
  EXPECT_EQ(Read(6).offset, 6);
  EXPECT_EQ(Read(2, 5).text, "rst\ns");
  EXPECT_EQ(Read(2, 5).end, 13);
  EXPECT_EQ(Read(13).text, "");
  EXPECT_TRUE(absl::IsInvalidArgument(ReadLog(path_, 14, 100).status()));
  EXPECT_EQ(*ReadFile(path_), "# log from byte 0\nfirst\nsecond\n");
}

TEST_F(JobLogTest, KeepsTheNewestAndTheirPlacesWithinItsSize) {
  JobLog log = Open();
  const std::string whole = Lines(1000);
  ASSERT_EQ(static_cast<int64_t>(whole.size()), 1000 * kLineBytes);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(log.Append(Line(i)).ok());
    ASSERT_LE(BytesOnDisk(), kMax);
    ASSERT_EQ(log.end(), (i + 1) * kLineBytes);
  }
  const LogPiece all = ReadAll();
  EXPECT_GT(all.offset, 0);
  EXPECT_GE(all.end - all.offset, kMax / 2 - 64);
  EXPECT_EQ(all.text, whole.substr(all.offset));
  EXPECT_EQ(Read(all.offset + 40, 10).text, whole.substr(all.offset + 40, 10));
}

TEST_F(JobLogTest, TakesMoreAtOnceThanItKeeps) {
  JobLog log = Open();
  const std::string whole = Lines(1000);
  ASSERT_TRUE(log.Append(whole).ok());
  EXPECT_EQ(log.end(), 1000 * kLineBytes);
  EXPECT_LE(BytesOnDisk(), kMax);
  const LogPiece all = ReadAll();
  EXPECT_EQ(all.text, whole.substr(all.offset));
}

TEST_F(JobLogTest, GoesOnWhereAnEarlierLifeEnded) {
  const std::string whole = Lines(400);
  int64_t done = 0;
  while (done < static_cast<int64_t>(whole.size())) {
    JobLog log = Open();
    ASSERT_EQ(log.end(), done);
    ASSERT_TRUE(log.Append(whole.substr(done, 100)).ok());
    done = log.end();
    ASSERT_LE(BytesOnDisk(), kMax);
  }
  const LogPiece all = ReadAll();
  EXPECT_EQ(all.end, done);
  EXPECT_EQ(all.text, whole.substr(all.offset));
}

// A kill between the rename and the new file, within its first line, and before it.
TEST_F(JobLogTest, TornRotationLosesNothing) {
  for (const char* torn : {"", "# log from by", "# log from byte ", "# log from byte 12"}) {
    fs::remove(path_ + ".1");
    fs::remove(path_);
    {
      JobLog log = Open();
      ASSERT_TRUE(log.Append("0123456789").ok());
    }
    fs::rename(path_, path_ + ".1");
    EXPECT_EQ(Read(3).text, "3456789");
    ASSERT_TRUE(WriteFileAtomically(path_, torn).ok());
    EXPECT_EQ(Read(3).text, "3456789");
    EXPECT_EQ(Read(10).end, 10);
    JobLog log = Open();
    EXPECT_EQ(log.end(), 10);
    ASSERT_TRUE(log.Append("abc").ok());
    EXPECT_EQ(ReadAll().text, "0123456789abc") << torn;
  }
}

TEST_F(JobLogTest, FileOfAnotherKindIsNoLog) {
  ASSERT_TRUE(WriteFileAtomically(path_, "garbage that goes on and on without an end").ok());
  EXPECT_EQ(Read(0).end, 0);
  JobLog log = Open();
  ASSERT_TRUE(log.Append("text").ok());
  EXPECT_EQ(ReadAll().text, "text");
}

TEST_F(JobLogTest, FailedRotationIsMadeUpFor) {
  JobLog log = Open();
  ASSERT_TRUE(log.Append(Lines(60)).ok());
  fs::create_directories(path_ + ".1/in the way");  // a rename cannot replace it
  EXPECT_FALSE(log.Append(Lines(60)).ok());
  const int64_t end = log.end();
  EXPECT_GE(end, 60 * kLineBytes);
  fs::remove_all(path_ + ".1");
  ASSERT_TRUE(log.Append("after\n").ok());
  EXPECT_EQ(log.end(), end + 6);
  EXPECT_EQ(Read(end).text, "after\n");
}

TEST_F(JobLogTest, TellsOfAPlaceThatIsNone) {
  EXPECT_FALSE(JobLog::Open("/nowhere/log.txt", kMax).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(JobLog::Open(path_, 4095).status()));
}

// A reader that starts at any time and goes on sees every byte at its place, or is told that it is gone.
TEST_F(JobLogTest, IsReadWhileItIsWritten) {
  const std::string whole = Lines(20000);
  std::thread writer([&] {
    JobLog log = Open();
    for (size_t at = 0; at < whole.size(); at += 500) {
      ASSERT_TRUE(log.Append(std::string_view(whole).substr(at, 500)).ok());
    }
  });
  int64_t offset = 0;
  while (offset < static_cast<int64_t>(whole.size())) {
    const LogPiece piece = Read(offset, 300);
    ASSERT_GE(piece.offset, offset);
    ASSERT_EQ(piece.text, whole.substr(piece.offset, piece.text.size()));
    offset = piece.offset + static_cast<int64_t>(piece.text.size());
  }
  writer.join();
  EXPECT_EQ(ReadAll().end, static_cast<int64_t>(whole.size()));
}

}  // namespace
}  // namespace deweather
