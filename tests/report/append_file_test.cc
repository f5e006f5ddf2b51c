#include "training/report/append_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "model/base/file.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

// While it lives, no file of this process grows beyond `bytes`: what a full disk does.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  void (*handler_)(int);
  rlimit before_ = {};
};

TEST(AppendFileTest, GrowsByRecordsAndAcrossLives) {
  const std::string path = NewFolder() + "/file";
  for (const char* const record : {"one\n", "two\n"}) {
    absl::StatusOr<AppendFile> file = AppendFile::Open(path);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_TRUE(file->Append(record).ok());
    EXPECT_TRUE(file->Sync().ok());
  }
  EXPECT_EQ(ReadFile(path).value(), "one\ntwo\n");
}

TEST(AppendFileTest, TornRecordOfAFullDiskIsTakenBack) {
  const std::string path = NewFolder() + "/file";
  AppendFile file = AppendFile::Open(path).value();
  ASSERT_TRUE(file.Append("whole\n").ok());
  {
    const FullDisk full(10);
    EXPECT_FALSE(file.Append("of this four bytes fit\n").ok());
    EXPECT_EQ(ReadFile(path).value(), "whole\n");
    EXPECT_TRUE(file.Append("fit\n").ok());
  }
  EXPECT_TRUE(file.Append("room again\n").ok());
  EXPECT_EQ(ReadFile(path).value(), "whole\nfit\nroom again\n");
}

TEST(AppendFileTest, FullDeviceIsAnErrorEachTime) {
  absl::StatusOr<AppendFile> file = AppendFile::Open("/dev/full");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->Append("x").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(file->Append("x").ok());
}

TEST(AppendFileTest, ErrorsNameThePath) {
  const std::string path = NewFolder() + "/absent/file";
  const absl::Status status = AppendFile::Open(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(std::string(status.message()).find(path), std::string::npos);
}

}  // namespace
}  // namespace deweather
