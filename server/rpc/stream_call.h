// RestoreStream: frames in, restored frames out, in order.
// Every frame is in one of four states, and each state is bounded:
//
//   waits → runs → answered → sent      runs + answered <= window; waits <= window, if oldest ones may
//     └────────→ settled ──────┘        be dropped, else 0; settled without a run <= 1024
//
// A state that is full stops the reading, and HTTP/2 stops the caller; only the waiting ones are
// dropped instead.
// Errors   see RestorationService.RestoreStream

#ifndef DEWEATHER_SERVER_RPC_STREAM_CALL_H_
#define DEWEATHER_SERVER_RPC_STREAM_CALL_H_

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "deweather/v1/restoration.grpc.pb.h"
#include "server/restore/restore.h"
#include "server/rpc/streaming_call.h"

namespace deweather {

class StreamCall final : public BidiCall<v1::RestoreStreamRequest, v1::RestoreStreamResponse> {
 public:
  StreamCall(RestorationParts& parts, grpc::CallbackServerContext& context, Arrival arrival)
      : BidiCall(parts, context, std::move(arrival)), parts_(parts) {}

 private:
  struct Frame {
    int64_t id = 0;
    bool ran = false;                                 // it has been given to the pipeline
    std::string image;                                // while it waits
    Reservation room;                                 // while it waits
    std::optional<v1::RestoreStreamResponse> answer;  // until it is being sent
    UnreadReplies::Share unread;
  };

  void OnMessage(v1::RestoreStreamRequest message) override;
  void Reject(const absl::Status& status) override;
  void OnHalfClose() override;
  void OnWritten() override;
  void OnDrain() override;
  void OnEnd(const absl::Status& status) override;
  bool working() const override { return running_ > 0; }

  absl::Status OnStart(const v1::RestoreStreamRequest::Start& start);
  absl::Status OnFrame(v1::RestoreStreamRequest::Frame message);
  void Wait(int64_t number, Frame& frame);
  void Restore(int64_t number, Frame& frame);
  void OnResult(int64_t number, absl::StatusOr<RestoreResult> result, UnreadReplies::Share unread);
  void Answer(Frame& frame, absl::StatusOr<RestoreResult> result);
  void Settle(int64_t number, const absl::Status& refusal);
  void DropOldest();

  // Does all that the state allows.
  void Advance();
  bool MayRead() const;
  void WriteNext();

  RestorationParts& parts_;
  bool started_ = false;
  bool half_closed_ = false;
  bool draining_ = false;
  int window_ = 0;
  bool drop_oldest_ = false;
  RestoreOptions options_;

  // By number, from the oldest whose answer has not been sent.
  std::map<int64_t, Frame> frames_;
  int64_t next_number_ = 0;
  std::deque<int64_t> waiting_;
  int running_ = 0;
  int ran_ = 0;        // running, or answered and not yet sent
  int settled_ = 0;    // answered without a run, and not yet sent
  bool told_ = false;  // a frame's failure is in the log
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_STREAM_CALL_H_
