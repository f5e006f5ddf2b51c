#include "model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "absl/strings/str_cat.h"

namespace deweather {
namespace {

using testing::HasSubstr;

std::string WithHeader(const std::string& header, size_t data_bytes, int64_t claim = -1) {
  const uint64_t length = claim < 0 ? header.size() : static_cast<uint64_t>(claim);
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + header + std::string(data_bytes, '\1');
}

std::string Entry(const std::string& name, int64_t elements, int64_t begin, int64_t end) {
  return absl::StrCat("\"", name, "\":{\"dtype\":\"F32\",\"shape\":[", elements,
                      "],\"data_offsets\":[", begin, ",", end, "]}");
}

void ExpectDataLoss(const std::string& file, const std::string& message) {
  const auto parsed = ParseSafetensors(file);
  ASSERT_FALSE(parsed.ok()) << "accepted; expected: " << message;
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(message));
}

TEST(SafetensorsTest, WhatIsWrittenIsRead) {
  const std::string bytes = "abcdefghijkl";
  Safetensors content;
  content.metadata = {{"name", "a \"quoted\" name"}, {"step", "7"}};
  content.tensors["b"] = {"F32", {1, 2}, std::string_view(bytes).substr(0, 8)};
  content.tensors["a"] = {"BF16", {2}, std::string_view(bytes).substr(8, 4)};
  content.tensors["empty"] = {"F32", {0, 3}, {}};
  const std::string file = SerializeSafetensors(content);
  const auto parsed = ParseSafetensors(file);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->metadata, content.metadata);
  ASSERT_EQ(parsed->tensors.size(), 3);
  EXPECT_EQ(parsed->tensors.at("a").bytes, "ijkl");
  EXPECT_EQ(parsed->tensors.at("b").bytes, "abcdefgh");
  EXPECT_THAT(parsed->tensors.at("b").shape, testing::ElementsAre(1, 2));
}

TEST(SafetensorsTest, HeaderLongerThanTheFile) {
  ExpectDataLoss(WithHeader("{}", 0, 1000),
                 "the header claims 1000 bytes; the file has room for 2 at most");
  ExpectDataLoss(WithHeader("{}", 0, int64_t{1} << 62), "claims");
  ExpectDataLoss("short", "5 bytes");
  ExpectDataLoss("", "0 bytes");
}

TEST(SafetensorsTest, HeaderThatIsNoJsonObject) {
  ExpectDataLoss(WithHeader("{", 0), "not a JSON object");
  ExpectDataLoss(WithHeader("[1]", 0), "not a JSON object");
  ExpectDataLoss(WithHeader(std::string(100'000, '['), 0), "nests deeper");
  ExpectDataLoss(WithHeader("{\"a\":1}", 0), "no dtype");
  ExpectDataLoss(WithHeader("{\"__metadata__\":{\"a\":1}}", 0), "not text");
}

TEST(SafetensorsTest, OffsetsThatOverlap) {
  ExpectDataLoss(WithHeader("{" + Entry("a", 2, 0, 8) + "," + Entry("b", 2, 4, 12) + "}", 12),
                 "tensor 'b' begins at byte 4; the one before it ends at 8: tensors overlap");
}

TEST(SafetensorsTest, OffsetsThatLeaveAGap) {
  ExpectDataLoss(WithHeader("{" + Entry("a", 1, 0, 4) + "," + Entry("b", 1, 8, 12) + "}", 12),
                 "leave a gap");
  ExpectDataLoss(WithHeader("{" + Entry("a", 1, 0, 4) + "}", 12),
                 "the data is 12 bytes; the tensors fill 4");
}

TEST(SafetensorsTest, OffsetsThatOverrun) {
  ExpectDataLoss(WithHeader("{" + Entry("a", 4, 0, 16) + "}", 8), "the data is 8 bytes");
  ExpectDataLoss(WithHeader("{" + Entry("a", 1, 4, 0) + "}", 8), "data_offsets [4,0]");
  ExpectDataLoss(WithHeader("{" + Entry("a", 1, -4, 0) + "}", 8), "not a list of sizes");
}

TEST(SafetensorsTest, ShapeThatDoesNotFitItsBytes) {
  ExpectDataLoss(WithHeader("{" + Entry("a", 3, 0, 8) + "}", 8),
                 "tensor 'a' spans 8 bytes; its shape needs 12");
  ExpectDataLoss(
      WithHeader("{\"a\":{\"dtype\":\"F32\",\"shape\":[9007199254740991,9007199254740991],"
                 "\"data_offsets\":[0,8]}}",
                 8),
      "more than 2^63 bytes");
  ExpectDataLoss(WithHeader("{\"a\":{\"dtype\":\"F99\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8),
                 "unknown dtype 'F99'");
}

// Whatever the bytes, the parser answers, and what it accepts lies within the file.
TEST(SafetensorsTest, SurvivesMutation) {
  const std::string sound =
      WithHeader("{" + Entry("a", 2, 0, 8) + "," + Entry("bb", 1, 8, 12) + "}", 12);
  std::mt19937 random(1);
  for (int round = 0; round < 20'000; ++round) {
    std::string file = sound;
    for (int change = 0; change <= round % 3; ++change) {
      file[random() % file.size()] = static_cast<char>(random());
    }
    if (round % 5 == 0) file.resize(random() % file.size());
    const auto parsed = ParseSafetensors(file);
    if (!parsed.ok()) continue;
    for (const auto& [name, view] : parsed->tensors) {
      EXPECT_GE(view.bytes.data(), file.data());
      EXPECT_LE(view.bytes.data() + view.bytes.size(), file.data() + file.size());
    }
  }
}

}  // namespace
}  // namespace deweather
