#include "server/http/routes.h"

#include <google/protobuf/descriptor.h>

#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "grpc/health/v1/health.pb.h"
#include "model/base/status_macros.h"
#include "server/http/connect.h"
#include "server/http/console_files.h"
#include "server/http/inference_rest.h"
#include "server/http/restore_route.h"
#include "server/rpc/message.h"

namespace deweather {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

constexpr size_t kMaxShownBytes = 120;

Plan NotFound(const HttpRequest& request) {
  Plan plan = {.rule = AccessRule::kAnyone};
  plan.fail = FailureReply;
  plan.refused = FailureOf(absl::NotFoundError(
      absl::StrFormat("there is no '%s' here; docs/http.md lists what there is",
                      absl::CHexEscape(request.path.substr(0, kMaxShownBytes)))));
  return plan;
}

// For those who may call with another method.
void TakeOnly(const std::vector<std::string>& methods, const HttpRequest& request, Plan* plan) {
  for (const std::string& method : methods) {
    if (request.method == method) return;
  }
  const std::string allowed = absl::StrJoin(methods, ", ");
  plan->refused = FailureOf(
      absl::UnimplementedError(absl::StrFormat(
          "the method is '%s'; %s takes %s", absl::CHexEscape(request.method.substr(0, 20)),
          absl::CHexEscape(request.path.substr(0, kMaxShownBytes)), allowed)),
      405);
  plan->fail = [allowed](const Failure& failure) {
    HttpReply reply = FailureReply(failure);
    reply.headers.push_back({"Allow", allowed});
    return reply;
  };
}

Plan Gettable(const HttpRequest& request, AccessRule rule, std::function<HttpReply()> answer) {
  Plan plan = {.rule = rule, .answer = std::move(answer)};
  plan.fail = FailureReply;
  TakeOnly({"GET", "HEAD"}, request, &plan);
  return plan;
}

HttpReply Text(int status, std::string text) {
  return {.status = status,
          .headers = {{"Content-Type", "text/plain; charset=utf-8"}},
          .body = std::move(text)};
}

HttpReply WriteHealth(grpc::ByteBuffer& message) {
  const auto health = ParseMessage<HealthCheckResponse>(message, kMaxPlainMessageBytes);
  if (!health.ok()) return FailureReply(FailureOf(health.status()));
  const bool serving = health->status() == HealthCheckResponse::SERVING;
  return serving ? Text(200, "SERVING\n") : Text(503, "NOT_SERVING\n");
}

// What grpc.health.v1 says of the whole server.
Plan PlanReady(const HttpRequest& request, AccessRule rule) {
  Plan plan = {.service = HealthCheckRequest::descriptor()->file()->service(0)->full_name(),
               .method = "Check",
               .rule = rule};
  plan.fail = FailureReply;
  plan.read = [](const std::string&) -> absl::StatusOr<grpc::ByteBuffer> {
    grpc::ByteBuffer bytes;
    DW_RETURN_IF_ERROR(SerializeMessage(HealthCheckRequest(), &bytes));
    return bytes;
  };
  plan.write = WriteHealth;
  TakeOnly({"GET", "HEAD"}, request, &plan);
  return plan;
}

HttpReply WriteMetrics(const RouteParts& parts) {
  return {.headers = {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}},
          .body = parts.metrics()};
}

}  // namespace

Plan PlanOf(const HttpRequest& request, const RouteParts& parts) {
  const std::string_view path = request.path;
  if (path == "/healthz") {
    return Gettable(request, parts.health, [] { return Text(200, "live\n"); });
  }
  if (path == "/readyz") return PlanReady(request, parts.health);
  if (path == "/metrics") {
    return Gettable(request, AccessRule::kToken, [&parts] { return WriteMetrics(parts); });
  }
  if (path == "/v1/restore") {
    Plan plan = PlanRestore(request, parts.limits);
    TakeOnly({"POST"}, request, &plan);
    return plan;
  }
  if (const ConsoleFile* const file = FindConsoleFile(path)) {
    return Gettable(request, AccessRule::kAnyone,
                    [file, request] { return ConsoleReply(*file, request); });
  }
  if (std::optional<Plan> plan = PlanInference(request, parts.limits)) return *std::move(plan);
  std::optional<Plan> call = PlanConnect(request, parts.limits);
  if (!call.has_value()) return NotFound(request);
  TakeOnly({"POST"}, request, &*call);
  return *std::move(call);
}

}  // namespace deweather
