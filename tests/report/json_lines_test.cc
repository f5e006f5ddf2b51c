#include "training/report/json_lines.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "model/base/file.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

using nlohmann::json;

const absl::Time kTime = absl::FromUnixMillis(1'700'000'000'250);
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::string Lines(std::initializer_list<int> steps) {
  std::string text;
  for (const int step : steps) text += JsonLine(ScalarRecord{step, kTime, {{"loss/task", 0.5}}});
  return text;
}

TEST(JsonLinesTest, FiguresAreOneLine) {
  EXPECT_EQ(JsonLine(ScalarRecord{50, kTime, {{"loss/task", 0.25}, {"learning_rate", 1e-3}}}),
            "{\"step\":50,\"time\":\"2023-11-14T22:13:20.250Z\",\"loss/task\":0.25,"
            "\"learning_rate\":0.001}\n");
}

TEST(JsonLinesTest, WhatIsNotFiniteIsNull) {
  const json line =
      json::parse(JsonLine(ScalarRecord{1, kTime, {{"a", kNan}, {"b", kInfinity}, {"c", -1}}}));
  EXPECT_TRUE(line["a"].is_null());
  EXPECT_TRUE(line["b"].is_null());
  EXPECT_EQ(line["c"], -1);
}

TEST(JsonLinesTest, EventsHaveTheirDetails) {
  const json line = json::parse(JsonLine(EventRecord{
      7, kTime, "checkpoint", {{"path", "a\n\xff"}, {"steps", int64_t{9}}, {"best", kNan}}}));
  EXPECT_EQ(line["event"], "checkpoint");
  EXPECT_EQ(line["path"], "a\n\uFFFD");
  EXPECT_EQ(line["steps"], 9);
  EXPECT_TRUE(line["best"].is_null());
}

TEST(JsonLinesTest, WhatIsWrittenIsRead) {
  const std::string path = NewFolder() + "/log.jsonl";
  const ScalarRecord record{50, kTime, {{"loss/task", 0.1}, {"x", kNan}}};
  const std::string text = JsonLine(record) + JsonLine(EventRecord{50, kTime, "stopped", {}}) +
                           "{\"step\":60,\"loss/ta";  // torn
  ASSERT_TRUE(WriteFileAtomically(path, text).ok());
  const std::vector<ScalarRecord> read = ReadJsonLines(path).value();
  ASSERT_EQ(read.size(), 1u);
  EXPECT_EQ(read[0].step, 50);
  EXPECT_EQ(read[0].time, kTime);
  ASSERT_EQ(read[0].values.size(), 2u);
  EXPECT_EQ(read[0].values[0], record.values[0]);
  EXPECT_TRUE(std::isnan(read[0].values[1].second));
}

TEST(JsonLinesTest, WhatIsNoRecordIsSkipped) {
  const std::string path = NewFolder() + "/log.jsonl";
  ASSERT_TRUE(WriteFileAtomically(path, "[1]\n\n{\"a\":1}\n{\"step\":\"x\"}\n" + Lines({3}) +
                                            std::string("\0\0\0\n", 4))
                  .ok());
  ASSERT_EQ(ReadJsonLines(path)->size(), 1u);
  EXPECT_EQ(ReadJsonLines(NewFolder() + "/absent").status().code(), absl::StatusCode::kNotFound);
}

TEST(JsonLinesTest, LaterStepsAreForgotten) {
  const std::string path = NewFolder() + "/log.jsonl";
  const std::string happened = JsonLine(EventRecord{20, kTime, "checkpoint", {}});
  ASSERT_TRUE(WriteFileAtomically(path, Lines({10, 20}) + happened + Lines({30, 40})).ok());
  ASSERT_TRUE(ForgetAfter(20, path).ok());
  EXPECT_EQ(ReadFile(path).value(), Lines({10, 20}) + happened);
}

TEST(JsonLinesTest, TornLastLineIsForgotten) {
  const std::string path = NewFolder() + "/log.jsonl";
  const std::string torn = Lines({20});
  for (const size_t cut : {size_t{1}, size_t{9}, torn.size() - 2, torn.size() - 1}) {
    ASSERT_TRUE(WriteFileAtomically(path, Lines({10}) + torn.substr(0, cut)).ok());
    ASSERT_TRUE(ForgetAfter(99, path).ok());
    ASSERT_EQ(ReadFile(path).value(), Lines({10})) << cut;
  }
}

TEST(JsonLinesTest, NothingToForgetLeavesTheFile) {
  const std::string path = NewFolder() + "/log.jsonl";
  EXPECT_TRUE(ForgetAfter(5, path).ok());
  EXPECT_FALSE(std::filesystem::exists(path));
  ASSERT_TRUE(WriteFileAtomically(path, Lines({1, 5})).ok());
  const auto before = std::filesystem::last_write_time(path);
  ASSERT_TRUE(ForgetAfter(5, path).ok());
  EXPECT_EQ(std::filesystem::last_write_time(path), before);
}

}  // namespace
}  // namespace deweather
