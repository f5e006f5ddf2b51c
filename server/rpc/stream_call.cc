#include "server/rpc/stream_call.h"

#include <memory>
#include <utility>

#include "absl/strings/str_format.h"
#include "model/base/error_reason.h"
#include "model/base/status_macros.h"
#include "server/rpc/convert.h"

namespace deweather {
namespace {

constexpr int kDefaultWindow = 4;
constexpr int kMaxWindow = 16;
constexpr int kMaxSettled = 1024;

absl::Status OutOfOrder(const char* message) {
  return WithReason(absl::InvalidArgumentError(message), "MESSAGE_OUT_OF_ORDER");
}

absl::StatusOr<int> ToWindow(int window) {
  if (window == 0) return kDefaultWindow;
  if (window >= 1 && window <= kMaxWindow) return window;
  return WithReason(absl::InvalidArgumentError(absl::StrFormat(
                        "window is %d; it must be in 1..%d, or 0", window, kMaxWindow)),
                    "WINDOW_RANGE");
}

}  // namespace

void StreamCall::OnMessage(v1::RestoreStreamRequest message) {
  Moved();
  absl::Status status;
  switch (message.part_case()) {
    case v1::RestoreStreamRequest::kStart:
      status = OnStart(message.start());
      break;
    case v1::RestoreStreamRequest::kFrame:
      status = OnFrame(std::move(*message.mutable_frame()));
      break;
    default:
      status = OutOfOrder("a message holds neither a start nor a frame");
  }
  status.ok() ? Advance() : Reject(status);
}

void StreamCall::Reject(const absl::Status& status) {
  parts_.pipeline.CountRefused(status);
  End(status);
}

absl::Status StreamCall::OnStart(const v1::RestoreStreamRequest::Start& start) {
  if (started_) return OutOfOrder("a second start; only frames follow the first one");
  DW_ASSIGN_OR_RETURN(options_, ToOptions(start.options()));
  DW_RETURN_IF_ERROR(parts_.pipeline.CheckOptions(options_));
  DW_ASSIGN_OR_RETURN(window_, ToWindow(start.window()));
  drop_oldest_ = start.drop_oldest();
  started_ = true;
  return absl::OkStatus();
}

absl::Status StreamCall::OnFrame(v1::RestoreStreamRequest::Frame message) {
  if (!started_) return OutOfOrder("a frame before the start, which comes first");
  const int64_t number = next_number_++;
  ++figures().frames;
  Frame& frame = frames_[number];
  frame.id = message.id();
  frame.image = std::move(*message.mutable_image());
  if (draining_) {
    parts_.pipeline.CountRefused(Draining());
    Settle(number, Draining());
  } else if (ran_ < window_ && waiting_.empty()) {
    Restore(number, frame);
  } else {
    Wait(number, frame);
  }
  return absl::OkStatus();
}

// Without drop_oldest no frame is read that would have to. A frame without room drops none.
void StreamCall::Wait(int64_t number, Frame& frame) {
  absl::StatusOr<Reservation> room =
      parts_.pipeline.Reserve(caller(), static_cast<int64_t>(frame.image.size()));
  if (!room.ok()) return Settle(number, room.status());
  if (waiting_.size() >= static_cast<size_t>(window_)) DropOldest();
  frame.room = *std::move(room);
  waiting_.push_back(number);
}

void StreamCall::DropOldest() {
  Settle(waiting_.front(), absl::OkStatus());
  waiting_.pop_front();
}

// Answers a frame that has not run: refused, or dropped if there is no refusal.
void StreamCall::Settle(int64_t number, const absl::Status& refusal) {
  Frame& frame = frames_.at(number);
  frame.image = std::string();
  frame.room.reset();
  v1::RestoreStreamResponse& answer = frame.answer.emplace();
  answer.set_id(frame.id);
  if (refusal.ok()) {
    answer.set_dropped(true);
  } else {
    ToMessage(refusal, answer.mutable_error());
  }
  ++settled_;
}

void StreamCall::Restore(int64_t number, Frame& frame) {
  frame.ran = true;
  ++ran_;
  ++running_;
  RestoreRequest work;
  work.image = std::move(frame.image);
  work.options = options_;
  work.deadline = deadline();
  work.caller = caller();
  work.reservation = std::move(frame.room);
  work.max_reply_bytes = parts_.limits.max_send_bytes;
  work.cancel = cancelled();
  const auto unread = parts_.unread.TakeFor(work);
  const std::weak_ptr<StreamCall> weak = std::static_pointer_cast<StreamCall>(shared_from_this());
  auto done = [weak, number, unread](absl::StatusOr<RestoreResult> result) {
    const std::shared_ptr<StreamCall> call = weak.lock();
    if (call == nullptr) return;
    call->Post([raw = call.get(), number, unread, result = std::move(result)]() mutable {
      raw->OnResult(number, std::move(result), std::move(*unread));
    });
  };
  parts_.pipeline.Start(std::move(work), std::move(done));
}

void StreamCall::OnResult(int64_t number, absl::StatusOr<RestoreResult> result,
                          UnreadReplies::Share unread) {
  if (ended()) return;
  Moved();
  --running_;
  Frame& frame = frames_.at(number);
  frame.unread = std::move(unread);
  Answer(frame, std::move(result));
  Advance();
}

void StreamCall::Answer(Frame& frame, absl::StatusOr<RestoreResult> result) {
  v1::RestoreStreamResponse& answer = frame.answer.emplace();
  answer.set_id(frame.id);
  if (result.ok()) {
    figures().Add(*result);
    return ToMessage(*std::move(result), answer.mutable_restored());
  }
  // One of them says why it is the server's fault; the call's line says how many there are.
  if (!told_ && IsServersFault(result.status())) {
    told_ = true;
    LogError(arrival(), result.status());
  }
  ++figures().failed_frames;
  ToMessage(result.status(), answer.mutable_error());
}

void StreamCall::OnHalfClose() {
  half_closed_ = true;
  Advance();
}

void StreamCall::OnWritten() {
  const auto sent = frames_.begin();
  --(sent->second.ran ? ran_ : settled_);
  frames_.erase(sent);
  Advance();
}

void StreamCall::OnDrain() {
  draining_ = true;
  for (const int64_t number : waiting_) {
    parts_.pipeline.CountRefused(Draining());
    Settle(number, Draining());
  }
  waiting_.clear();
  Advance();
}

void StreamCall::OnEnd(const absl::Status&) {
  frames_.clear();
  waiting_.clear();
}

void StreamCall::Advance() {
  while (!waiting_.empty() && ran_ < window_) {
    const int64_t number = waiting_.front();
    waiting_.pop_front();
    Restore(number, frames_.at(number));
  }
  WriteNext();
  if (MayRead()) Read();
  if (!frames_.empty()) return;
  if (half_closed_) return End(absl::OkStatus());
  if (draining_) End(Draining());
}

bool StreamCall::MayRead() const {
  if (ended() || reading() || half_closed_ || draining_) return false;
  return drop_oldest_ ? settled_ < kMaxSettled : ran_ < window_ || !started_;
}

void StreamCall::WriteNext() {
  if (ended() || writing() || frames_.empty()) return;
  Frame& oldest = frames_.begin()->second;
  if (oldest.answer.has_value()) Write(*std::exchange(oldest.answer, std::nullopt));
}

}  // namespace deweather
