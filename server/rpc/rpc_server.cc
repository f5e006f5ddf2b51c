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
#include "absl/strings/str_format.h"
#include "grpc/health/v1/health.pb.h"

namespace deweather {
namespace {

constexpr char kReflection[] = "grpc.reflection.v1alpha.ServerReflection";

// The limit of a reply is that of its pictures; all else in a message has room beside them.
constexpr int64_t kRoomBesidePictures = 1 << 20;

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

void SetLimits(const LimitOptions& limits, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(limits.max_receive_bytes));
  builder.SetMaxSendMessageSize(static_cast<int>(std::min<int64_t>(
      limits.max_send_bytes + kRoomBesidePictures, std::numeric_limits<int>::max())));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, limits.max_concurrent_streams);
  grpc::ResourceQuota quota("deweather");
  quota.Resize(static_cast<size_t>(limits.max_transport_bytes));
  builder.SetResourceQuota(quota);
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

}  // namespace

absl::StatusOr<RpcServer> StartRpcServer(const std::string& listen, const LimitOptions& limits,
                                         const std::vector<NamedService>& services) {
  EnableHealthAndReflection();
  grpc::ServerBuilder builder;
  int port = 0;
  // Without this a second server would share the port of the first in silence.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &port);
  SetLimits(limits, builder);
  RefuseCompression(builder);
  TolerateAndSendPings(builder);
  for (const NamedService& named : services) builder.RegisterService(named.service);
  RpcServer result;
  result.server = builder.BuildAndStart();
  if (result.server == nullptr || port == 0) {
    return absl::InvalidArgumentError(absl::StrFormat("cannot listen on %s", listen));
  }
  result.address = absl::StrCat(listen.substr(0, listen.rfind(':')), ":", port);
  grpc::HealthCheckServiceInterface& health = *result.server->GetHealthCheckService();
  for (const NamedService& named : services) health.SetServingStatus(named.name, true);
  for (const std::string& name : {std::string(), HealthServiceName(), std::string(kReflection)}) {
    health.SetServingStatus(name, true);
  }
  return result;
}

void SetServing(RpcServer& server, bool serving) {
  server.server->GetHealthCheckService()->SetServingStatus(serving);
}

void Shutdown(RpcServer& server, Occupancy& calls, absl::Duration timeout) {
  calls.WaitUntilEmptyFor(timeout);
  server.server->Shutdown(std::chrono::system_clock::now() + kGoodbye);
  calls.WaitUntilEmpty();  // streams leave a moment after gRPC is done with them
}

}  // namespace deweather
