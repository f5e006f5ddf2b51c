#include "server/log/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "model/base/server_options.h"

namespace deweather {
namespace {

using testing::ElementsAre;
using testing::EndsWith;

class LogTest : public testing::Test {
 protected:
  ~LogTest() override {
    std::fclose(file_);
    unsetenv("SPDLOG_LEVEL");
  }

  // What `body` logs, line by line.
  template <typename Body>
  std::vector<std::string> Logged(const LogOptions& options, Body body) {
    {
      Log log(fileno(file_));
      log.Configure(options);
      body(log);
    }
    std::rewind(file_);
    std::string text;
    for (int c = std::fgetc(file_); c != EOF; c = std::fgetc(file_)) text += static_cast<char>(c);
    std::vector<std::string> lines = absl::StrSplit(text, '\n');
    EXPECT_EQ(lines.back(), "");
    lines.pop_back();
    return lines;
  }

  std::FILE* const file_ = std::tmpfile();
};

TEST_F(LogTest, AFileGetsJson) {
  const std::vector<std::string> lines = Logged({}, [](Log& log) {
    EXPECT_TRUE(log.json());
    spdlog::info("model {} is live", "m\n");
    LogWith(spdlog::level::warn, "with {} fields", {{"job_id", "j1"}});
    spdlog::error("without");
  });
  ASSERT_EQ(lines.size(), 3);
  EXPECT_EQ(nlohmann::json::parse(lines[0])["message"], "model m\n is live");
  EXPECT_EQ(nlohmann::json::parse(lines[1])["message"], "with {} fields");
  EXPECT_EQ(nlohmann::json::parse(lines[1])["level"], "warning");
  EXPECT_EQ(nlohmann::json::parse(lines[1])["job_id"], "j1");
  EXPECT_FALSE(nlohmann::json::parse(lines[2]).contains("job_id"));
}

TEST_F(LogTest, TextWhereItIsAskedFor) {
  const std::vector<std::string> lines = Logged({.format = LogFormat::kText}, [](Log& log) {
    EXPECT_FALSE(log.json());
    LogWith(spdlog::level::info, "served", {{"method", "Restore"}});
  });
  EXPECT_THAT(lines, ElementsAre(EndsWith(" info served method=Restore")));  // and no colour
}

TEST_F(LogTest, LinesBelowTheLevelAreLeftOut) {
  const std::vector<std::string> lines = Logged({.level = LogLevel::kWarn}, [](Log&) {
    spdlog::info("no");
    LogWith(spdlog::level::info, "no", {});
    spdlog::warn("yes");
  });
  ASSERT_EQ(lines.size(), 1);
  EXPECT_EQ(nlohmann::json::parse(lines[0])["message"], "yes");
}

TEST_F(LogTest, TheEnvironmentOverridesTheLevel) {
  setenv("SPDLOG_LEVEL", "debug", 1);
  EXPECT_EQ(Logged({.level = LogLevel::kError}, [](Log&) { spdlog::debug("yes"); }).size(), 1);
}

TEST_F(LogTest, AfterAFlushOthersMayWrite) {
  const std::vector<std::string> lines = Logged({}, [this](Log&) {
    spdlog::info("before");
    FlushLog();
    EXPECT_EQ(write(fileno(file_), "last\n", 5), 5);
  });
  ASSERT_EQ(lines.size(), 2);
  EXPECT_EQ(lines[1], "last");
}

}  // namespace
}  // namespace deweather
