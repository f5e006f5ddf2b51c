#include "client/health_command.h"

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/report.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace deweather {

int RunHealth(const HealthFlags& flags) {
  namespace health = ::grpc::health::v1;
  const std::unique_ptr<health::Health::Stub> stub =
      health::Health::NewStub(OpenChannel(flags.server));
  health::HealthCheckRequest request;
  request.set_service(flags.service);
  health::HealthCheckResponse response;
  grpc::ClientContext context;
  SetDeadline(flags.server, context);
  const absl::Status status = FromGrpc(stub->Check(&context, request, &response));
  if (!status.ok()) {
    absl::FPrintF(stderr, "%s\n", ErrorLine(status, flags.service));
    if (flags.json) absl::PrintF("%s\n", nlohmann::json({{"error", ErrorJson(status)}}).dump());
    return 1;
  }
  const std::string name = health::HealthCheckResponse::ServingStatus_Name(response.status());
  if (flags.json) {
    absl::PrintF("%s\n", nlohmann::json({{"service", flags.service}, {"status", name}}).dump());
  } else {
    absl::PrintF("%s\n", name);
  }
  return response.status() == health::HealthCheckResponse::SERVING ? 0 : 1;
}

}  // namespace deweather
