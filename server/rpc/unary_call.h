// A call of one message each way, from its headers to the end of its reply.
// Who may not call is refused unread; a message that trickles, and a reply that is not read, are cut off.
//
// Owns     itself: gRPC holds it from Open to OnDone, and others may for longer
// Threads  thread-safe
// Errors   those of ParseMessage (server/rpc/message.h)

#ifndef DEWEATHER_SERVER_RPC_UNARY_CALL_H_
#define DEWEATHER_SERVER_RPC_UNARY_CALL_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/base/worker_pool.h"
#include "server/restore/occupancy.h"
#include "server/rpc/arrival.h"
#include "server/rpc/call_figures.h"
#include "server/rpc/call_parts.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/message.h"
#include "server/rpc/patience.h"

namespace deweather {

template <typename Request, typename Response>
class UnaryCall : public BytesReactor,
                  public std::enable_shared_from_this<UnaryCall<Request, Response>> {
 public:
  // Begins to read. The result is gRPC's to use and nobody's to delete.
  BytesReactor* Open() {
    self_ = this->shared_from_this();
    if (arrival_.refused.ok()) {
      message_patience_->Begin(kIdleLimitsForMessage * parts_.limits.max_stream_idle);
      StartRead(&bytes_);
    } else {
      Refuse(arrival_.refused);
    }
    return this;
  }

  const Arrival& arrival() const { return arrival_; }

 protected:
  UnaryCall(const CallParts& parts, grpc::CallbackServerContext& context, const char* method,
            int64_t max_message_bytes)
      : parts_(parts),
        max_message_bytes_(max_message_bytes),
        arrival_(Arrive(parts, context, method)),
        place_(std::in_place, parts.calls),
        message_patience_(std::in_place, context),
        reply_patience_(std::in_place, context) {}

  // The message has come.
  virtual void OnMessage(Request message) = 0;
  // The call is answered with an error before OnMessage.
  virtual void Refuse(const absl::Status& why) { Answer(why); }

  // Ends the call. The first answer counts.
  void Answer(const absl::StatusOr<Response>& answer, CallFigures figures = {}) {
    if (answered_.exchange(true)) return;
    reply_patience_->Begin(parts_.limits.max_stream_idle);
    const absl::Status status = answer.ok() ? SerializeMessage(*answer, &reply_) : answer.status();
    figures.bytes_in = bytes_in_;
    figures.bytes_out = status.ok() ? static_cast<int64_t>(reply_.Length()) : 0;
    Leave(parts_, arrival_, status, figures);
    if (!status.ok()) return Finish(ToGrpc(status));
    StartWriteAndFinish(&reply_, grpc::WriteOptions(), grpc::Status::OK);
  }

 private:
  // A message may take so many idle limits to come: gRPC does not tell how much of it is there.
  static constexpr int kIdleLimitsForMessage = 10;

  void OnReadDone(bool ok) final {
    message_patience_.reset();
    if (!ok) return Refuse(NoMessage());
    bytes_in_ = static_cast<int64_t>(bytes_.Length());
    absl::StatusOr<Request> message = ParseMessage<Request>(bytes_, max_message_bytes_);
    bytes_.Clear();
    message.ok() ? OnMessage(*std::move(message)) : Refuse(message.status());
  }

  // The context goes, and the service may as soon as the place is given up; somebody may still hold the call.
  void OnDone() final {
    const std::shared_ptr<UnaryCall> self = std::move(self_);
    message_patience_.reset();
    reply_patience_.reset();
    place_.reset();
  }

  const CallParts& parts_;
  const int64_t max_message_bytes_;
  const Arrival arrival_;
  std::optional<Occupancy::Place> place_;  // until the reply has been sent
  grpc::ByteBuffer bytes_;                 // gRPC's while it reads
  grpc::ByteBuffer reply_;                 // and while it writes
  std::atomic<int64_t> bytes_in_ = 0;
  std::atomic<bool> answered_ = false;
  std::optional<Patience> message_patience_;
  std::optional<Patience> reply_patience_;
  std::shared_ptr<UnaryCall> self_;
};

// One whose message carries no picture. Whoever answers first, a worker or a cancel, finishes it.
template <typename Request, typename Response>
class TaskCall final : public UnaryCall<Request, Response> {
 public:
  // Called on a thread of gRPC's: it must not block.
  using Begin = std::function<void(const std::shared_ptr<TaskCall>& call, Request message)>;

  // `begin` must live until gRPC is done with the call.
  TaskCall(const CallParts& parts, grpc::CallbackServerContext& context, const char* method,
           const Begin& begin)
      : UnaryCall<Request, Response>(parts, context, method, kMaxPlainMessageBytes),
        begin_(begin) {}

  using UnaryCall<Request, Response>::Answer;

 private:
  void OnMessage(Request message) override {
    begin_(std::static_pointer_cast<TaskCall>(this->shared_from_this()), std::move(message));
  }
  void OnCancel() override { Answer(absl::CancelledError("the caller cancelled")); }

  const Begin& begin_;
};

// Answers at once with what `tell` makes of the message, also while the server drains.
template <typename Request, typename Response, typename Tell>
typename TaskCall<Request, Response>::Begin AtOnce(Tell tell) {
  return [tell = std::move(tell)](const std::shared_ptr<TaskCall<Request, Response>>& call,
                                  const Request& message) { call->Answer(tell(message)); };
}

// Answers with what `task` makes of the message and the call's arrival, on a worker; once the server drains,
// with UNAVAILABLE. Both must outlive the calls.
template <typename Request, typename Response, typename Task>
typename TaskCall<Request, Response>::Begin OnWorker(const CallParts& parts, WorkerPool& workers,
                                                     Task task) {
  return [&parts, &workers, task = std::move(task)](
             const std::shared_ptr<TaskCall<Request, Response>>& call, Request message) {
    if (parts.open.draining()) return call->Answer(Draining());
    workers.Post([call, task, message = std::move(message)] {
      call->Answer(task(message, call->arrival()));
    });
  };
}

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_UNARY_CALL_H_
