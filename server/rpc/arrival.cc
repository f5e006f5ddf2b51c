#include "server/rpc/arrival.h"

#include <spdlog/common.h>

#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/log/log.h"
#include "server/rpc/request_log.h"
#include "server/rpc/trace_context.h"

namespace deweather {

namespace {

// How gRPC names a channel without a network. All others have their address.
constexpr char kInProcess[] = "unknown";

std::vector<std::string_view> HeadersNamed(const char* name,
                                           const grpc::CallbackServerContext& context) {
  std::vector<std::string_view> values;
  const auto [begin, end] = context.client_metadata().equal_range(name);
  for (auto header = begin; header != end; ++header) {
    values.emplace_back(header->second.data(), header->second.size());
  }
  return values;
}

// The connection; of a call that this process makes for somebody, theirs.
std::string PeerOf(const grpc::CallbackServerContext& context) {
  std::string peer = context.peer();
  if (peer != kInProcess) return peer;
  const std::vector<std::string_view> named = HeadersNamed(kPeerHeader, context);
  return named.size() == 1 ? std::string(named.front()) : peer;
}

void LetIn(const CallParts& parts, const grpc::CallbackServerContext& context, Arrival* arrival) {
  if (parts.entrance.access == nullptr) return;
  absl::StatusOr<Grant> grant = parts.entrance.access->Check(HeadersNamed("authorization", context),
                                                             parts.service, arrival->method);
  arrival->refused = grant.status();
  if (!grant.ok()) return;
  arrival->grant = *std::move(grant);
  arrival->caller = arrival->grant.name;
}

}  // namespace

Arrival Arrive(const CallParts& parts, grpc::CallbackServerContext& context, const char* method) {
  Arrival arrival;
  arrival.method = method;
  arrival.peer = PeerOf(context);
  arrival.caller = arrival.peer;
  arrival.start = absl::Now();
  arrival.request_id = RequestIdOf(context);
  arrival.trace_parent = TraceParentOf(context);
  context.AddInitialMetadata(kRequestIdHeader, arrival.request_id);
  context.AddTrailingMetadata(kRequestIdHeader, arrival.request_id);  // an error may have no other
  LetIn(parts, context, &arrival);
  return arrival;
}

absl::Status CheckAgain(const CallParts& parts, const Arrival& arrival) {
  const Access* const access = parts.entrance.access;
  if (access == nullptr) return absl::OkStatus();
  return access->CheckAgain(arrival.grant, parts.service, arrival.method);
}

void Leave(const CallParts& parts, const Arrival& arrival, const absl::Status& status,
           const CallFigures& figures) {
  RequestLog* const requests = parts.entrance.requests;
  if (requests != nullptr) {
    requests->Write(parts.service, arrival, status, figures, absl::Now());
  } else if (!status.ok()) {
    LogError(arrival, status);
  }
}

void LogError(const Arrival& arrival, const absl::Status& error) {
  LogWith(IsServersFault(error) ? spdlog::level::err : spdlog::level::debug,
          absl::StrCat(arrival.method, " for ", arrival.caller, ": ", error.ToString()),
          {{"request_id", arrival.request_id}});
}

}  // namespace deweather
