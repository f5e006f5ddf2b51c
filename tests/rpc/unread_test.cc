// Calls of one message, of every service: refused unread, and what may be wrong with the message.

#include <gmock/gmock.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/base/sha256.h"
#include "server/access/access.h"
#include "server/rpc/inference_service.h"
#include "server/rpc/model_service.h"
#include "tests/rpc/all_methods.h"
#include "tests/rpc/raw_call.h"
#include "tests/rpc/training_fixture.h"

namespace deweather {
namespace {

using google::protobuf::MethodDescriptor;
using ::testing::HasSubstr;

class UnreadTest : public RpcTest {
 protected:
  UnreadTest() { entrance_.access = &access_; }
  ~UnreadTest() override { std::filesystem::remove_all(folder_); }

  std::vector<NamedService> MoreServices(const LimitOptions& limits) override {
    training_ =
        std::make_unique<TrainingService>([this] { return &parts_; }, calls_, limits, entrance_);
    models_service_ = std::make_unique<ModelService>(ModelServiceParts{.models = models_,
                                                                       .pipeline = *pipeline_,
                                                                       .calls = calls_,
                                                                       .limits = limits,
                                                                       .entrance = entrance_});
    inference_ =
        std::make_unique<InferenceService>("1", models_, *pipeline_, calls_, limits, entrance_);
    return {{v1::TrainingService::service_full_name(), training_.get()},
            {v1::ModelService::service_full_name(), models_service_.get()},
            {inference::GRPCInferenceService::service_full_name(), inference_.get()}};
  }

  // Those that take one message.
  static std::vector<const MethodDescriptor*> Methods() {
    std::vector<const MethodDescriptor*> methods = AllMethods();
    std::erase_if(methods, [](const MethodDescriptor* one) { return one->client_streaming(); });
    return methods;
  }
  static std::string PathOf(const MethodDescriptor& method) {
    return absl::StrCat(method.service()->full_name(), "/", method.name());
  }
  grpc::Status Send(const MethodDescriptor& method, const std::string& bytes) {
    RawCall call(channel_, PathOf(method), "all");
    call.Send(bytes);
    return call.Finish();
  }

  Access access_{Tokens{{Sha256Hex("all"), {"all", kAnyGroup}}}};
  const std::string folder_ = NewFolder();
  const std::unique_ptr<JobStore> store_ = JobStore::Open(JobStorePath(folder_)).value();
  const std::unique_ptr<Datasets> datasets_ =
      Datasets::Open(folder_ + "/datasets", {.min_free_bytes = 0}).value();
  JobFeed feed_;
  const TrainingParts parts_{*store_, *datasets_, feed_, [] {}, FakeRules(), folder_, {}};
  std::unique_ptr<TrainingService> training_;
  std::unique_ptr<ModelService> models_service_;
  std::unique_ptr<InferenceService> inference_;
};

// None has sent its message: who reads it first would wait for ever.
TEST_F(UnreadTest, WithoutATokenEveryCallIsRefusedBeforeItsMessage) {
  Serve();
  EXPECT_GE(Methods().size(), 25U);
  for (const MethodDescriptor* method : Methods()) {
    RawCall call(channel_, PathOf(*method));
    const grpc::Status status = call.Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED)
        << method->full_name() << ": " << status.error_message();
    EXPECT_EQ(ReasonOf(status), "TOKEN_MISSING") << method->full_name();
  }
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
}

TEST_F(UnreadTest, WhatIsNoMessageIsMalformed) {
  Serve();
  for (const MethodDescriptor* method : Methods()) {
    const grpc::Status status = Send(*method, std::string(5, '\xff'));
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method->full_name();
    EXPECT_EQ(ReasonOf(status), "MALFORMED_MESSAGE") << method->full_name();
    EXPECT_THAT(status.error_message(), HasSubstr(method->input_type()->full_name()));
  }
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
}

// It is not parsed either: it would be malformed.
TEST_F(UnreadTest, AMessageWithoutPicturesHasALimitOfItsOwn) {
  Serve();
  const std::string bytes((size_t{1} << 20) + 1, '\xff');
  for (const MethodDescriptor* method : Methods()) {
    const bool pictures = method->name() == "Restore" || method->name() == "ModelInfer";
    const grpc::Status status = Send(*method, bytes);
    EXPECT_EQ(ReasonOf(status), pictures ? "MALFORMED_MESSAGE" : "MESSAGE_SIZE")
        << method->full_name() << ": " << status.error_message();
    if (pictures) continue;
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_THAT(status.error_message(), HasSubstr("1048577 bytes"));
    EXPECT_THAT(status.error_message(), HasSubstr("at most 1048576"));
  }
}

TEST_F(UnreadTest, AMessageThatDoesNotComeEndsTheCall) {
  Serve({.max_stream_idle = absl::Milliseconds(100)});
  RawCall watch(channel_, "deweather.v1.TrainingService/WatchJob", "all");
  RawCall get(channel_, "deweather.v1.TrainingService/GetJob", "all");
  EXPECT_EQ(ReasonOf(watch.Finish()), "STREAM_IDLE");
  EXPECT_EQ(get.Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
}

TEST_F(UnreadTest, ACallWhoseMessageHasNotComeIsOpen) {
  Serve();
  {
    RawCall call(channel_, "deweather.v1.ModelService/GetModel", "all");
    EXPECT_TRUE(HappensSoon([this] { return calls_.count() == 1; }));
  }  // cancels it
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
}

}  // namespace
}  // namespace deweather
