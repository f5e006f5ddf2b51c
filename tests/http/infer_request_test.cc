#include "server/http/infer_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "model/base/error_reason.h"

namespace deweather {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// An input that says that so many bytes are its own.
std::string BinaryInput(const std::string& name, const std::string& size) {
  return absl::StrCat(R"({"name":")", name,
                      R"(","datatype":"UINT8","shape":[1],"parameters":{"binary_data_size":)", size,
                      "}}");
}

// JSON with these inputs, and `bytes` behind it.
absl::StatusOr<InferRequest> Parse(const std::string& inputs, const std::string& bytes,
                                   const std::string& more = "") {
  const std::string json = absl::StrCat("{\"inputs\":[", inputs, "]", more, "}");
  return ParseInferRequest("m", "v", json + bytes, absl::StrCat(json.size()));
}

void ExpectRefused(const absl::StatusOr<InferRequest>& request, const std::string& reason,
                   const std::string& says) {
  ASSERT_FALSE(request.ok());
  EXPECT_EQ(request.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorReason(request.status()), reason) << request.status();
  EXPECT_THAT(std::string(request.status().message()), HasSubstr(says));
}

TEST(InferRequestTest, BinaryInputsTakeTheirBytesInOrder) {
  const auto request = Parse(
      BinaryInput("a", "3") + "," + BinaryInput("b", "0") + "," + BinaryInput("c", "2"), "abcde");
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_THAT(request->message.raw_input_contents(), ElementsAre("abc", "", "de"));
  EXPECT_EQ(request->message.model_name(), "m");
  EXPECT_EQ(request->message.model_version(), "v");
  for (const auto& input : request->message.inputs()) EXPECT_EQ(input.parameters_size(), 0);
}

TEST(InferRequestTest, WithoutTheLengthAllIsJson) {
  const auto request = ParseInferRequest(
      "m", "", R"({"inputs":[{"name":"image","datatype":"UINT8","shape":[2],"data":[1,2]}]})",
      std::nullopt);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_THAT(request->message.inputs(0).contents().uint_contents(), ElementsAre(1, 2));
  EXPECT_EQ(request->message.raw_input_contents_size(), 0);
  ExpectRefused(
      ParseInferRequest("m", "", absl::StrCat("{\"inputs\":[", BinaryInput("image", "2"), "]}ab"),
                        std::nullopt),
      "MALFORMED_MESSAGE", "wrong at byte");
  ExpectRefused(
      ParseInferRequest("m", "", absl::StrCat("{\"inputs\":[", BinaryInput("image", "2"), "]}"),
                        std::nullopt),
      "MALFORMED_MESSAGE", "there is no Inference-Header-Content-Length");
}

TEST(InferRequestTest, SizesThatDoNotAddUpAreNamed) {
  ExpectRefused(Parse(BinaryInput("image", "96"), std::string(95, 'x')), "INVALID_TENSOR",
                "image has binary_data_size 96; of 95 bytes behind the JSON 95 are left");
  ExpectRefused(Parse(BinaryInput("a", "60") + "," + BinaryInput("b", "60"), std::string(100, 'x')),
                "INVALID_TENSOR",
                "b has binary_data_size 60; of 100 bytes behind the JSON 40 are left");
  ExpectRefused(Parse(BinaryInput("image", "96"), std::string(97, 'x')), "INVALID_TENSOR",
                "97 bytes are behind the JSON; the inputs have binary_data_size of 96 together");
  ExpectRefused(Parse(BinaryInput("image", "18446744073709551615"), "x"), "INVALID_TENSOR",
                "18446744073709551615");
  for (const char* const size : {"-1", "1.5", "\"1\"", "true", "1e30"}) {
    ExpectRefused(Parse(BinaryInput("image", size), "x"), "MALFORMED_MESSAGE",
                  "binary_data_size of image must be a whole number");
  }
  ExpectRefused(Parse(R"({"name":"image","data":[1],"parameters":{"binary_data_size":1}})", "x"),
                "INVALID_TENSOR", "image has both data and binary_data_size");
}

TEST(InferRequestTest, TheLengthIsOneOfTheBody) {
  ExpectRefused(ParseInferRequest("m", "", "{}", "3"), "MALFORMED_MESSAGE",
                "Inference-Header-Content-Length is 3; the body has 2 bytes");
  for (const char* const length : {"", "x", "-1", "+2", " 2", "2.0", "99999999999999999999"}) {
    ExpectRefused(ParseInferRequest("m", "", "{}", length), "MALFORMED_MESSAGE",
                  "it must be the bytes of the JSON");
  }
  ExpectRefused(ParseInferRequest("m", "", "{}", "0"), "MALFORMED_MESSAGE", "wrong at byte 1");
  ExpectRefused(ParseInferRequest("m", "", "{}", "1"), "MALFORMED_MESSAGE", "wrong at byte 2");
}

TEST(InferRequestTest, OutputsAreAskedForAsBytesOneByOneOrAll) {
  const auto request =
      Parse(BinaryInput("image", "1"), "x",
            R"(,"parameters":{"binary_data_output":true,"seed":3},"outputs":[{"name":"restored"},)"
            R"({"name":"routing","parameters":{"binary_data":false}}])");
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_TRUE(request->binary.Has("restored"));
  EXPECT_FALSE(request->binary.Has("routing"));
  EXPECT_EQ(request->message.parameters_size(), 1);
  EXPECT_EQ(request->message.outputs(1).parameters_size(), 0);
  EXPECT_FALSE(Parse(BinaryInput("image", "1"), "x")->binary.Has("restored"));
  ExpectRefused(Parse("", "", R"(,"parameters":{"binary_data_output":1})"), "MALFORMED_MESSAGE",
                "parameter binary_data_output must be true or false");
  ExpectRefused(
      Parse("", "", R"(,"outputs":[{"name":"restored","parameters":{"binary_data":"yes"}}])"),
      "MALFORMED_MESSAGE", "parameter binary_data must be true or false");
}

TEST(InferRequestTest, WhatJsonCannotHoldIsAskedForAsBytes) {
  for (const char* const datatype : {"BYTES", "FP16", "BF16"}) {
    const std::string input = absl::StrCat(R"({"name":"image","datatype":")", datatype,
                                           R"(","shape":[1],"parameters":{"binary_data_size":1}})");
    const std::string says = absl::StrCat("restored of ", datatype, " has no form in JSON");
    ExpectRefused(Parse(input, "x"), "INVALID_TENSOR", says);
    ExpectRefused(Parse(input, "x", R"(,"outputs":[{"name":"restored"}])"), "INVALID_TENSOR", says);
    ExpectRefused(Parse(input, "x",
                        R"(,"parameters":{"binary_data_output":true},)"
                        R"("outputs":[{"name":"restored","parameters":{"binary_data":false}}])"),
                  "INVALID_TENSOR", says);
    EXPECT_TRUE(Parse(input, "x", R"(,"parameters":{"binary_data_output":true})").ok());
    EXPECT_TRUE(Parse(input, "x", R"(,"outputs":[{"name":"routing"}])").ok());
  }
}

}  // namespace
}  // namespace deweather
