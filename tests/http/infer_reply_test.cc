#include "server/http/infer_reply.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "model/base/error_reason.h"

namespace deweather {
namespace {

using inference::ModelInferResponse;
using nlohmann::json;

constexpr int64_t kMuch = 1 << 20;

template <typename T>
void AddOutput(const std::string& name, const std::string& datatype, const std::vector<T>& values,
               ModelInferResponse& message) {
  auto& output = *message.add_outputs();
  output.set_name(name);
  output.set_datatype(datatype);
  output.add_shape(1);
  output.add_shape(static_cast<int64_t>(values.size()));
  message.add_raw_output_contents(values.data(), values.size() * sizeof(T));
}

ModelInferResponse TwoOutputs() {
  ModelInferResponse message;
  message.set_model_name("small");
  message.set_model_version("0123456789ab");
  AddOutput<uint8_t>("restored", "UINT8", {0, 7, 255}, message);
  AddOutput<float>("routing", "FP32", {0.1f, 1.0f, 1.0f / 3}, message);
  return message;
}

TEST(InferReplyTest, AllInJson) {
  ModelInferResponse message = TwoOutputs();
  message.set_id("a \"quoted\" \xC3\xA9\n");
  const InferReply reply = WriteInferReply(message, {}, kMuch).value();
  EXPECT_FALSE(reply.json_bytes.has_value());
  const json document = json::parse(reply.body);
  EXPECT_EQ(document["id"], message.id());
  EXPECT_EQ(document["model_name"], "small");
  EXPECT_EQ(document["model_version"], "0123456789ab");
  ASSERT_EQ(document["outputs"].size(), 2u);
  EXPECT_EQ(
      document["outputs"][0],
      json::parse(R"({"name":"restored","datatype":"UINT8","shape":[1,3],"data":[0,7,255]})"));
  const auto floats = document["outputs"][1]["data"].get<std::vector<float>>();
  EXPECT_EQ(floats, (std::vector<float>{0.1f, 1.0f, 1.0f / 3}));
}

TEST(InferReplyTest, BytesFollowTheJsonInTheOrderOfTheirOutputs) {
  const ModelInferResponse message = TwoOutputs();
  const InferReply reply = WriteInferReply(message, {.all = true}, kMuch).value();
  ASSERT_TRUE(reply.json_bytes.has_value());
  const auto bytes = static_cast<size_t>(*reply.json_bytes);
  const json document = json::parse(reply.body.substr(0, bytes));
  EXPECT_FALSE(document.contains("id"));
  EXPECT_EQ(document["outputs"][0]["parameters"]["binary_data_size"], 3);
  EXPECT_EQ(document["outputs"][1]["parameters"]["binary_data_size"], 12);
  EXPECT_EQ(reply.body.substr(bytes),
            message.raw_output_contents(0) + message.raw_output_contents(1));
}

TEST(InferReplyTest, EachOutputAsItIsAskedFor) {
  const InferReply reply =
      WriteInferReply(TwoOutputs(), {.all = true, .by_name = {{"restored", false}}}, kMuch).value();
  const json document = json::parse(reply.body.substr(0, static_cast<size_t>(*reply.json_bytes)));
  EXPECT_EQ(document["outputs"][0]["data"].size(), 3u);
  EXPECT_EQ(document["outputs"][1]["parameters"]["binary_data_size"], 12);
  EXPECT_EQ(reply.body.size(), static_cast<size_t>(*reply.json_bytes) + 12);
}

TEST(InferReplyTest, EveryFloatReadsBackAsItself) {
  std::vector<float> values = {1e-38f, 1e-45f, 3.4028235e38f, -1.17549435e-38f, 0.0f};
  for (int sample = 0; sample <= 65535; ++sample)
    values.push_back(static_cast<float>(sample) / 65535.0f);
  ModelInferResponse message;
  AddOutput("restored", "FP32", values, message);
  const InferReply reply = WriteInferReply(message, {}, kMuch).value();
  EXPECT_EQ(json::parse(reply.body)["outputs"][0]["data"].get<std::vector<float>>(), values);
}

TEST(InferReplyTest, MoreThanTheLimitIsRefused) {
  ModelInferResponse message;
  AddOutput("restored", "UINT8", std::vector<uint8_t>(100'000, 200), message);
  for (const bool binary : {false, true}) {
    const auto reply = WriteInferReply(message, {.all = binary}, 100'000);
    EXPECT_EQ(reply.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(ErrorReason(reply.status()), "REPLY_SIZE");
  }
  EXPECT_TRUE(WriteInferReply(message, {.all = true}, 101'000).ok());
  EXPECT_FALSE(WriteInferReply(message, {}, 101'000).ok());
}

TEST(InferReplyTest, WhatHasNoFormInJsonIsAnError) {
  ModelInferResponse message;
  AddOutput<uint16_t>("restored", "FP16", {0x3C00}, message);
  EXPECT_EQ(WriteInferReply(message, {}, kMuch).status().code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(WriteInferReply(message, {.all = true}, kMuch).ok());
  ModelInferResponse infinite;
  AddOutput<float>("routing", "FP32", {1, std::numeric_limits<float>::infinity()}, infinite);
  EXPECT_EQ(WriteInferReply(infinite, {}, kMuch).status().code(), absl::StatusCode::kInternal);
  message.clear_raw_output_contents();
  EXPECT_EQ(WriteInferReply(message, {.all = true}, kMuch).status().code(),
            absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace deweather
