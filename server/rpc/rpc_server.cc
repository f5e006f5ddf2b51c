#include "server/rpc/rpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "absl/strings/str_cat.h"
#include "grpc/health/v1/health.pb.h"
#include "model/base/status_macros.h"
#include "server/rpc/tls_credentials.h"

namespace deweather {
namespace {

constexpr char kReflection[] = "grpc.reflection.v1alpha.ServerReflection";

// The limit of a reply is that of its pictures; all else in a message has room beside them.
constexpr int64_t kRoomBesidePictures = 1 << 20;

// Reflection takes a thread for each stream; more of them are refused.
constexpr int kMaxReflections = 64;

// Time for connections to be told that the server goes, before what is left on them is cancelled.
constexpr std::chrono::seconds kGoodbye(1);

// Named by way of its descriptor, which so is part of the program: reflection can tell of it.
std::string HealthServiceName() {
  return grpc::health::v1::HealthCheckRequest::descriptor()->file()->service(0)->full_name();
}

// Pings keep idle watchers alive behind address translators, and find callers that vanished.
void TolerateAndSendPings(grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
}

// gRPC unpacks a message before it looks at its size: a few hundred kilobytes could become gigabytes.
// Pictures are compressed anyway.
void RefuseCompression(grpc::ServerBuilder& builder) {
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
}

int Milliseconds(absl::Duration time) {
  return static_cast<int>(
      std::min<int64_t>(absl::ToInt64Milliseconds(time), std::numeric_limits<int>::max()));
}

// Of a connection: how long it may take to say who it is, and how long it may live.
void SetConnectionLimits(const LimitOptions& limits, grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                             Milliseconds(limits.max_handshake));
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, limits.max_header_bytes);
  if (limits.max_connection_idle > absl::ZeroDuration()) {
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS,
                               Milliseconds(limits.max_connection_idle));
  }
  if (limits.max_connection_age == absl::ZeroDuration()) return;
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS,
                             Milliseconds(limits.max_connection_age));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS,
                             Milliseconds(limits.max_connection_grace));
}

void SetLimits(const LimitOptions& limits, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(limits.max_receive_bytes));
  builder.SetMaxSendMessageSize(static_cast<int>(std::min<int64_t>(
      limits.max_send_bytes + kRoomBesidePictures, std::numeric_limits<int>::max())));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, limits.max_concurrent_streams);
  grpc::ResourceQuota quota("deweather");
  quota.Resize(static_cast<size_t>(limits.max_transport_bytes));
  quota.SetMaxThreads(kMaxReflections);
  builder.SetResourceQuota(quota);
  SetConnectionLimits(limits, builder);
}

// Health and reflection are plug-ins of the process, switched on before the first builder is made.
void EnableHealthAndReflection() {
  static const bool enabled = [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    return true;
  }();
  static_cast<void>(enabled);
}

using Acceptor = grpc::experimental::ExternalConnectionAcceptor;

void HandOver(Acceptor& acceptor, int fd) {
  Acceptor::NewConnectionParameters connection;
  connection.fd = fd;
  acceptor.HandleNewConnection(&connection);
}

void SayServing(grpc::HealthCheckServiceInterface& health,
                const std::vector<NamedService>& services) {
  for (const NamedService& named : services) health.SetServingStatus(named.name, true);
  for (const std::string& name : {std::string(), HealthServiceName(), std::string(kReflection)}) {
    health.SetServingStatus(name, true);
  }
}

}  // namespace

absl::StatusOr<RpcServer> StartRpcServer(
    const std::string& listen, const LimitOptions& limits,
    const std::vector<NamedService>& services,
    const std::shared_ptr<const LiveCertificates>& certificates, const Rules& rules) {
  EnableHealthAndReflection();
  grpc::ServerBuilder builder;
  const std::shared_ptr<Acceptor> acceptor = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      certificates == nullptr ? grpc::InsecureServerCredentials() : TlsCredentials(certificates));
  SetLimits(limits, builder);
  RefuseCompression(builder);
  TolerateAndSendPings(builder);
  builder.experimental().SetInterceptorCreators(RuleInterceptors(rules));
  for (const NamedService& named : services) builder.RegisterService(named.service);
  RpcServer result;
  result.server = builder.BuildAndStart();
  if (result.server == nullptr) return absl::InternalError("gRPC cannot start a server");
  SayServing(*result.server->GetHealthCheckService(), services);
  DW_ASSIGN_OR_RETURN(result.listener,
                      Listener::Start(listen, limits.max_connections,
                                      [acceptor](int fd) { HandOver(*acceptor, fd); }));
  result.address = absl::StrCat(listen.substr(0, listen.rfind(':')), ":", result.listener->port());
  return result;
}

void AddToHealth(RpcServer& server, const std::string& name) {
  server.server->GetHealthCheckService()->SetServingStatus(name, true);
}

void StopServing(RpcServer& server) { server.server->GetHealthCheckService()->Shutdown(); }

void Shutdown(RpcServer& server, Occupancy& calls, absl::Duration timeout) {
  calls.WaitUntilEmptyFor(timeout);
  server.listener->Stop();
  server.server->Shutdown(std::chrono::system_clock::now() + kGoodbye);
  calls.WaitUntilEmpty();  // streams leave a moment after gRPC is done with them
}

}  // namespace deweather
