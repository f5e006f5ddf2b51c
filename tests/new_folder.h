// A place for the files of one test.

#ifndef DEWEATHER_TESTS_NEW_FOLDER_H_
#define DEWEATHER_TESTS_NEW_FOLDER_H_

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

namespace deweather {

// A folder that is new for each test.
inline std::string NewFolder() {
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  const std::string path = testing::TempDir() + "/" + test->test_suite_name() + "." + test->name();
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path);
  return path;
}

}  // namespace deweather

#endif  // DEWEATHER_TESTS_NEW_FOLDER_H_
