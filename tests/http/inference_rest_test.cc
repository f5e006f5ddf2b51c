#include "server/http/inference_rest.h"

#include <gmock/gmock.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "inference/grpc_service.pb.h"
#include "model/base/error_reason.h"
#include "server/rpc/message.h"

namespace deweather {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

const LimitOptions kLimits = {.max_receive_bytes = 1 << 16, .max_send_bytes = 1 << 20};

Plan PlanOf(const std::string& method, const std::string& path,
            std::vector<HttpHeader> headers = {}) {
  const HttpRequest request = {
      .method = method, .path = path, .query = "", .headers = std::move(headers)};
  auto plan = PlanInference(request, kLimits);
  EXPECT_TRUE(plan.has_value()) << path;
  return plan.value_or(Plan());
}

// What the plan's call is sent for `body`.
template <typename Request>
Request Sent(const Plan& plan, const std::string& body = "") {
  absl::StatusOr<grpc::ByteBuffer> bytes = plan.read(body);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  Request request;
  if (bytes.ok()) request = ParseMessage<Request>(*bytes, kLimits.max_receive_bytes).value();
  return request;
}

// How the plan answers with what its call is answered with.
HttpReply Answer(const Plan& plan, const google::protobuf::Message& message) {
  grpc::ByteBuffer bytes;
  EXPECT_TRUE(SerializeMessage(message, &bytes).ok());
  return plan.write(bytes);
}

json Told(const std::string& path, const google::protobuf::Message& message) {
  const HttpReply reply = Answer(PlanOf("GET", path), message);
  EXPECT_EQ(reply.headers.front().value, "application/json");
  return json::parse(reply.body);
}

std::string HeaderOf(const HttpReply& reply, const std::string& name) {
  for (const HttpHeader& header : reply.headers) {
    if (header.name == name) return header.value;
  }
  return "";
}

// The reply to a request whose head is wrong, which no call is made for.
HttpReply Refused(const Plan& plan) {
  EXPECT_TRUE(plan.refused.has_value());
  return plan.refused ? plan.fail(*plan.refused) : HttpReply();
}

TEST(InferenceRestTest, PathsMeanCalls) {
  const std::map<std::string, std::string> wanted = {
      {"/v2", "GET ServerMetadata"},
      {"/v2/health/live", "GET ServerLive"},
      {"/v2/health/ready", "GET ServerReady"},
      {"/v2/models/m", "GET ModelMetadata"},
      {"/v2/models/m/versions/v", "GET ModelMetadata"},
      {"/v2/models/m/ready", "GET ModelReady"},
      {"/v2/models/m/versions/v/ready", "GET ModelReady"},
      {"/v2/models/m/config", "GET ModelConfig"},
      {"/v2/models/m/versions/v/config", "GET ModelConfig"},
      {"/v2/models/m/infer", "POST ModelInfer"},
      {"/v2/models/m/versions/v/infer", "POST ModelInfer"},
      {"/v2/repository/index", "POST RepositoryIndex"},
  };
  for (const auto& [path, call] : wanted) {
    const size_t space = call.find(' ');
    const Plan plan = PlanOf(call.substr(0, space), path);
    EXPECT_FALSE(plan.refused.has_value()) << path;
    EXPECT_EQ(plan.service, "inference.GRPCInferenceService");
    EXPECT_EQ(plan.method, call.substr(space + 1));
    EXPECT_FALSE(plan.rule.has_value());
    EXPECT_EQ(PlanOf("HEAD", path).refused.has_value(), call.starts_with("POST"));
  }
}

TEST(InferenceRestTest, OtherPathsOfThisProtocolAreNotFound) {
  for (const char* const path :
       {"/v2/", "/v2/M", "/v2/M/infer", "/v2/health", "/v2/health/live/", "/v2/models",
        "/v2/models/", "/v2/models//infer", "/v2/models/m/", "/v2/models/m/versions",
        "/v2/models/m/versions/", "/v2/models/m/versions//infer", "/v2/models/m/versions/v/x",
        "/v2/models/m/stats", "/v2/models/a/b/infer", "/v2/models/\xff/infer",
        "/v2/models/a b/infer", "/v2/repository/models/m/load"}) {
    const HttpReply reply = Refused(PlanOf("POST", path));
    EXPECT_EQ(reply.status, 404) << path;
    EXPECT_THAT(json::parse(reply.body)["error"], HasSubstr("there is no '"));
  }
  for (const char* const path : {"", "/", "/v1", "/v22", "/v2M", "/v2M/infer", "/metrics"}) {
    EXPECT_FALSE(PlanInference({.method = "GET", .path = path, .query = ""}, kLimits)) << path;
  }
}

TEST(InferenceRestTest, HeadsThatAreWrongAreRefusedUnread) {
  const HttpReply reply = Refused(PlanOf("GET", "/v2/models/m/infer"));
  EXPECT_EQ(reply.status, 405);
  EXPECT_EQ(HeaderOf(reply, "Allow"), "POST");
  EXPECT_EQ(json::parse(reply.body)["error"], "the method is 'GET'; /v2/models/m/infer takes POST");
  EXPECT_EQ(HeaderOf(Refused(PlanOf("DELETE", "/v2/models/m")), "Allow"), "GET");
  const Plan packed = PlanOf("POST", "/v2/models/m/infer", {{"content-encoding", "gzip"}});
  EXPECT_EQ(Refused(packed).status, 415);
  const Plan plain = PlanOf("POST", "/v2/models/m/infer", {{"content-encoding", "Identity"}});
  EXPECT_FALSE(plain.refused.has_value());
  const Plan twice =
      PlanOf("POST", "/v2/models/m/infer",
             {{"inference-header-content-length", "2"}, {"inference-header-content-length", "3"}});
  EXPECT_EQ(Refused(twice).status, 400);
}

TEST(InferenceRestTest, BodiesHaveTheLimitOfTheirCall) {
  EXPECT_EQ(PlanOf("GET", "/v2/models/m").max_body_bytes, 0);
  EXPECT_EQ(PlanOf("POST", "/v2/repository/index").max_body_bytes, kMaxPlainMessageBytes);
  const Plan infer = PlanOf("POST", "/v2/models/m/infer");
  EXPECT_EQ(infer.max_body_bytes, kLimits.max_receive_bytes);
  std::string text = R"({"inputs":[{"name":"image","datatype":"FP32","shape":[1],"data":[0)";
  for (int64_t i = 0; i < infer.max_body_bytes / 4; ++i) text += ",0";
  const auto message = infer.read(text + "]}]}");
  EXPECT_LT(static_cast<int64_t>(text.size()), infer.max_body_bytes);
  EXPECT_EQ(ErrorReason(message.status()), "INVALID_TENSOR");
  EXPECT_THAT(std::string(message.status().message()), HasSubstr("at most 65536"));
}

TEST(InferenceRestTest, NamesOfThePathAreInTheMessage) {
  const auto ready =
      Sent<inference::ModelReadyRequest>(PlanOf("GET", "/v2/models/m/versions/v/ready"));
  EXPECT_EQ(ready.name(), "m");
  EXPECT_EQ(ready.version(), "v");
  const auto metadata = Sent<inference::ModelMetadataRequest>(PlanOf("GET", "/v2/models/m"));
  EXPECT_EQ(metadata.name(), "m");
  EXPECT_EQ(metadata.version(), "");
  const auto infer = Sent<inference::ModelInferRequest>(
      PlanOf("POST", "/v2/models/m/versions/v/infer"), R"({"id":"x"})");
  EXPECT_EQ(infer.model_name(), "m");
  EXPECT_EQ(infer.model_version(), "v");
  EXPECT_EQ(infer.id(), "x");
}

TEST(InferenceRestTest, BytesComeAndGoBehindTheJson) {
  const std::string head =
      R"({"inputs":[{"name":"image","datatype":"UINT8","shape":[3],"parameters":{"binary_data_size":3}}],)"
      R"("parameters":{"binary_data_output":true}})";
  const Plan plan = PlanOf("POST", "/v2/models/m/infer",
                           {{"inference-header-content-length", std::to_string(head.size())}});
  const auto sent = Sent<inference::ModelInferRequest>(plan, head + "abc");
  EXPECT_EQ(sent.raw_input_contents(0), "abc");
  inference::ModelInferResponse response;
  response.add_outputs()->set_name("restored");
  response.add_raw_output_contents("xyz");
  const HttpReply reply = Answer(plan, response);
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(HeaderOf(reply, "Content-Type"), "application/octet-stream");
  const size_t json_bytes = std::stoul(HeaderOf(reply, "Inference-Header-Content-Length"));
  EXPECT_EQ(reply.body.substr(json_bytes), "xyz");
  response.mutable_raw_output_contents(0)->resize(2 << 20);
  EXPECT_EQ(Answer(plan, response).status, 400);
}

TEST(InferenceRestTest, FailuresAreTheMessageAndWhenToTryAgain) {
  const Plan plan = PlanOf("POST", "/v2/models/m/infer");
  const HttpReply reply = plan.fail(
      FailureOf(WithRetryDelay(absl::UnavailableError("busy \"now\""), absl::Milliseconds(1200))));
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(HeaderOf(reply, "Retry-After"), "2");
  EXPECT_EQ(json::parse(reply.body), json::parse(R"({"error":"busy \"now\""})"));
}

TEST(InferenceRestTest, TheIndexIsAskedForWithAnObjectOrNothing) {
  const Plan plan = PlanOf("POST", "/v2/repository/index");
  EXPECT_FALSE(Sent<inference::RepositoryIndexRequest>(plan).ready());
  EXPECT_FALSE(Sent<inference::RepositoryIndexRequest>(plan, "{}").ready());
  EXPECT_TRUE(Sent<inference::RepositoryIndexRequest>(plan, R"({"ready":true})").ready());
  for (const char* const body : {"x", "[]", R"({"ready":3})", R"({"redy":true})", "\xff"}) {
    const auto message = plan.read(body);
    EXPECT_EQ(message.status().code(), absl::StatusCode::kInvalidArgument) << body;
    EXPECT_EQ(ErrorReason(message.status()), "MALFORMED_MESSAGE");
  }
}

TEST(InferenceRestTest, WhatIsNotReadyIsUnavailable) {
  inference::ServerReadyResponse server;
  inference::ModelReadyResponse model;
  EXPECT_EQ(Answer(PlanOf("GET", "/v2/health/ready"), server).status, 503);
  EXPECT_EQ(Answer(PlanOf("GET", "/v2/models/m/ready"), model).status, 503);
  server.set_ready(true);
  model.set_ready(true);
  EXPECT_EQ(Answer(PlanOf("GET", "/v2/health/ready"), server).status, 200);
  EXPECT_EQ(Answer(PlanOf("GET", "/v2/models/m/ready"), model).status, 200);
  EXPECT_EQ(Told("/v2/health/ready", server), json::parse(R"({"ready":true})"));
  EXPECT_EQ(Told("/v2/models/m/ready", model), json::parse(R"({"name":"m","ready":true})"));
  inference::ServerLiveResponse live;
  live.set_live(true);
  EXPECT_EQ(Told("/v2/health/live", live), json::parse(R"({"live":true})"));
}

TEST(InferenceRestTest, MetadataHasNumbersAndTheProtocolsNames) {
  inference::ModelMetadataResponse model;
  model.set_name("m");
  model.add_versions("v");
  model.set_platform("deweather");
  auto& input = *model.add_inputs();
  input.set_name("image");
  input.set_datatype("FP32");
  for (const int side : {-1, 3, -1, -1}) input.add_shape(side);
  (*model.mutable_properties())["tasks"] = "rain";
  EXPECT_EQ(Told("/v2/models/m", model),
            json::parse(R"({"name":"m","versions":["v"],"platform":"deweather",
    "inputs":[{"name":"image","datatype":"FP32","shape":[-1,3,-1,-1]}],"outputs":[],"properties":{"tasks":"rain"}})"));
  inference::ServerMetadataResponse server;
  server.set_name("deweather");
  server.add_extensions("parameters");
  EXPECT_EQ(
      Told("/v2", server),
      json::parse(
          R"({"name":"deweather","version":"","extensions":["parameters","binary_tensor_data"]})"));
}

TEST(InferenceRestTest, ConfigAndIndexAreTritons) {
  inference::ModelConfigResponse config;
  config.mutable_config()->set_name("m");
  config.mutable_config()->set_max_batch_size(64);
  auto& input = *config.mutable_config()->add_input();
  input.set_name("image");
  input.set_data_type(inference::TYPE_FP32);
  input.add_dims(3);
  const json written = Told("/v2/models/m/config", config);
  EXPECT_EQ(written["max_batch_size"], 64);
  EXPECT_EQ(
      written["input"],
      json::parse(R"([{"name":"image","data_type":"TYPE_FP32","dims":[3],"optional":false}])"));
  EXPECT_EQ(written["output"], json::array());
  inference::RepositoryIndexResponse index;
  EXPECT_EQ(json::parse(Answer(PlanOf("POST", "/v2/repository/index"), index).body), json::array());
  auto& model = *index.add_models();
  model.set_name("m");
  model.set_state("READY");
  EXPECT_EQ(json::parse(Answer(PlanOf("POST", "/v2/repository/index"), index).body),
            json::parse(R"([{"name":"m","version":"","state":"READY","reason":""}])"));
}

}  // namespace
}  // namespace deweather
