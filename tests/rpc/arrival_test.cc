// Who may call what, of every method that there is.

#include "server/rpc/arrival.h"

#include <gmock/gmock.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/base/sha256.h"
#include "server/access/tokens.h"
#include "tests/rpc/all_methods.h"
#include "tests/rpc/rpc_fixture.h"

namespace deweather {
namespace {

using google::protobuf::MethodDescriptor;

TEST(ArrivalTest, EveryMethodHasGroups) {
  EXPECT_GE(AllMethods().size(), 29U);
  for (const MethodDescriptor* method : AllMethods()) {
    EXPECT_TRUE(GroupsOf(method->service()->full_name(), method->name()).has_value())
        << method->full_name();
  }
}

class AccessTest : public RpcTest {
 protected:
  AccessTest() { entrance_.access = &access_; }

  static void Show(const std::string& token, grpc::ClientContext& context) {
    if (!token.empty()) context.AddMetadata("authorization", absl::StrCat("Bearer ", token));
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(60)));
  }
  grpc::Status RestoreWith(const std::string& token) {
    grpc::ClientContext context;
    Show(token, context);
    v1::RestoreRequest request;
    request.set_image(Png(NoiseImage(8, 8)));
    v1::RestoreResponse response;
    return stub_->Restore(&context, request, &response);
  }

  Access access_{
      Tokens{{Sha256Hex("infer"), {"camera", kInfer}}, {Sha256Hex("admin"), {"lab", kAdmin}}}};
};

TEST_F(AccessTest, ARequestNeedsATokenOfItsGroup) {
  Serve();
  EXPECT_TRUE(RestoreWith("infer").ok());
  const grpc::Status missing = RestoreWith("");
  EXPECT_EQ(missing.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(ReasonOf(missing), "TOKEN_MISSING");
  EXPECT_EQ(ReasonOf(RestoreWith("no such token")), "TOKEN_UNKNOWN");
  const grpc::Status wrong = RestoreWith("admin");
  EXPECT_EQ(wrong.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(ReasonOf(wrong), "WRONG_GROUP");
  EXPECT_THAT(wrong.error_message(), testing::HasSubstr("'lab'"));
  EXPECT_EQ(Requests(absl::StatusCode::kUnauthenticated), 2);
  EXPECT_EQ(Requests(absl::StatusCode::kPermissionDenied), 1);
}

TEST_F(AccessTest, AStreamThatIsRefusedIsNotRead) {
  Serve();
  grpc::ClientContext context;
  Show("admin", context);
  const auto stream = stub_->RestoreStream(&context);
  v1::RestoreStreamResponse answer;
  EXPECT_FALSE(stream->Read(&answer));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(AccessTest, AnOpenStreamEndsWithItsToken) {
  Serve();
  grpc::ClientContext context;
  Show("infer", context);
  const auto stream = stub_->RestoreStream(&context);
  v1::RestoreStreamRequest request;
  request.mutable_start();
  ASSERT_TRUE(stream->Write(request));
  request.mutable_frame()->set_image(Png(NoiseImage(8, 8)));
  ASSERT_TRUE(stream->Write(request));
  v1::RestoreStreamResponse answer;
  ASSERT_TRUE(stream->Read(&answer));
  EXPECT_TRUE(answer.has_restored());

  service_->AccessChanged();  // it may go on: its token is still there
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&answer));
  EXPECT_TRUE(answer.has_restored());

  access_.Replace(Tokens{{Sha256Hex("admin"), {"lab", kAdmin}}});
  service_->AccessChanged();
  EXPECT_FALSE(stream->Read(&answer));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(ReasonOf(status), "TOKEN_UNKNOWN");
}

// The log tells for whom a call was that failed.
class CallerTest : public RpcTest {
 protected:
  CallerTest() {
    auto logger = std::make_shared<spdlog::logger>(
        "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(lines_));
    logger->set_level(spdlog::level::debug);
    spdlog::set_default_logger(std::move(logger));
  }
  ~CallerTest() override { spdlog::set_default_logger(before_); }

  // What is said of a call that claims to be made for those.
  std::string Told(const std::shared_ptr<grpc::Channel>& channel,
                   const std::vector<std::string>& claimed) {
    lines_.str("");
    grpc::ClientContext context;
    for (const std::string& peer : claimed) context.AddMetadata(kPeerHeader, peer);
    v1::RestoreRequest request;
    v1::RestoreResponse response;
    EXPECT_FALSE(
        v1::RestorationService::NewStub(channel)->Restore(&context, request, &response).ok());
    EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
    return lines_.str();
  }

  const std::shared_ptr<spdlog::logger> before_ = spdlog::default_logger();
  std::ostringstream lines_;
};

TEST_F(CallerTest, NobodyOutsideCanPretendToBeAnother) {
  Serve();
  EXPECT_THAT(Told(channel_, {"http:ipv4:192.0.2.1:5"}),
              testing::AllOf(testing::HasSubstr("Restore for ipv4:127.0.0.1:"),
                             testing::Not(testing::HasSubstr("192.0.2.1"))));
}

TEST_F(CallerTest, ACallOfThisProcessIsForWhomItSays) {
  Serve();
  const auto inside = server_.server->InProcessChannel({});
  EXPECT_THAT(Told(inside, {"http:ipv4:192.0.2.1:5"}),
              testing::HasSubstr("Restore for http:ipv4:192.0.2.1:5: "));
  EXPECT_THAT(Told(inside, {}), testing::HasSubstr("Restore for unknown: "));
  EXPECT_THAT(Told(inside, {"one", "two"}), testing::HasSubstr("Restore for unknown: "));
}

}  // namespace
}  // namespace deweather
