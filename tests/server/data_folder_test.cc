#include "server/data_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/new_folder.h"

namespace deweather {
namespace {

using testing::HasSubstr;

TEST(DataFolderTest, WhatIsNotThereYetIsWell) {
  ServerOptions options;
  EXPECT_TRUE(CheckDataFolder(options).ok());
  options.data_dir = NewFolder();
  EXPECT_TRUE(CheckDataFolder(options).ok());
}

TEST(DataFolderTest, AFileInPlaceOfAFolderIsNamed) {
  ServerOptions options;
  options.data_dir = NewFolder();
  const std::string jobs = JobsFolder(options.data_dir);
  std::ofstream file(jobs);
  const absl::Status status = CheckDataFolder(options);
  EXPECT_THAT(std::string(status.message()), HasSubstr("'" + jobs + "' is no folder"));
  options.training.enabled = false;
  EXPECT_TRUE(CheckDataFolder(options).ok());
}

}  // namespace
}  // namespace deweather
