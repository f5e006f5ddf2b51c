// A machine as it tells of itself.

#ifndef DEWEATHER_TESTS_BASE_MACHINE_FOLDER_H_
#define DEWEATHER_TESTS_BASE_MACHINE_FOLDER_H_

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "model/base/file.h"
#include "tests/new_folder.h"

namespace deweather {

// A folder that holds /proc and /sys as a test wants them.
class MachineFolderTest : public testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    ASSERT_TRUE(WriteFileAtomically(root_ + path, text).ok());
  }

  const std::string root_ = NewFolder();
};

}  // namespace deweather

#endif  // DEWEATHER_TESTS_BASE_MACHINE_FOLDER_H_
