// Every field of our messages says first whether a caller must, may or must not set it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <string>
#include <vector>

namespace deweather {
namespace {

const std::vector<std::string> kProtos = {
    "deweather/v1/model.proto",         "deweather/v1/restoration.proto",
    "deweather/v1/server_config.proto", "deweather/v1/train_config.proto",
    "google/rpc/error_details.proto",   "google/rpc/status.proto",
    "grpc/health/v1/health.proto",      "inference/grpc_service.proto"};

// First lines of the comments above fields; the line itself where there is no comment.
std::vector<std::string> FieldComments(const std::string& path) {
  std::ifstream in(DW_SOURCE_DIR "/proto/" + path);
  const std::regex field(R"(^ +(optional |repeated )?(map<.*>|[\w.]+) \w+ = \d+;$)");
  std::vector<std::string> found;
  std::string line, comment;
  while (std::getline(in, line)) {
    const size_t start = line.find_first_not_of(' ');
    if (start != std::string::npos && line.compare(start, 3, "// ") == 0) {
      if (comment.empty()) comment = line.substr(start + 3);
      continue;
    }
    if (std::regex_match(line, field)) found.push_back(comment.empty() ? line : comment);
    comment.clear();
  }
  return found;
}

TEST(ProtoCommentsTest, FieldsBeginWithTheirObligation) {
  for (const std::string& path : kProtos) {
    const std::vector<std::string> comments = FieldComments(path);
    EXPECT_FALSE(comments.empty()) << path;
    for (const std::string& comment : comments) {
      EXPECT_TRUE(comment.starts_with("Required.") || comment.starts_with("Output only.") ||
                  comment.starts_with("Optional. Default: "))
          << path << ": " << comment;
    }
  }
}

}  // namespace
}  // namespace deweather
