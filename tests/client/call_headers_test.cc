#include "client/call_headers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "client/output.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/client/fake_training.h"

namespace deweather {
namespace {

using grpc::Status;
using grpc::StatusCode;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::MatchesRegex;

// Answers GetJob and SubmitJob with `answer`, and remembers what came.
class Listener final : public v1::TrainingService::Service {
 public:
  Status GetJob(grpc::ServerContext* context, const v1::GetJobRequest*, v1::Job*) override {
    return Hear(*context);
  }
  Status SubmitJob(grpc::ServerContext* context, const v1::SubmitJobRequest*, v1::Job*) override {
    return Hear(*context);
  }

  std::function<Status(size_t)> answer = [](size_t) { return Status::OK; };  // to the nth call
  std::vector<std::string> tokens, ids;

 private:
  Status Hear(const grpc::ServerContext& context) {
    for (const auto& [name, value] : context.client_metadata()) {
      const std::string text(value.data(), value.size());
      if (name == "authorization") tokens.push_back(text);
      if (name == kRequestIdHeader) ids.push_back(text);
    }
    return answer(ids.size());
  }
};

class CallHeadersTest : public testing::Test {
 protected:
  Status Get(const ChannelOptions& options = {}, const std::string& id = "") {
    ServerFlags flags = server_.flags();
    flags.credentials.token = token_;
    const auto stub = v1::TrainingService::NewStub(OpenChannel(flags, options));
    grpc::ClientContext context;
    SetDeadline(flags, context);
    if (!id.empty()) context.AddMetadata(kRequestIdHeader, id);
    v1::Job job;
    return stub->GetJob(&context, {}, &job);
  }

  Status Submit() {
    const auto stub = v1::TrainingService::NewStub(OpenChannel(server_.flags()));
    grpc::ClientContext context;
    SetDeadline(server_.flags(), context);
    v1::Job job;
    return stub->SubmitJob(&context, {}, &job);
  }

  std::string token_;
  Listener listener_;
  TestServer server_{&listener_};
};

TEST_F(CallHeadersTest, ATokenIsShown) {
  ASSERT_TRUE(Get().ok());
  EXPECT_THAT(listener_.tokens, IsEmpty());
  token_ = "s3cret";
  ASSERT_TRUE(Get().ok());
  EXPECT_THAT(listener_.tokens, ElementsAre("Bearer s3cret"));
}

TEST_F(CallHeadersTest, EveryCallHasAnIdOfItsOwn) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Get().ok());
  ASSERT_TRUE(Get({}, "mine").ok());
  ASSERT_EQ(listener_.ids.size(), 4u);
  EXPECT_EQ(listener_.ids.back(), "mine");
  EXPECT_EQ(std::set<std::string>(listener_.ids.begin(), listener_.ids.end()).size(), 4u);
  EXPECT_THAT(listener_.ids.front(), MatchesRegex("[0-9a-f]{32}"));
}

TEST_F(CallHeadersTest, ErrorsThatAreInTheLogNameTheirId) {
  listener_.answer = [](size_t) { return Status(StatusCode::INTERNAL, "no"); };
  const Status status = Get({}, "mine");
  EXPECT_EQ(status.error_code(), StatusCode::INTERNAL);
  EXPECT_EQ(status.error_message(), "no (request mine)");
  listener_.answer = [](size_t) { return Status(StatusCode::NOT_FOUND, "no"); };
  EXPECT_EQ(Get({}, "mine").error_message(), "no");
}

TEST_F(CallHeadersTest, DetailsStay) {
  google::rpc::ErrorInfo info;
  info.set_reason("DRAINING");
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  listener_.answer = [&](size_t) {
    return Status(StatusCode::UNAVAILABLE, "no", details.SerializeAsString());
  };
  const Status status = Get({.repeats_reads = false}, "mine");
  EXPECT_EQ(ReasonOf(status), "DRAINING");
  EXPECT_EQ(status.error_message(), "no (request mine)");
  EXPECT_EQ(listener_.ids.size(), 1u);
}

TEST_F(CallHeadersTest, ReadsAreRepeatedWithTheSameId) {
  listener_.answer = [](size_t call) {
    return call < 3 ? Status(StatusCode::UNAVAILABLE, "no") : Status::OK;
  };
  EXPECT_TRUE(Get({}, "mine").ok());
  EXPECT_THAT(listener_.ids, ElementsAre("mine", "mine", "mine"));
}

TEST_F(CallHeadersTest, ReadsAreNotRepeatedForEver) {
  listener_.answer = [](size_t) { return Status(StatusCode::UNAVAILABLE, "no"); };
  EXPECT_EQ(Get().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(listener_.ids.size(), 4u);
}

TEST_F(CallHeadersTest, WhatChangesSomethingIsNotRepeated) {
  listener_.answer = [](size_t) { return Status(StatusCode::UNAVAILABLE, "no"); };
  EXPECT_EQ(Submit().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(listener_.ids.size(), 1u);
}

TEST_F(CallHeadersTest, WhoRepeatsByHimselfIsNotHelped) {
  listener_.answer = [](size_t) { return Status(StatusCode::UNAVAILABLE, "no"); };
  EXPECT_EQ(Get({.repeats_reads = false}).error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(listener_.ids.size(), 1u);
}

}  // namespace
}  // namespace deweather
