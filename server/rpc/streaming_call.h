// What streams have in common: turns instead of locks, the idle limit, the end.
// Whatever happens to a call, on whatever thread, becomes a turn; turns run one at a time.
//
// Owns     itself, from Open until gRPC is done with it; what others hold of it are weak pointers
// Threads  thread-safe; all but Open and Post is for turns only

#ifndef DEWEATHER_SERVER_RPC_STREAMING_CALL_H_
#define DEWEATHER_SERVER_RPC_STREAMING_CALL_H_

#include <grpcpp/alarm.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/base/stopwatch.h"
#include "server/restore/occupancy.h"
#include "server/rpc/arrival.h"
#include "server/rpc/call_figures.h"
#include "server/rpc/call_parts.h"
#include "server/rpc/message.h"
#include "server/rpc/strand.h"

struct grpc_call;

namespace deweather {

class StreamingCall : public std::enable_shared_from_this<StreamingCall> {
 public:
  StreamingCall(const StreamingCall&) = delete;
  StreamingCall& operator=(const StreamingCall&) = delete;

  // Runs `turn` after those that were posted before. The caller holds the call alive.
  void Post(std::function<void()> turn);

 protected:
  // REQUIRES: the call is not refused.
  StreamingCall(CallParts& parts, grpc::CallbackServerContext& context, Arrival arrival);
  virtual ~StreamingCall();

  // Whether the server has work for this call, so that its caller's silence is no idleness.
  virtual bool working() const = 0;
  // What the caller did not do where it is idle.
  virtual const char* silence() const { return "no message has come"; }
  virtual void OnDrain() = 0;
  // The call is over: gives up all that it holds but the message that is being sent.
  virtual void OnEnd(const absl::Status& status) = 0;
  virtual void StartFinish(const grpc::Status& status) = 0;

  // The call's answer. The first one counts; what is under way is cancelled.
  void End(const absl::Status& status);
  // The same, for a caller who is not worth waiting for: one who has not read it in a second is cut off.
  void EndSoon(const absl::Status& status);

  const std::string& caller() const { return arrival_.caller; }
  const Arrival& arrival() const { return arrival_; }
  absl::Time deadline() const { return deadline_; }
  std::stop_token cancelled() const { return cancel_.get_token(); }
  bool ended() const { return since_end_.has_value(); }
  CallFigures& figures() { return figures_; }  // of the call so far

  // The caller or the server got on: the time until the idle limit starts again, `used` of it past.
  void Moved(absl::Duration used = absl::ZeroDuration());
  bool reading() const { return reading_; }
  bool writing() const { return since_write_.has_value(); }

  // For the reactor below.
  void Enter();
  void Cancelled();
  void Done();
  // Whether the call had failed when the last message was read: no half-close, though it looks alike.
  bool failed() const;
  void SetReading(bool reading) { reading_ = reading; }
  void SetWriting(bool writing);

 private:
  struct Unref {
    void operator()(grpc_call* call) const;
  };

  std::function<void()> Later(void (StreamingCall::*turn)());
  void Drain();
  void CheckAccess();
  absl::Duration IdleIn() const;
  void SetAlarm(absl::Duration in);
  void OnAlarm();
  void Cut(const absl::Status& status);

  CallParts& parts_;
  const Arrival arrival_;
  const absl::Time deadline_;
  Strand strand_;

  // From Enter to Done.
  std::shared_ptr<StreamingCall> self_;
  std::optional<Occupancy::Place> place_;
  int64_t number_ = 0;  // in parts_.open

  // Touched by turns only.
  CallFigures figures_;
  std::unique_ptr<grpc_call, Unref> grpc_;  // to cut it, even where gRPC is done with it
  std::unique_ptr<grpc::Alarm> alarm_;
  std::stop_source cancel_;
  Stopwatch since_move_;
  bool reading_ = false;
  std::optional<Stopwatch> since_write_;  // of what is being written
  std::optional<Stopwatch> since_end_;
  absl::Duration patience_;  // for the answer to be read
  absl::Status cut_;         // for who has none; OK: that the caller is idle
};

// A call as gRPC sees it: at most one message is read at a time, and at most one is written. They are
// bytes to gRPC: to its own parser a message that is none would look like a half-close.
template <typename Request, typename Response>
class BidiCall : public BytesReactor, public StreamingCall {
 public:
  // Begins to read. The result is gRPC's to use and nobody's to delete.
  BytesReactor* Open() {
    Enter();
    Post([this] { Read(); });
    return this;
  }

 protected:
  using StreamingCall::StreamingCall;

  virtual void OnMessage(Request message) = 0;
  // Ends the call for what the caller has sent, and sees that it is counted.
  virtual void Reject(const absl::Status& status) = 0;
  virtual void OnHalfClose() = 0;
  virtual void OnWritten() = 0;

  // REQUIRES: not reading.
  void Read() {
    if (ended()) return;
    SetReading(true);
    StartRead(&request_);
  }

  // REQUIRES: not writing.
  void Write(const Response& response) {
    if (ended()) return;
    bool own_buffer = false;
    const grpc::Status status =
        grpc::SerializationTraits<Response>::Serialize(response, &response_, &own_buffer);
    if (!status.ok()) return End(absl::InternalError(status.error_message()));
    figures().bytes_out += static_cast<int64_t>(response_.Length());
    SetWriting(true);
    StartWrite(&response_);
  }

 private:
  void OnReadDone(bool ok) final {
    Post([this, ok] {
      SetReading(false);
      if (ended()) return;
      if (ok) return Parse();
      failed() ? Cancelled() : OnHalfClose();
    });
  }

  void Parse() {
    figures().bytes_in += static_cast<int64_t>(request_.Length());
    Request message;
    if (grpc::SerializationTraits<Request>::Deserialize(&request_, &message).ok()) {
      return OnMessage(std::move(message));
    }
    Reject(Malformed(message.GetTypeName()));
  }

  void OnWriteDone(bool ok) final {
    Post([this, ok] {
      SetWriting(false);
      response_.Clear();
      if (ended()) return;
      if (ok) return OnWritten();
      End(absl::CancelledError("the reply could not be sent"));
    });
  }

  void StartFinish(const grpc::Status& status) final { Finish(status); }
  void OnCancel() final { Cancelled(); }
  void OnDone() final { Done(); }

  grpc::ByteBuffer request_;   // gRPC's while reading
  grpc::ByteBuffer response_;  // gRPC's while writing
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_STREAMING_CALL_H_
