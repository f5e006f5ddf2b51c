// A call that sends a stream and gets one reply: uploads.
// One message is read at a time; what it asks for is done on a worker, and only then the next is read.
//
// Owns     as StreamingCall; the workers are the service's, and are joined before anything else of it goes
// Threads  Take, Complete and Release run on a worker, one at a time, and may take long
// Errors   STREAM_IDLE also where less than 64 KiB come within the idle limit; time of the server's own work
//          does not count

#ifndef DEWEATHER_SERVER_RPC_READ_CALL_H_
#define DEWEATHER_SERVER_RPC_READ_CALL_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/base/stopwatch.h"
#include "model/base/worker_pool.h"
#include "server/rpc/streaming_call.h"

namespace deweather {

using BytesReader = grpc::ServerReadReactor<grpc::ByteBuffer>;

template <typename Request, typename Response>
class ReadCall : public BytesReader, public StreamingCall {
 public:
  // Begins to read. The result is gRPC's to use and nobody's to delete.
  BytesReader* Open() {
    Enter();
    Post([this] { Read(); });
    return this;
  }

 protected:
  // `response` is gRPC's, until the call's end.
  ReadCall(CallParts& parts, WorkerPool& workers, grpc::CallbackServerContext& context,
           Arrival arrival, grpc::ByteBuffer* response)
      : StreamingCall(parts, context, std::move(arrival)), workers_(workers), response_(response) {}

  // The next message; an error ends the call.
  virtual absl::Status Take(Request message) = 0;
  // The caller has closed its side: the call's answer.
  virtual absl::StatusOr<Response> Complete() = 0;
  // Last, however the call ended: gives up all that it holds.
  virtual void Release() = 0;

 private:
  static constexpr int64_t kProgressBytes = int64_t{64} << 10;

  void Read() {
    if (ended()) return;  // the server drains
    SetReading(true);
    since_read_ = Stopwatch();
    Moved(waited_);
    StartRead(&request_);
  }

  void OnReadDone(bool ok) final {
    Post([this, ok] {
      SetReading(false);
      if (ended()) return;
      if (ok) return Parse();
      if (failed()) return Cancelled();
      completing_ = true;
      Work([this] {
        absl::StatusOr<Response> answer = Complete();
        return [this, answer = std::move(answer)] { Answer(answer); };
      });
    });
  }

  void Parse() {
    figures().bytes_in += static_cast<int64_t>(request_.Length());
    waited_ += since_read_.elapsed();
    arrived_ += static_cast<int64_t>(request_.Length());
    if (!begun_ || arrived_ >= kProgressBytes) {
      arrived_ = 0;
      waited_ = absl::ZeroDuration();
    }
    begun_ = true;
    Request message;
    if (!grpc::SerializationTraits<Request>::Deserialize(&request_, &message).ok()) {
      return End(Malformed(message.GetTypeName()));
    }
    Work([this, message = std::move(message)]() mutable {
      const absl::Status status = Take(std::move(message));
      return [this, status] { status.ok() ? Read() : End(status); };
    });
  }

  // Runs `task` on a worker, and what it returns as a turn.
  template <typename Task>
  void Work(Task task) {
    working_ = true;
    workers_.Post(
        [this, self = shared_from_this(), task = std::move(task)]() mutable {
          Post([this, then = task()] {
            working_ = false;
            ended() ? StartRelease() : then();
          });
        },
        TaskOrder::kLong);
  }

  void Answer(const absl::StatusOr<Response>& answer) {
    if (!answer.ok()) return End(answer.status());
    bool own_buffer = false;
    const grpc::Status status =
        grpc::SerializationTraits<Response>::Serialize(*answer, response_, &own_buffer);
    End(status.ok() ? absl::OkStatus() : absl::InternalError(status.error_message()));
  }

  void StartRelease() {
    workers_.Post([this, self = shared_from_this()] { Release(); }, TaskOrder::kLong);
  }

  bool working() const final { return working_; }
  // What has come as a whole is finished; what has not would be refused.
  void OnDrain() final {
    if (!completing_) End(Draining());
  }
  void OnEnd(const absl::Status&) final {
    if (!working_) StartRelease();
  }
  const char* silence() const final { return "less than 65536 bytes have come"; }
  void StartFinish(const grpc::Status& status) final { Finish(status); }
  void OnCancel() final { Cancelled(); }
  void OnDone() final { Done(); }

  WorkerPool& workers_;
  grpc::ByteBuffer* const response_;
  grpc::ByteBuffer request_;  // gRPC's while reading

  // Touched by turns only.
  bool begun_ = false;
  bool working_ = false;
  bool completing_ = false;
  int64_t arrived_ = 0;    // bytes since the idle limit last started
  absl::Duration waited_;  // for them
  Stopwatch since_read_;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_READ_CALL_H_
