#include "server/http/internal_call.h"

#include <grpcpp/generic/generic_stub.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/arrival.h"
#include "server/rpc/trace_context.h"

namespace deweather {
namespace {

// gRPC ends the process over a header that it cannot carry.
void AddHeader(grpc::ClientContext& context, const char* name, std::string_view value) {
  const bool carried = std::ranges::all_of(value, [](char c) { return c >= ' ' && c <= '~'; });
  if (carried) context.AddMetadata(name, std::string(value));
}

void AddHeaders(const Caller& caller, grpc::ClientContext& context) {
  AddHeader(context, kPeerHeader, caller.peer);
  AddHeader(context, kRequestIdHeader, caller.request_id);
  if (!caller.trace_parent.empty()) AddHeader(context, "traceparent", caller.trace_parent);
  for (const std::string_view value : caller.authorization) {
    AddHeader(context, "authorization", value);
  }
  if (caller.deadline != absl::InfiniteFuture()) {
    context.set_deadline(absl::ToChronoTime(caller.deadline));
  }
}

}  // namespace

std::shared_ptr<InternalCall> InternalCall::Start(const std::shared_ptr<grpc::Channel>& channel,
                                                  const std::string& service,
                                                  const std::string& method, const Caller& caller,
                                                  grpc::ByteBuffer message) {
  const std::shared_ptr<InternalCall> call(new InternalCall);
  call->self_ = call;
  AddHeaders(caller, call->context_);
  call->request_ = std::move(message);
  grpc::GenericStub(channel).PrepareBidiStreamingCall(
      &call->context_, absl::StrCat("/", service, "/", method), {}, call.get());
  call->AddHold();  // reads are started from elsewhere
  call->StartWriteLast(&call->request_, grpc::WriteOptions());
  return call;
}

void InternalCall::Next(std::function<void(Event)> tell) {
  tell_ = std::move(tell);
  received_.Clear();
  StartRead(&received_);
  // Within a process gRPC loses a reply that comes together with the end of its call, before it is asked for: the first
  // is asked for before the call begins.
  if (!std::exchange(begun_, true)) StartCall();
}

void InternalCall::OnReadDone(bool ok) {
  if (!ok) return RemoveHold();  // OnDone says why
  const std::function<void(Event)> tell = std::exchange(tell_, nullptr);
  tell({.message = std::move(received_)});
}

void InternalCall::OnDone(const grpc::Status& status) {
  const std::shared_ptr<InternalCall> self = std::move(self_);
  tell_({.status = status});
}

}  // namespace deweather
