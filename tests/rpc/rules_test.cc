// Who may call the services that are gRPC's own.

#include "server/rpc/rules.h"

#include <grpcpp/generic/generic_stub.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "model/base/sha256.h"
#include "tests/rpc/rpc_fixture.h"

namespace deweather {
namespace {

namespace health = grpc::health::v1;

class RulesTest : public RpcTest {
 protected:
  void ServeWith(AccessRule health_rule, AccessRule reflection, bool tokens = true) {
    rules_ = {
        .access = tokens ? &access_ : nullptr, .health = health_rule, .reflection = reflection};
    Serve();
  }
  static void Show(const std::string& token, grpc::ClientContext& context) {
    if (!token.empty()) context.AddMetadata("authorization", absl::StrCat("Bearer ", token));
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(60)));
  }
  grpc::StatusCode Check(const std::string& token) {
    grpc::ClientContext context;
    Show(token, context);
    health::HealthCheckResponse response;
    const grpc::Status status = health::Health::NewStub(channel_)->Check(&context, {}, &response);
    return status.error_code();
  }
  // The first answer, or how the call ended.
  grpc::StatusCode Watch(const std::string& token) {
    grpc::ClientContext context;
    Show(token, context);
    const auto stream = health::Health::NewStub(channel_)->Watch(&context, {});
    health::HealthCheckResponse response;
    if (!stream->Read(&response)) return stream->Finish().error_code();
    context.TryCancel();
    stream->Finish();
    return grpc::StatusCode::OK;
  }
  // A call without a request, which reflection answers with OK.
  grpc::StatusCode Reflect(const std::string& token) {
    grpc::ClientContext context;
    Show(token, context);
    grpc::CompletionQueue queue;
    grpc::GenericStub stub(channel_);
    const auto call = stub.PrepareCall(
        &context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
    call->StartCall(nullptr);
    Await(queue);
    call->WritesDone(nullptr);
    Await(queue);
    grpc::Status status;
    call->Finish(&status, nullptr);
    Await(queue);
    return status.error_code();
  }
  static void Await(grpc::CompletionQueue& queue) {
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue.Next(&tag, &ok));
  }

  const Access access_{Tokens{{Sha256Hex("any"), {"camera", kInfer}}}};
};

TEST_F(RulesTest, AnyoneNeedsNoToken) {
  ServeWith(AccessRule::kAnyone, AccessRule::kAnyone);
  EXPECT_EQ(Check(""), grpc::StatusCode::OK);
  EXPECT_EQ(Watch(""), grpc::StatusCode::OK);
  EXPECT_EQ(Reflect("no such token"), grpc::StatusCode::OK);
}

TEST_F(RulesTest, TokenIsWhoeverHasOne) {
  ServeWith(AccessRule::kToken, AccessRule::kToken);
  for (const std::string token : {"", "no such token"}) {
    EXPECT_EQ(Check(token), grpc::StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(Watch(token), grpc::StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(Reflect(token), grpc::StatusCode::UNAUTHENTICATED);
  }
  EXPECT_EQ(Check("any"), grpc::StatusCode::OK);
  EXPECT_EQ(Watch("any"), grpc::StatusCode::OK);
  EXPECT_EQ(Reflect("any"), grpc::StatusCode::OK);
}

TEST_F(RulesTest, TokenIsAnyoneWhereThereAreNone) {
  ServeWith(AccessRule::kToken, AccessRule::kToken, /*tokens=*/false);
  EXPECT_EQ(Check(""), grpc::StatusCode::OK);
  EXPECT_EQ(Reflect(""), grpc::StatusCode::OK);
}

TEST_F(RulesTest, EachServiceHasItsOwn) {
  ServeWith(AccessRule::kAnyone, AccessRule::kNobody);
  EXPECT_EQ(Check(""), grpc::StatusCode::OK);
  EXPECT_EQ(Reflect("any"), grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(RulesTest, NobodyIsNobodyEvenWithoutTokens) {
  ServeWith(AccessRule::kNobody, AccessRule::kAnyone, /*tokens=*/false);
  EXPECT_EQ(Check(""), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(Watch(""), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(Reflect(""), grpc::StatusCode::OK);
}

}  // namespace
}  // namespace deweather
