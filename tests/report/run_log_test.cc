#include "training/report/run_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <vector>

#include "model/base/file.h"
#include "tests/new_folder.h"
#include "training/report/json_lines.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);

ScalarRecord Loss(int64_t step) { return {step, kNow, {{"loss/task", 0.1}}}; }

std::vector<std::string> EventFiles(const std::string& folder) {
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("events.out.tfevents.", 0) == 0) found.push_back(name);
  }
  return found;
}

RunLog::Warn NoWarning() {
  return [](const std::string& message) { ADD_FAILURE() << message; };
}

TEST(RunLogTest, WritesLogEventsAndCurve) {
  const std::string folder = NewFolder();
  RunLog log(folder, 0, kNow, NoWarning());
  log.Add(EventRecord{0, kNow, "started", {}});
  log.Add(Loss(1));
  log.Checkpoint();
  EXPECT_EQ(ReadFile(folder + "/log.jsonl").value(),
            JsonLine(EventRecord{0, kNow, "started", {}}) + JsonLine(Loss(1)));
  EXPECT_EQ(EventFiles(folder).size(), 1u);
  EXPECT_TRUE(fs::exists(folder + "/curve.png"));
  EXPECT_EQ(log.lost(), 0);
}

TEST(RunLogTest, ResumedRunTellsEachStepOnce) {
  const std::string folder = NewFolder();
  {
    RunLog log(folder, 0, kNow, NoWarning());
    for (const int step : {10, 20, 30}) log.Add(Loss(step));
  }
  RunLog log(folder, 20, kNow, NoWarning());
  for (const int step : {30, 40}) log.Add(Loss(step));
  std::vector<int64_t> steps;
  const std::vector<ScalarRecord> records = ReadJsonLines(folder + "/log.jsonl").value();
  for (const ScalarRecord& record : records) steps.push_back(record.step);
  EXPECT_THAT(steps, testing::ElementsAre(10, 20, 30, 40));
  EXPECT_EQ(EventFiles(folder).size(), 2u);
}

TEST(RunLogTest, WhatCannotBeWrittenIsToldOnceAndCounted) {
  const std::string folder = NewFolder();
  fs::create_directories(folder + "/log.jsonl/folder");
  fs::create_directories(folder + "/curve.png/folder");
  std::vector<std::string> warnings;
  RunLog log(folder, 0, kNow, [&](const std::string& message) { warnings.push_back(message); });
  const int64_t before = log.lost();
  for (const int step : {1, 2, 3}) log.Add(Loss(step));
  for (int i = 0; i < 2; ++i) log.Checkpoint();
  EXPECT_EQ(log.lost() - before, 5);
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_THAT(warnings[0], testing::StartsWith("log: "));
  EXPECT_THAT(warnings[0], testing::HasSubstr(folder + "/log.jsonl"));
  EXPECT_THAT(warnings[1], testing::StartsWith("curve: "));
  EXPECT_EQ(EventFiles(folder).size(), 1u);  // goes on without the others
}

TEST(RunLogTest, FolderThatIsNotThereEndsNothing) {
  int warnings = 0;
  RunLog log(NewFolder() + "/absent", 0, kNow, [&](const std::string&) { ++warnings; });
  log.Add(Loss(1));
  log.Checkpoint();
  EXPECT_EQ(warnings, 3);
  EXPECT_GT(log.lost(), 3);
}

}  // namespace
}  // namespace deweather
