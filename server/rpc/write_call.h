// A call that sends one message and gets a stream: watching, and downloads.
// Who may not call is refused before the message is read (server/rpc/bytes_service.h says how).
// A worker finds a page of messages; they are sent one after the other, and only then the next page is
// looked for. However slowly a caller reads, and however much there is to tell, it costs one page.
//
// Owns     as StreamingCall; the workers are the service's, and are joined before anything else of it goes
// Threads  Find runs on a worker, one at a time, and may block
// Errors   STREAM_IDLE where a message is not read within the idle limit. A server that drains ends the call
//          at once, and cuts off who does not read that

#ifndef DEWEATHER_SERVER_RPC_WRITE_CALL_H_
#define DEWEATHER_SERVER_RPC_WRITE_CALL_H_

#include <grpcpp/alarm.h>
#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/base/worker_pool.h"
#include "server/rpc/job_feed.h"
#include "server/rpc/message.h"
#include "server/rpc/streaming_call.h"

namespace deweather {

template <typename Request, typename Response>
class WriteCall : public BytesReactor, public StreamingCall {
 public:
  // Begins to read. The result is gRPC's to use and nobody's to delete.
  BytesReactor* Open() {
    Enter();
    Post([this] {
      if (ended()) return;  // the server drains
      SetReading(true);
      Moved();
      StartRead(&message_);
    });
    return this;
  }

 protected:
  struct Page {
    std::vector<Response> messages = {};
    bool last = false;  // the call is over when they are sent
    // Without messages: when to look again, unless the job changes before.
    absl::Duration look_again = absl::InfiniteDuration();
  };

  WriteCall(CallParts& parts, WorkerPool& workers, grpc::CallbackServerContext& context,
            Arrival arrival)
      : StreamingCall(parts, context, std::move(arrival)), workers_(workers) {}

  // The message of the call, from Begin on.
  const Request& request() const { return request_; }

  // The message has come.
  virtual void Begin() = 0;
  // What is to be sent next; an error ends the call.
  virtual absl::StatusOr<Page> Find() = 0;
  virtual TaskOrder order() const { return TaskOrder::kSecond; }

  // From now on every change of that job is looked at. For Begin.
  void Listen(JobFeed& feed, const std::string& job) {
    const int64_t number = feed.Add(job, [this, weak = weak_from_this()] {
      const std::shared_ptr<StreamingCall> call = weak.lock();
      if (call != nullptr) call->Post([this] { Changed(); });
    });
    stop_listening_ = [&feed, job, number] { feed.Remove(job, number); };
  }

 private:
  void OnReadDone(bool ok) final {
    Post([this, ok] {
      SetReading(false);
      if (ended()) return;
      if (!ok) return failed() ? Cancelled() : End(NoMessage());
      figures().bytes_in = static_cast<int64_t>(message_.Length());
      absl::StatusOr<Request> message = ParseMessage<Request>(message_, kMaxPlainMessageBytes);
      message_.Clear();
      if (!message.ok()) return End(message.status());
      request_ = *std::move(message);
      Begin();
      Look();
    });
  }

  void Look() {
    if (ended()) return;
    waiting_ = false;
    changed_ = false;
    workers_.Post(
        [this, self = shared_from_this()] {
          Post([this, page = Find()]() mutable { OnPage(std::move(page)); });
        },
        order());
  }

  void Changed() {
    changed_ = true;
    if (waiting_) Look();
  }

  void OnPage(absl::StatusOr<Page> page) {
    if (ended()) return;
    if (!page.ok()) return End(page.status());
    page_ = *std::move(page);
    sent_ = 0;
    Advance();
  }

  // REQUIRES: not writing.
  void Advance() {
    if (sent_ < page_.messages.size()) {
      const absl::Status status = SerializeMessage(page_.messages[sent_++], &message_);
      if (!status.ok()) return End(status);
      figures().bytes_out += static_cast<int64_t>(message_.Length());
      SetWriting(true);
      return StartWrite(&message_);
    }
    if (page_.last) return End(absl::OkStatus());
    if (changed_ || !page_.messages.empty()) return Look();
    Wait();
  }

  void Wait() {
    waiting_ = true;
    if (page_.look_again == absl::InfiniteDuration()) return;
    later_ = std::make_unique<grpc::Alarm>();
    later_->Set(absl::ToChronoTime(absl::Now() + page_.look_again),
                [this, weak = weak_from_this()](bool expired) {
                  const std::shared_ptr<StreamingCall> call = weak.lock();
                  if (expired && call != nullptr) call->Post([this] { Changed(); });
                });
  }

  void OnWriteDone(bool ok) final {
    Post([this, ok] {
      SetWriting(false);
      message_.Clear();
      if (ended()) return;
      if (ok) return Advance();
      End(absl::CancelledError("the message could not be sent"));
    });
  }

  bool working() const final { return !reading(); }
  // Whatever is left, the caller can ask for again: nobody waits for it.
  void OnDrain() final { EndSoon(Draining()); }
  void OnEnd(const absl::Status&) final {
    if (stop_listening_) stop_listening_();
    later_.reset();
  }
  void StartFinish(const grpc::Status& status) final { Finish(status); }
  void OnCancel() final { Cancelled(); }
  void OnDone() final { Done(); }

  WorkerPool& workers_;

  // Touched by turns only.
  Request request_;
  grpc::ByteBuffer message_;  // of the message that is read or sent: gRPC's meanwhile
  Page page_;
  size_t sent_ = 0;  // of it
  bool waiting_ = false;
  bool changed_ = false;  // since the last look began
  std::unique_ptr<grpc::Alarm> later_;
  std::function<void()> stop_listening_;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_WRITE_CALL_H_
