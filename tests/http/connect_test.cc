#include "server/http/connect.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <string>

#include "deweather/v1/restoration.pb.h"
#include "deweather/v1/training.pb.h"
#include "server/rpc/message.h"

namespace deweather {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr char kRestore[] = "/deweather.v1.RestorationService/Restore";
constexpr char kGetJob[] = "/deweather.v1.TrainingService/GetJob";
constexpr char kWatchJob[] = "/deweather.v1.TrainingService/WatchJob";

HttpRequest Post(const std::string& path, const std::string& content_type = "application/json",
                 std::vector<HttpHeader> headers = {}) {
  headers.push_back({"content-type", content_type});
  return {.method = "POST", .path = path, .headers = std::move(headers)};
}

Plan PlanFor(const HttpRequest& request) { return PlanConnect(request, {}).value(); }

TEST(ConnectTest, AMessageIsReadFromJson) {
  const Plan plan = PlanFor(Post(kRestore));
  EXPECT_EQ(plan.service, "deweather.v1.RestorationService");
  EXPECT_EQ(plan.method, "Restore");
  EXPECT_EQ(plan.max_body_bytes, LimitOptions().max_receive_bytes);
  EXPECT_FALSE(plan.refused.has_value());
  auto bytes =
      plan.read(R"({"image": "AAEC", "options": {"format": "FORMAT_PNG", "expertMap": true}})");
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const auto request = ParseMessage<v1::RestoreRequest>(*bytes, 1000).value();
  EXPECT_EQ(request.image(), std::string("\0\1\2", 3));
  EXPECT_EQ(request.options().format(), v1::RestoreOptions::FORMAT_PNG);
  EXPECT_TRUE(request.options().expert_map());
}

TEST(ConnectTest, AndWrittenAsJson) {
  const Plan plan = PlanFor(Post(kRestore));
  v1::RestoreResponse response;
  response.set_image("abc");
  response.mutable_routing()->set_units(12345678901);
  grpc::ByteBuffer bytes;
  ASSERT_TRUE(SerializeMessage(response, &bytes).ok());
  const HttpReply reply = plan.write(bytes);
  EXPECT_EQ(reply.headers.at(0).value, "application/json");
  const json body = json::parse(reply.body);
  EXPECT_EQ(body["image"], "YWJj");
  EXPECT_EQ(body["routing"]["units"], "12345678901");
}

TEST(ConnectTest, ProtobufsOwnFormWorksToo) {
  const Plan plan = PlanFor(Post(kGetJob, "application/proto; charset=utf-8"));
  v1::GetJobRequest request;
  request.set_id("a");
  auto bytes = plan.read(request.SerializeAsString());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(ParseMessage<v1::GetJobRequest>(*bytes, 1000)->id(), "a");
  EXPECT_FALSE(plan.read("\xff\xff").ok());
}

TEST(ConnectTest, WhatIsNoMessageSaysWhy) {
  const Plan plan = PlanFor(Post(kGetJob));
  EXPECT_EQ(plan.max_body_bytes, kMaxPlainMessageBytes);
  for (const char* body :
       {"", "{", "[]", "3", "{\"nonsense\": 1}", "{\"id\": {}}", "{} {}", "\xff"}) {
    const absl::Status status = plan.read(body).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << body << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("no deweather.v1.GetJobRequest"));
  }
  EXPECT_FALSE(plan.read(std::string(100'000, '[')).ok());
  EXPECT_FALSE(plan.read(std::string(100'000, '{')).ok());
}

TEST(ConnectTest, AStreamIsEnvelopes) {
  const Plan plan = PlanFor(Post(kWatchJob, "application/connect+json"));
  ASSERT_TRUE(plan.streams);
  EXPECT_EQ(plan.head.status, 200);
  EXPECT_EQ(plan.last, std::string("\2\0\0\0\2{}", 7));
  auto bytes = plan.read(Envelope(EnvelopeFlag::kMessage, R"({"id": "j"})"));
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(ParseMessage<v1::WatchJobRequest>(*bytes, 1000)->id(), "j");
  const HttpReply failed = plan.fail(FailureOf(absl::NotFoundError("no such job")));
  EXPECT_EQ(failed.status, 200);
  EXPECT_EQ(failed.body[0], 2);
  EXPECT_EQ(json::parse(failed.body.substr(5))["error"]["code"], "not_found");
}

TEST(ConnectTest, EnvelopesThatAreNone) {
  const std::string good = Envelope(EnvelopeFlag::kMessage, "{}");
  EXPECT_EQ(OpenEnvelope(good).value(), "{}");
  const std::pair<std::string, const char*> cases[] = {
      {"", "0 bytes; an envelope has at least 5"},
      {std::string("\0\0\0", 3), "3 bytes"},
      {good.substr(0, 6), "says 2 bytes and 1 follow"},
      {good + good, "says 2 bytes and 9 follow"},
      {Envelope(EnvelopeFlag::kEnd, "{}"), "flags are 2; they must be 0"},
      {std::string("\xff\xff\xff\xff\xff{}"), "flags are 255"}};
  for (const auto& [body, said] : cases) {
    EXPECT_THAT(std::string(OpenEnvelope(body).status().message()), HasSubstr(said));
  }
}

TEST(ConnectTest, HeadersThatDoNotFitAreRefused) {
  const std::tuple<HttpRequest, int, const char*> cases[] = {
      {Post(kRestore, "text/plain"), 415, "'text/plain'; it must be application/json"},
      {Post(kRestore, ""), 415, "content type is ''"},
      {Post(kRestore, "application/connect+json"), 415, "application/json"},
      {Post(kWatchJob), 415, "it must be application/connect+json"},
      {Post(kRestore, "application/json", {{"content-encoding", "gzip"}}), 501, "'gzip'"},
      {Post(kWatchJob, "application/connect+json", {{"connect-content-encoding", "br"}}), 501,
       "'br'"},
      {Post(kRestore, "application/json", {{"connect-protocol-version", "2"}}), 400, "is '2'"},
      {Post("/deweather.v1.RestorationService/RestoreStream"), 501, "takes a stream"},
      {Post("/deweather.v1.TrainingService/UploadDataset"), 501, "takes a stream"}};
  for (const auto& [request, http_status, said] : cases) {
    const Plan plan = PlanFor(request);
    ASSERT_TRUE(plan.refused.has_value()) << request.path;
    EXPECT_EQ(HttpStatusOf(*plan.refused), http_status);
    EXPECT_THAT(plan.refused->status.error_message(), HasSubstr(said));
  }
}

TEST(ConnectTest, WhatIsNoMessageIsToldInOneLine) {
  const Plan plan = PlanFor(Post(kRestore));
  for (const char* body :
       {"{", "{\"options\": {\n\"seed\": \"\xff\xfe\"\n}}", "{\"x\xc3\x28\": 1}", "[]", ""}) {
    const std::string said(plan.read(body).status().message());
    EXPECT_THAT(said, testing::StartsWith("the body is no deweather.v1.RestoreRequest: "));
    EXPECT_TRUE(std::ranges::all_of(said, [](char c) { return c >= ' ' && c <= '~'; })) << said;
  }
}

TEST(ConnectTest, OtherPathsAreNobodys) {
  for (const char* path :
       {"/", "/deweather.v1.RestorationService", "/deweather.v1.RestorationService/",
        "/deweather.v1.RestorationService/restore", "/deweather.v1.Nothing/Restore",
        "/grpc.health.v1.Health/Check", "/inference.GRPCInferenceService/ServerLive",
        "/deweather.v1.RestorationService/Restore/"}) {
    EXPECT_FALSE(PlanConnect(Post(path), {}).has_value()) << path;
  }
}

}  // namespace
}  // namespace deweather
