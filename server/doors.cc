#include "server/doors.h"

#include <cstdio>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"
#include "server/log/log.h"
#include "server/rpc/rules.h"
#include "server/transport_metrics.h"

namespace deweather {
namespace {

absl::StatusOr<MetricsEndpoint> Expose(
    const std::string& listen,
    const std::vector<std::shared_ptr<prometheus::Collectable>>& metrics) {
  MetricsEndpoint endpoint;
  if (listen.empty()) return endpoint;
  try {
    // A connection that says nothing holds a thread until it times out: more of them than the two
    // that the library starts, and a short patience.
    endpoint.exposer = std::make_unique<prometheus::Exposer>(std::vector<std::string>{
        "listening_ports", listen, "num_threads", "8", "request_timeout_ms", "2000"});
  } catch (const std::exception&) {  // says nothing of use
    return absl::UnavailableError(absl::StrFormat("cannot listen on %s", listen));
  }
  for (const std::shared_ptr<prometheus::Collectable>& collectable : metrics) {
    endpoint.exposer->RegisterCollectable(collectable);
  }
  endpoint.address = absl::StrCat(listen.substr(0, listen.rfind(':')), ":",
                                  endpoint.exposer->GetListeningPorts().front());
  return endpoint;
}

absl::StatusOr<std::unique_ptr<HttpServer>> StartHttp(const DoorParts& parts, grpc::Server& server,
                                                      const MetricsText& metrics) {
  if (parts.options.http_listen.empty()) return nullptr;
  return HttpServer::Start(parts.options.http_listen,
                           {.server = server,
                            .calls = parts.calls,
                            .limits = parts.limits,
                            .health = parts.options.access.health,
                            .access = parts.access,
                            .requests = parts.requests,
                            .certificates = parts.certificates,
                            .metrics = [&metrics] { return metrics.Write(); }});
}

}  // namespace

absl::StatusOr<Doors> OpenDoors(const DoorParts& parts) {
  const AccessOptions& access = parts.options.access;
  const Rules rules = {
      .access = parts.access, .health = access.health, .reflection = access.reflection};
  Doors doors;
  DW_ASSIGN_OR_RETURN(doors.grpc, StartRpcServer(parts.options.listen, parts.limits, parts.services,
                                                 parts.certificates, rules));
  doors.metrics_text = std::make_unique<MetricsText>();
  for (const auto& collectable : parts.metrics) doors.metrics_text->Add(collectable);
  DW_ASSIGN_OR_RETURN(doors.http, StartHttp(parts, *doors.grpc.server, *doors.metrics_text));
  doors.transport_metrics =
      TransportMetrics(*doors.grpc.listener, doors.http.get(), parts.certificates, parts.tokens);
  doors.metrics_text->Add(doors.transport_metrics);
  std::vector<std::shared_ptr<prometheus::Collectable>> metrics = parts.metrics;
  metrics.push_back(doors.transport_metrics);
  DW_ASSIGN_OR_RETURN(doors.metrics, Expose(parts.options.metrics_listen, metrics));
  return doors;
}

void SayWhereItListens(const Doors& doors) {
  FlushLog();  // what was said of the start stands before it
  absl::PrintF("grpc listening on %s\n", doors.grpc.address);
  if (doors.metrics.exposer != nullptr) {
    absl::PrintF("metrics listening on %s\n", doors.metrics.address);
  }
  if (doors.http != nullptr) absl::PrintF("http listening on %s\n", doors.http->address());
  std::fflush(stdout);
}

}  // namespace deweather
