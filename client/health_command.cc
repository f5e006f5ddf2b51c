#include "client/health_command.h"

#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/diagnose.h"
#include "client/output.h"
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
  const grpc::Status status = stub->Check(&context, request, &response);
  if (!status.ok()) {
    return FailCall(Explained(flags.server, status), flags.json, ReasonOf(status), flags.service);
  }
  const std::string name = health::HealthCheckResponse::ServingStatus_Name(response.status());
  if (flags.json) {
    PrintJsonLine({{"service", flags.service}, {"status", name}});
  } else {
    absl::PrintF("%s\n", name);
  }
  return response.status() == health::HealthCheckResponse::SERVING ? 0 : 1;
}

}  // namespace deweather
