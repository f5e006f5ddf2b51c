#include "server/log/log_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/time/time.h"

namespace deweather {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

const absl::Time kTime = absl::FromUnixMillis(1'700'000'000'123);

nlohmann::json Parsed(const std::string& line) {
  EXPECT_EQ(std::ranges::count(line, '\n'), 1) << line;
  EXPECT_THAT(line, EndsWith("\n"));
  return nlohmann::json::parse(line);
}

TEST(JsonLineTest, TimeLevelMessageAndFieldsInTheirOrder) {
  const LogFields fields = {{"request_id", "r1"}, {"bytes", int64_t{1} << 40}, {"seconds", 0.0125}};
  EXPECT_EQ(JsonLine({kTime, "info", "served", &fields}),
            "{\"time\":\"2023-11-14T22:13:20.123Z\",\"level\":\"info\",\"message\":\"served\","
            "\"request_id\":\"r1\",\"bytes\":1099511627776,\"seconds\":0.0125}\n");
}

TEST(JsonLineTest, NothingInAMessageBreaksTheLine) {
  for (const std::string& text :
       {std::string("a\nb\r\n"), std::string("\0\x01\x1f\x7f", 4),
        std::string("\xff\xfe\x80 half \xc3"), std::string("\"}\n{\"level\":\"error\""),
        std::string("\xe2\x80\xa8 \xc2\x85")}) {
    const LogFields fields = {{"detail", text}};
    const std::string line = JsonLine({kTime, "info", text, &fields});
    const nlohmann::json parsed = Parsed(line);
    EXPECT_EQ(parsed["message"], parsed["detail"]);
    EXPECT_EQ(parsed["level"], "info");
    EXPECT_TRUE(std::ranges::all_of(line, [](char c) {
      return c == '\n' || (c >= ' ' && c <= '~') || c == 0x7f;
    })) << line;
  }
}

TEST(JsonLineTest, UnicodeSurvives) {
  EXPECT_EQ(Parsed(JsonLine({kTime, "info", "größe 雨"}))["message"], "größe 雨");
}

TEST(JsonLineTest, WhatIsNoNumberIsNull) {
  const LogFields fields = {{"loss", std::numeric_limits<double>::quiet_NaN()}};
  EXPECT_TRUE(Parsed(JsonLine({kTime, "info", "x", &fields}))["loss"].is_null());
}

TEST(TextLineTest, FieldsFollowTheMessage) {
  const LogFields fields = {{"method", "Restore"},
                            {"detail", "image is \"x\"; no picture"},
                            {"reason", ""},
                            {"bytes", int64_t{7}}};
  const std::string line = TextLine({kTime, "info", "Restore: OK", &fields}, /*colour=*/false);
  EXPECT_THAT(line, StartsWith("2023-11-1"));
  EXPECT_THAT(
      line,
      EndsWith(" info \"Restore: OK\" method=Restore detail=\"image is \\\"x\\\"; no picture\" "
               "reason=\"\" bytes=7\n"));
}

TEST(TextLineTest, NothingInAMessageReachesTheTerminalAsACommand) {
  const LogFields fields = {{"detail", "\x1b]0;title\a"}};
  const std::string line = TextLine({kTime, "info", "a\nb\x1b[2J", &fields}, /*colour=*/false);
  EXPECT_THAT(line, HasSubstr(" a\\nb\\x1b[2J detail=\\x1b]0;title\\x07\n"));
  EXPECT_EQ(std::ranges::count(line, '\n'), 1);
  EXPECT_EQ(std::ranges::count(line, '\x1b'), 0);
}

TEST(TextLineTest, WhatIsEscapedIsToldFromWhatSaysSo) {
  const auto shown = [](const std::string& text) {
    const LogFields fields = {{"detail", text}};
    const std::string line = TextLine({kTime, "info", text, &fields}, /*colour=*/false);
    const std::string value = line.substr(line.find("detail=") + 7);
    EXPECT_THAT(line, HasSubstr(" info " + value.substr(0, value.size() - 1) + " detail="));
    return value;
  };
  EXPECT_EQ(shown("a\nb"), "a\\nb\n");
  EXPECT_EQ(shown("a\\nb"), "a\\\\nb\n");
  EXPECT_EQ(shown("\xc2\x9b"
                  "2J"),
            "\\u009b2J\n");  // U+009B begins a terminal's commands
  EXPECT_EQ(shown("\xc2\xa0\xc3\xbc雨😀"), "\xc2\xa0\xc3\xbc雨😀\n");
  EXPECT_EQ(shown("\xff"), "\\xff\n");
  EXPECT_EQ(shown("\x9b"
                  "2J \xe9\x9b"),
            "\"\\x9b2J \\xe9\\x9b\"\n");
  EXPECT_EQ(shown("\xc0\x8a\xed\xa0\x80\xf4\x90\x80\x80"),
            "\\xc0\\x8a\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80\n");
  EXPECT_EQ(shown("x\\\" code=OK"), "\"x\\\\\\\" code=OK\"\n");
}

// A caller's words cannot pass for fields, nor for a line of their own.
TEST(TextLineTest, AMessageIsInQuotesBeforeFields) {
  const LogFields fields = {{"request_id", "r1"}};
  EXPECT_THAT(TextLine({kTime, "info", "x' request_id=r2 code=OK", &fields}, /*colour=*/false),
              EndsWith(" info \"x' request_id=r2 code=OK\" request_id=r1\n"));
  EXPECT_THAT(TextLine({kTime, "info", "a start"}, /*colour=*/false), EndsWith(" info a start\n"));
}

TEST(TextLineTest, TheLevelHasAColour) {
  EXPECT_THAT(TextLine({kTime, "error", "x"}, /*colour=*/true),
              HasSubstr("\033[31m\033[1merror\033[m x"));
  EXPECT_THAT(TextLine({kTime, "error", "x"}, /*colour=*/false), HasSubstr(" error x\n"));
}

}  // namespace
}  // namespace deweather
