#include "server/rpc/rules.h"

#include <grpc/grpc.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/interceptor.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace deweather {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::ServerRpcInfo;

constexpr std::string_view kHealth = "/grpc.health.v1.Health/";
constexpr std::string_view kReflection = "/grpc.reflection.";

class RuleInterceptor final : public grpc::experimental::Interceptor {
 public:
  RuleInterceptor(AccessRule rule, const Access* access, ServerRpcInfo* call)
      : rule_(rule), access_(access), call_(call) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_INITIAL_METADATA)) {
      Check(*methods->GetRecvInitialMetadata());
    }
    methods->Proceed();
  }

 private:
  void Check(const std::multimap<grpc::string_ref, grpc::string_ref>& headers) {
    std::vector<std::string_view> authorization;
    const auto [begin, end] = headers.equal_range("authorization");
    for (auto header = begin; header != end; ++header) {
      authorization.emplace_back(header->second.data(), header->second.size());
    }
    const absl::Status status = CheckRule(rule_, access_, authorization);
    if (status.ok()) return;
    // What serves the call finds it cancelled.
    grpc_call_cancel_with_status(call_->server_context()->c_call(),
                                 static_cast<grpc_status_code>(status.code()),
                                 std::string(status.message()).c_str(), nullptr);
  }

  const AccessRule rule_;
  const Access* const access_;
  ServerRpcInfo* const call_;
};

class RuleInterceptorFactory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit RuleInterceptorFactory(const Rules& rules) : rules_(rules) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(ServerRpcInfo* call) override {
    const std::string_view method = call->method();
    if (method.starts_with(kHealth)) return Make(rules_.health, call);
    return method.starts_with(kReflection) ? Make(rules_.reflection, call) : nullptr;
  }

 private:
  grpc::experimental::Interceptor* Make(AccessRule rule, ServerRpcInfo* call) const {
    if (rule == AccessRule::kAnyone) return nullptr;
    return new RuleInterceptor(rule, rules_.access, call);
  }

  const Rules rules_;
};

}  // namespace

std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>>
RuleInterceptors(const Rules& rules) {
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> factories;
  const bool token = rules.access != nullptr;
  if (!token && rules.health != AccessRule::kNobody && rules.reflection != AccessRule::kNobody) {
    return factories;
  }
  factories.push_back(std::make_unique<RuleInterceptorFactory>(rules));
  return factories;
}

}  // namespace deweather
