#include "server/http/internal_call.h"

#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "grpc/health/v1/health.pb.h"
#include "server/rpc/message.h"
#include "tests/http/http_fixture.h"

namespace deweather {
namespace {

constexpr int kCallers = 4;
constexpr int kCalls = 2000;

class InternalCallTest : public HttpTest {
 protected:
  // The next event of a call, once it has come.
  static InternalCall::Event NextOf(const std::shared_ptr<InternalCall>& call) {
    InternalCall::Event next;
    absl::Notification told;
    call->Next([&](InternalCall::Event event) {
      next = std::move(event);
      told.Notify();
    });
    told.WaitForNotification();
    return next;
  }

  std::shared_ptr<InternalCall> Start(const std::string& method) const {
    grpc::ByteBuffer message;
    EXPECT_TRUE(SerializeMessage(grpc::health::v1::HealthCheckRequest(), &message).ok());
    return InternalCall::Start(channel_, "grpc.health.v1.Health", method,
                               {.peer = "here", .request_id = "r"}, std::move(message));
  }

  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(InternalCallTest, NoReplyIsLostHoweverSoonTheCallEnds) {
  ServeHttp();
  channel_ = server_.server->InProcessChannel({});
  std::vector<std::jthread> callers;
  for (int i = 0; i < kCallers; ++i) {
    callers.emplace_back([this] {
      for (int j = 0; j < kCalls; ++j) {
        const std::shared_ptr<InternalCall> call = Start("Check");
        const InternalCall::Event reply = NextOf(call);
        ASSERT_TRUE(reply.message.has_value()) << j << " " << reply.status.error_message();
        const InternalCall::Event end = NextOf(call);
        ASSERT_FALSE(end.message.has_value());
        ASSERT_TRUE(end.status.ok());
      }
    });
  }
  callers.clear();
  channel_ = nullptr;
}

TEST_F(InternalCallTest, ACallThatIsCancelledUnbegunEnds) {
  ServeHttp();
  channel_ = server_.server->InProcessChannel({});
  const std::shared_ptr<InternalCall> call = Start("Check");
  call->Cancel();
  const InternalCall::Event end = NextOf(call);
  EXPECT_FALSE(end.message.has_value());
  EXPECT_EQ(end.status.error_code(), grpc::StatusCode::CANCELLED);
  channel_ = nullptr;
}

TEST_F(InternalCallTest, AMethodThatThereIsNotIsToldAsTheEnd) {
  ServeHttp();
  channel_ = server_.server->InProcessChannel({});
  const InternalCall::Event end = NextOf(Start("Chek"));
  EXPECT_FALSE(end.message.has_value());
  EXPECT_EQ(end.status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  channel_ = nullptr;
}

}  // namespace
}  // namespace deweather
