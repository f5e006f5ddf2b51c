#include "server/http/infer_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/base/error_reason.h"

namespace deweather {
namespace {

using inference::ModelInferRequest;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The request with one input, of `fields`.
std::string WithInput(const std::string& fields) {
  return absl::StrCat(R"({"inputs":[{"name":"image",)", fields, "}]}");
}

ModelInferRequest Read(const std::string& json) {
  auto message = ReadInferJson(json);
  EXPECT_TRUE(message.ok()) << message.status() << "\n" << json;
  return message.ok() ? *std::move(message) : ModelInferRequest();
}

inference::InferTensorContents ReadContents(const std::string& fields) {
  const ModelInferRequest message = Read(WithInput(fields));
  return message.inputs_size() == 1 ? message.inputs(0).contents()
                                    : inference::InferTensorContents();
}

void ExpectRefused(const std::string& json, const std::string& reason, const std::string& says) {
  const auto message = ReadInferJson(json);
  ASSERT_FALSE(message.ok()) << json.substr(0, 200);
  EXPECT_EQ(message.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorReason(message.status()), reason) << message.status();
  EXPECT_THAT(std::string(message.status().message()), HasSubstr(says));
  EXPECT_LE(message.status().message().size(), 400u);
}

void ExpectMalformed(const std::string& json, const std::string& says) {
  ExpectRefused(json, "MALFORMED_MESSAGE", says);
}

void ExpectBadTensor(const std::string& fields, const std::string& says) {
  ExpectRefused(WithInput(fields), "INVALID_TENSOR", says);
}

TEST(InferJsonTest, AllFieldsArriveWhereTheyBelong) {
  const ModelInferRequest message = Read(R"({
    "id": "seven",
    "parameters": {"priority": 2, "layout": "NHWC", "strength": 0.5, "seed": -1, "binary_data_output": true},
    "inputs": [{"name": "image", "shape": [1, 1, 2, 3], "datatype": "UINT8", "parameters": {"a": 18446744073709551615},
                "data": [0, 1, 2, 253, 254, 255]}],
    "outputs": [{"name": "restored", "parameters": {"binary_data": false}}, {"name": "routing"}]})");
  EXPECT_EQ(message.id(), "seven");
  EXPECT_EQ(message.parameters().at("priority").uint64_param(), 2u);
  EXPECT_EQ(message.parameters().at("layout").string_param(), "NHWC");
  EXPECT_EQ(message.parameters().at("strength").double_param(), 0.5);
  EXPECT_EQ(message.parameters().at("seed").int64_param(), -1);
  EXPECT_TRUE(message.parameters().at("binary_data_output").bool_param());
  ASSERT_EQ(message.inputs_size(), 1);
  const auto& input = message.inputs(0);
  EXPECT_EQ(input.name(), "image");
  EXPECT_EQ(input.datatype(), "UINT8");
  EXPECT_THAT(input.shape(), ElementsAre(1, 1, 2, 3));
  EXPECT_EQ(input.parameters().at("a").uint64_param(), ~uint64_t{0});
  EXPECT_THAT(input.contents().uint_contents(), ElementsAre(0, 1, 2, 253, 254, 255));
  EXPECT_THAT(input.contents().fp32_contents(), IsEmpty());
  ASSERT_EQ(message.outputs_size(), 2);
  EXPECT_EQ(message.outputs(0).name(), "restored");
  EXPECT_TRUE(message.outputs(0).parameters().at("binary_data").has_bool_param());
  EXPECT_EQ(message.outputs(1).name(), "routing");
}

TEST(InferJsonTest, WhatMayBeLeftOutMayBeNull) {
  const ModelInferRequest message = Read(
      R"({"id":null,"parameters":null,"outputs":null,"inputs":[{"name":"image","parameters":null}]})");
  EXPECT_EQ(message.inputs_size(), 1);
  EXPECT_FALSE(message.inputs(0).has_contents());
  EXPECT_EQ(Read("{}").inputs_size(), 0);
}

TEST(InferJsonTest, ValuesMayComeBeforeTheirDatatype) {
  const ModelInferRequest message =
      Read(R"({"inputs":[{"data":[7,255],"shape":[2],"datatype":"UINT8","name":"image"}]})");
  EXPECT_THAT(message.inputs(0).contents().uint_contents(), ElementsAre(7, 255));
}

TEST(InferJsonTest, FloatsAreTheNearest) {
  const auto contents = ReadContents(
      R"("datatype":"FP32","shape":[6],"data":[0.1, 1, -0.0, 1e-3, 1E2, 0.49803921580314636])");
  EXPECT_THAT(contents.fp32_contents(), ElementsAre(0.1f, 1.0f, 0.0f, 1e-3f, 100.0f, 127.0f / 255));
}

TEST(InferJsonTest, NestedValuesAreRowByRow) {
  const auto contents =
      ReadContents(R"("datatype":"UINT8","shape":[2,1,3],"data":[[[1,2,3]],[[4,5,6]]])");
  EXPECT_THAT(contents.uint_contents(), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(InferJsonTest, NoJsonIsToldByItsByte) {
  ExpectMalformed("", "wrong at byte 1");
  ExpectMalformed("{\"inputs\":[}", "wrong at byte 12");
  ExpectMalformed(R"({"inputs":[]} x)", "near");
  ExpectMalformed(std::string("{\"inputs\":[]}\0x", 15), "byte 14 is 0");
  ExpectMalformed(WithInput(R"("data":[NaN])"), "wrong at byte");
  ExpectMalformed(WithInput(R"("data":[Infinity])"), "wrong at byte");
  ExpectMalformed(WithInput(R"("data":[1e400])"), "'1e400' at byte");
  ExpectMalformed("{\"id\":\"\xff\"}", "wrong at byte 8");
  ExpectMalformed("{\"id\":\"" + std::string(1 << 10, 'x'), "wrong at byte 1032");
}

TEST(InferJsonTest, LongStringsAndNumbersAreRefused) {
  const std::string id(kMaxTokenBytes - 2, 'x');
  EXPECT_EQ(Read("{\"id\":\"" + id + "\\\\\"}").id(), id + "\\");
  EXPECT_EQ(Read("{\"id\":\"" + id + "\\\"\"}").id(), id + "\"");
  ExpectMalformed("{\"id\":\"" + id + "xxx\"}",
                  "the string at byte 8 has more than 65536 bytes; files come as");
  ExpectMalformed("{\"" + id + "\\\"x\":1}", "the string at byte 3 has more than");
  const std::string digits(kMaxTokenBytes - 2, '1');
  const auto contents = ReadContents("\"datatype\":\"FP32\",\"shape\":[2],\"data\":[0." + digits +
                                     ",0." + digits + "]");
  EXPECT_THAT(contents.fp32_contents(), ElementsAre(1.0f / 9, 1.0f / 9));
  ExpectMalformed(WithInput("\"data\":[0." + digits + "1]"), "the number at byte");
}

TEST(InferJsonTest, AFieldOfAnotherKindIsToldByItsPath) {
  ExpectMalformed("[]", "the request is an array; it must be an object");
  ExpectMalformed("7", "the request is 7");
  ExpectMalformed(R"({"id":7})", "id is 7; it must be a string");
  ExpectMalformed(R"({"inputs":{}})", "inputs is an object; it must be an array");
  ExpectMalformed(R"({"inputs":null})", "inputs is null");
  ExpectMalformed(R"({"inputs":[{},[]]})", "inputs[1] is an array; it must be an object");
  ExpectMalformed(R"({"inputs":[{"name":["x"]}]})",
                  "inputs[0].name is an array; it must be a string");
  ExpectMalformed(R"({"inputs":[{"shape":[1,2.5]}]})",
                  "inputs[0].shape holds 2.5; it must be whole numbers");
  ExpectMalformed(R"({"inputs":[{"shape":[1e30]}]})", "inputs[0].shape holds 1e30");
  ExpectMalformed(R"({"inputs":[{"shape":[2.0]}]})", "inputs[0].shape holds 2.0");
  ExpectMalformed(R"({"inputs":[{"shape":[99999999999999999999]}]})",
                  "inputs[0].shape holds 99999");
  ExpectMalformed(R"({"inputs":[{"shape":[18446744073709551615]}]})", "inputs[0].shape holds");
  ExpectMalformed(R"({"inputs":[{"shape":[[1]]}]})", "inputs[0].shape holds an array");
  ExpectMalformed(R"({"inputs":[{"data":7}]})", "inputs[0].data is 7; it must be an array");
  ExpectMalformed(R"({"outputs":[{"name":false}]})",
                  "outputs[0].name is false; it must be a string");
  ExpectMalformed(R"({"outputs":["restored"]})", "outputs[0] is 'restored'; it must be an object");
  ExpectMalformed(R"({"parameters":{"a":[]}})",
                  "parameters.a is an array; it must be a string, a number");
  ExpectMalformed(R"({"parameters":{"a":null}})", "parameters.a is null");
  ExpectMalformed(R"({"parameters":[]})", "parameters is an array; it must be an object");
}

TEST(InferJsonTest, UnknownAndRepeatedFieldsAreRefused) {
  ExpectMalformed(R"({"output":[]})", "unknown field 'output'");
  ExpectMalformed(R"({"inputs":[{"dtype":"UINT8"}]})", "unknown field 'inputs[0].dtype'");
  ExpectMalformed(R"({"outputs":[{"datatype":"UINT8"}]})", "unknown field 'outputs[0].datatype'");
  ExpectMalformed(R"({"id":"a","id":"b"})", "field 'id' comes twice");
  ExpectMalformed(R"({"inputs":[{"data":[],"data":[]}]})", "field 'data' comes twice");
  ExpectMalformed(R"({"parameters":{"a":1,"a":2}})", "field 'a' comes twice");
  EXPECT_EQ(Read(R"({"inputs":[{"name":"a"},{"name":"b"}]})").inputs_size(), 2);
}

TEST(InferJsonTest, ValuesThatAreNoneOfTheirDatatype) {
  ExpectBadTensor(R"("datatype":"UINT8","shape":[2],"data":[1,256])",
                  "value 1 of image is 256; UINT8 is a whole number of 0 to 255");
  ExpectBadTensor(R"("datatype":"UINT8","shape":[2],"data":[-1,256])", "value 0 of image is -1");
  ExpectBadTensor(R"("datatype":"UINT8","shape":[1],"data":[0.5])", "value 0 of image is 0.5");
  ExpectBadTensor(R"("data":[18446744073709551616],"datatype":"UINT8","shape":[1])",
                  "value 0 of image is 18446744073709551616");
  ExpectBadTensor(R"("data":[255.0000001],"datatype":"UINT8","shape":[1])",
                  "value 0 of image is 255.0000001; UINT8");
  ExpectBadTensor(R"("datatype":"FP32","shape":[2],"data":[0,1e39])",
                  "value 1 of image is 1e+39; FP32 goes to 3.4028235e+38");
  ExpectBadTensor(R"("datatype":"UINT8","shape":[2],"data":[1,true])", "data of image holds true");
  ExpectBadTensor(R"("datatype":"UINT8","shape":[2],"data":[1,null])", "data of image holds null");
  ExpectBadTensor(R"("datatype":"UINT8","shape":[2],"data":[{}])", "data of image holds an object");
  ExpectBadTensor(R"("datatype":"UINT8","shape":[2],"data":["1"])", "data of image holds a string");
  ExpectBadTensor(R"("datatype":"BYTES","shape":[1],"data":["/9j/"])",
                  "data of image holds a string; it must be numbers, and files come as binary");
  ExpectBadTensor(R"("datatype":"BYTES","shape":[1],"data":[1])", "image is BYTES with data");
  ExpectBadTensor(R"("datatype":"FP16","shape":[1],"data":[1])", "image is FP16 with data");
  ExpectBadTensor(R"("data":[1],"shape":[1],"datatype":"BF16")", "must come as binary data");
}

TEST(InferJsonTest, NestingIsThatOfTheShape) {
  ExpectBadTensor(R"("datatype":"UINT8","shape":[2,2],"data":[[1,2],[3]])",
                  "arrays of 2 and of 1 entries side by side");
  ExpectBadTensor(R"("datatype":"UINT8","shape":[4],"data":[[1,2],[3,4]])",
                  "nested as [2,2]; its shape is [4]");
  ExpectBadTensor(R"("datatype":"UINT8","shape":[2],"data":[1,[2]])",
                  "values at depth 1 and at depth 2");
  ExpectBadTensor(R"("datatype":"UINT8","shape":[2],"data":[[1],2])",
                  "values at depth 1 and at depth 2");
  ExpectBadTensor(R"("datatype":"UINT8","shape":[2],"data":[[],2])",
                  "values at depth 1 and at depth 2");
  ExpectBadTensor(R"("datatype":"UINT8","shape":[2],"data":[2,[]])", "nested as [2,0]");
  ExpectBadTensor(R"("datatype":"UINT8","shape":[2],"data":[[[[[[[[[1]]]]]]]]])",
                  "nested deeper than 8 arrays");
}

TEST(InferJsonTest, BombsAreRefusedWhereTheyBegin) {
  const auto many = [](const std::string& one) {
    std::string text = one;
    for (int i = 0; i < kMaxInferEntries; ++i) absl::StrAppend(&text, ",", one);
    return text;
  };
  ExpectMalformed(std::string(1 << 20, '['), "the request is an array");
  ExpectBadTensor("\"data\":" + std::string(1 << 20, '['), "nested deeper than 8 arrays");
  ExpectMalformed(R"({"inputs":[)" + many("{}"), "more than 64 inputs");
  ExpectMalformed(R"({"outputs":[)" + many("{}"), "more than 64 outputs");
  ExpectMalformed(WithInput(R"("shape":[)" + many("1")), "more than 64 sides in a shape");
  std::vector<std::string> parameters;
  for (int i = 0; i <= kMaxInferEntries; ++i) parameters.push_back(absl::StrCat("\"", i, "\":1"));
  ExpectMalformed(R"({"parameters":{)" + absl::StrJoin(parameters, ","), "more than 64 parameters");
}

TEST(InferJsonTest, AShapeOfManyValuesTakesNoMemoryForThem) {
  const ModelInferRequest message = Read(WithInput(
      R"("datatype":"UINT8","shape":[9223372036854775807,3,1000000000,1000000000],"data":[1])"));
  EXPECT_LE(message.SpaceUsedLong(), 4096u);
  Read(WithInput(R"("datatype":"UINT8","shape":[-5,0,3],"data":[1])"));
}

TEST(InferJsonTest, ManyShapesOfManyValuesTakeTheirMemoryOnce) {
  constexpr size_t kBytes = 1 << 20;
  const std::string one = R"({"shape":[1000000000],"data":[1],"datatype":"FP32"})";
  std::string text = "{\"inputs\":[" + one;
  for (int i = 1; i < kMaxInferEntries; ++i) absl::StrAppend(&text, ",", one);
  const ModelInferRequest message = Read(text + std::string(kBytes, ' ') + "]}");
  EXPECT_EQ(message.inputs_size(), kMaxInferEntries);
  EXPECT_LE(message.SpaceUsedLong(), 3 * kBytes);
}

}  // namespace
}  // namespace deweather
