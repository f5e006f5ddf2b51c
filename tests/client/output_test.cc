#include "client/output.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "client/diagnose.h"
#include "client/transfer.h"

namespace deweather {
namespace {

using nlohmann::json;

TEST(ErrorJsonTest, WithoutAReason) {
  EXPECT_EQ(ErrorJson(absl::NotFoundError("gone")),
            json({{"code", "NOT_FOUND"}, {"message", "gone"}}));
}

TEST(FailTest, OneLineAndAnObject) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  EXPECT_EQ(FailCall(absl::NotFoundError("gone"), true, "UNKNOWN_JOB", "a job"), 1);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "NOT_FOUND: a job: gone\n");
  EXPECT_EQ(json::parse(testing::internal::GetCapturedStdout())["error"]["reason"], "UNKNOWN_JOB");
}

TEST(FailTest, OnlyOurOwnIsWrongUsage) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(FailLocally(absl::InvalidArgumentError("no"), false), 2);
  EXPECT_EQ(FailLocally(absl::NotFoundError("no"), false), 1);
  EXPECT_EQ(FailCall(ServerFlags(), {grpc::StatusCode::INVALID_ARGUMENT, "no"}, false), 1);
  testing::internal::GetCapturedStderr();
}

TEST(OutputTest, WordsOfTables) {
  EXPECT_EQ(EnumWord("STATE_RUNNING", "STATE_"), "RUNNING");
  EXPECT_EQ(EnumWord("", "STATE_"), "");
  EXPECT_EQ(OrDash(""), "-");
  EXPECT_TRUE(OrNull("").is_null());
  EXPECT_EQ(OneLine("a\n\x1b[2J\x7f\u00e9"), "a  [2J \u00e9");
  EXPECT_EQ(Shortened("abc", 3), "abc");
  EXPECT_EQ(Shortened("abcd", 3), "abc...");
  EXPECT_EQ(Shortened("ab\u00e9d", 3), "ab...") << "no half characters";
}

TEST(OutputTest, JsonIsUtf8) {
  testing::internal::CaptureStdout();
  PrintJsonLine({{"name", "\xff"}});
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "{\"name\":\"\ufffd\"}\n");
}

TEST(TransferTest, LineAndPieces) {
  EXPECT_EQ(TransferLine("a.png", 12'500'000, 100'000'000), "a.png: 12.5 of 100.0 MB");
  const std::string bytes(600'000, 'x');
  std::string arrived;
  EXPECT_TRUE(SendInChunks(bytes, [&](std::string_view piece) {
    EXPECT_LE(piece.size(), size_t{1} << 20);
    arrived += piece;
    return true;
  }));
  EXPECT_EQ(arrived, bytes);
  int sent = 0;
  EXPECT_FALSE(SendInChunks(bytes, [&](std::string_view) { return ++sent < 2; }));
  EXPECT_EQ(sent, 2) << "a server that takes no more gets no more";
}

}  // namespace
}  // namespace deweather
