// A call of one message each way, answered by a worker. Whoever answers first, a worker or a cancel,
// finishes it: the other's answer is dropped.
//
// Owns     itself: gRPC and the worker each hold it, so it outlives both
// Threads  thread-safe

#ifndef DEWEATHER_SERVER_RPC_UNARY_CALL_H_
#define DEWEATHER_SERVER_RPC_UNARY_CALL_H_

#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "model/base/worker_pool.h"
#include "server/restore/occupancy.h"
#include "server/rpc/call_parts.h"
#include "server/rpc/grpc_status.h"

namespace deweather {

template <typename Response>
class UnaryCall final : public grpc::ServerUnaryReactor,
                        public std::enable_shared_from_this<UnaryCall<Response>> {
 public:
  UnaryCall(const char* method, std::string caller, Occupancy& calls, Response* response)
      : method_(method), caller_(std::move(caller)), response_(response) {
    place_.emplace(calls);
  }

  // What gRPC is given; it lets go in OnDone.
  grpc::ServerUnaryReactor* Reactor() {
    self_ = this->shared_from_this();
    return this;
  }

  void Answer(absl::StatusOr<Response> answer) {
    if (answered_.exchange(true)) return;
    if (answer.ok()) {
      *response_ = *std::move(answer);  // gRPC's, until Finish
    } else {
      LogError(method_, caller_, answer.status());
    }
    this->Finish(ToGrpc(answer.status()));
  }

 private:
  void OnCancel() override {
    if (!answered_.exchange(true)) this->Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    place_.reset();
    self_.reset();
  }

  const char* const method_;
  const std::string caller_;
  std::optional<Occupancy::Place> place_;  // until the reply has been sent
  Response* const response_;
  std::atomic<bool> answered_ = false;
  std::shared_ptr<UnaryCall> self_;
};

template <typename Response>
std::shared_ptr<UnaryCall<Response>> MakeCall(const char* method, std::string caller,
                                              Occupancy& calls, Response* response) {
  return std::make_shared<UnaryCall<Response>>(method, std::move(caller), calls, response);
}

// Answers with what `task` returns, on a worker; once the server drains, with UNAVAILABLE at once.
template <typename Response, typename Task>
grpc::ServerUnaryReactor* StartCall(const char* method, std::string caller, CallParts& parts,
                                    WorkerPool& workers, Response* response, Task task) {
  const auto call = MakeCall(method, std::move(caller), parts.calls, response);
  grpc::ServerUnaryReactor* const reactor = call->Reactor();
  if (parts.open.draining()) {
    call->Answer(Draining());
  } else {
    workers.Post([call, task = std::move(task)]() mutable { call->Answer(task()); });
  }
  return reactor;
}

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_UNARY_CALL_H_
