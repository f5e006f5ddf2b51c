#include "deweather/client.h"

#include <utility>

#include "client/cpp/link.h"

namespace deweather {

Client::Client(const ClientOptions& options) : link_(Connect(options)) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

Health Client::CheckHealth(const std::string& service, const CallOptions& call) const {
  using grpc::health::v1::HealthCheckRequest;
  HealthCheckRequest request;
  CheckText("service", service);
  request.set_service(service);
  try {
    return static_cast<Health>(
        Call(*link_, call, *link_->health, &grpc::health::v1::Health::Stub::Check, request)
            .status());
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNotFound) throw;
    return Health::kServiceUnknown;
  }
}

}  // namespace deweather
