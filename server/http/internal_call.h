// A call of this server's own gRPC services, without a network: what comes over HTTP goes where all else goes.
//
// Owns     itself, from Start until gRPC is done with it
// Threads  thread-safe; what is told is told on a thread of gRPC's

#ifndef DEWEATHER_SERVER_HTTP_INTERNAL_CALL_H_
#define DEWEATHER_SERVER_HTTP_INTERNAL_CALL_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/client_callback.h>
#include <grpcpp/support/status.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace deweather {

// What the services are told of who calls.
struct Caller {
  std::string peer;  // where the connection comes from
  std::string request_id;
  std::string trace_parent = {};                     // empty: none came
  std::vector<std::string_view> authorization = {};  // for Start alone
  absl::Time deadline = absl::InfiniteFuture();
};

class InternalCall final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                           public std::enable_shared_from_this<InternalCall> {
 public:
  // Sends that one message to SERVICE/METHOD once the first event is asked for. A header that gRPC cannot carry is not
  // sent.
  static std::shared_ptr<InternalCall> Start(const std::shared_ptr<grpc::Channel>& channel,
                                             const std::string& service, const std::string& method,
                                             const Caller& caller, grpc::ByteBuffer message);

  // What has come: a message, or else the call is over with that status.
  struct Event {
    std::optional<grpc::ByteBuffer> message = {};
    grpc::Status status = grpc::Status::OK;
  };

  // Tells of the next event, once. Whoever starts a call asks until it is over.
  // REQUIRES: the last event has been told of, and was a message.
  void Next(std::function<void(Event)> tell);

  // The call is over soon, with CANCELLED.
  void Cancel() { context_.TryCancel(); }

 private:
  InternalCall() = default;

  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  grpc::ClientContext context_;
  grpc::ByteBuffer request_;   // gRPC's while it writes
  grpc::ByteBuffer received_;  // and while it reads
  std::shared_ptr<InternalCall> self_;
  std::function<void(Event)> tell_;  // of the next event
  bool begun_ = false;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_INTERNAL_CALL_H_
