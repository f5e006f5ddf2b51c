#include "server/rpc/streaming_call.h"

#include <grpc/grpc.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "model/base/deadline.h"
#include "model/base/error_reason.h"
#include "server/rpc/grpc_status.h"

namespace deweather {
namespace {

constexpr absl::Duration kShortPatience = absl::Seconds(1);

absl::Status Idle(const char* what, absl::Duration limit) {
  return WithReason(absl::DeadlineExceededError(absl::StrFormat("%s for the limit of %s", what,
                                                                absl::FormatDuration(limit))),
                    "STREAM_IDLE");
}

grpc_call* Ref(grpc_call* call) {
  grpc_call_ref(call);
  return call;
}

}  // namespace

void StreamingCall::Unref::operator()(grpc_call* call) const { grpc_call_unref(call); }

StreamingCall::StreamingCall(CallParts& parts, grpc::CallbackServerContext& context,
                             Arrival arrival)
    : parts_(parts),
      arrival_(std::move(arrival)),
      deadline_(DeadlineOf(context)),
      grpc_(Ref(context.c_call())),
      patience_(parts.limits.max_stream_idle) {}

StreamingCall::~StreamingCall() = default;

void StreamingCall::Post(std::function<void()> turn) {
  const std::shared_ptr<StreamingCall> alive = shared_from_this();
  strand_.Post(std::move(turn));
}

void StreamingCall::Enter() {
  self_ = shared_from_this();
  place_.emplace(parts_.calls);
  number_ = parts_.open.Add(
      {.on_drain = Later(&StreamingCall::Drain), .on_access = Later(&StreamingCall::CheckAccess)});
  Post([this] {
    Moved();
    SetAlarm(parts_.limits.max_stream_idle);
    CheckAccess();  // it may have changed before parts_.open had this call
  });
}

// A turn of that kind, from any thread, unless the call is gone.
std::function<void()> StreamingCall::Later(void (StreamingCall::*turn)()) {
  return [weak = weak_from_this(), turn] {
    const std::shared_ptr<StreamingCall> call = weak.lock();
    if (call != nullptr) call->Post([raw = call.get(), turn] { (raw->*turn)(); });
  };
}

void StreamingCall::Drain() {
  if (!ended()) OnDrain();
}

void StreamingCall::CheckAccess() {
  if (ended()) return;
  const absl::Status status = CheckAgain(parts_, arrival_);
  if (!status.ok()) EndSoon(status);
}

void StreamingCall::End(const absl::Status& status) {
  if (ended()) return;
  since_end_.emplace();
  OnEnd(status);
  cancel_.request_stop();
  Leave(parts_, arrival_, status, figures_);
  StartFinish(ToGrpc(status));
}

void StreamingCall::EndSoon(const absl::Status& status) {
  if (ended()) return;
  patience_ = std::min(patience_, kShortPatience);
  cut_ = status;
  End(status);
  SetAlarm(patience_);
}

void StreamingCall::Moved(absl::Duration used) { since_move_ = Stopwatch(used); }

bool StreamingCall::failed() const {
  return grpc_call_failed_before_recv_message(grpc_.get()) != 0;
}

void StreamingCall::SetWriting(bool writing) {
  since_write_.reset();
  if (writing) since_write_.emplace();
  Moved();
}

// Of two reasons the deadline is the one to name: callers' libraries cancel what is past it.
void StreamingCall::Cancelled() {
  Post([this] {
    const bool late = IsDeadlines(absl::Now(), deadline_);
    End(late ? absl::DeadlineExceededError("the deadline has passed")
             : absl::CancelledError("the caller cancelled"));
  });
}

// The last turn that touches the service, which may go as soon as the place is given up; somebody
// may still hold the call.
void StreamingCall::Done() {
  Post([this] {
    alarm_.reset();
    grpc_.reset();
    parts_.open.Remove(number_);
    self_.reset();
    place_.reset();
  });
}

// The time until the call has been idle for too long, unless something happens.
absl::Duration StreamingCall::IdleIn() const {
  const absl::Duration limit = parts_.limits.max_stream_idle;
  if (ended()) return since_end_->LeftOf(patience_);
  if (writing()) return since_write_->LeftOf(limit);
  return reading_ && !working() ? since_move_.LeftOf(limit) : absl::InfiniteDuration();
}

// A new alarm each time: the old one is not yet through with the function that called this.
void StreamingCall::SetAlarm(absl::Duration in) {
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(absl::ToChronoTime(absl::Now() + in), [weak = weak_from_this()](bool expired) {
    const std::shared_ptr<StreamingCall> call = weak.lock();
    if (expired && call != nullptr) call->Post([raw = call.get()] { raw->OnAlarm(); });
  });
}

void StreamingCall::OnAlarm() {
  if (grpc_ == nullptr) return;
  const absl::Duration limit = parts_.limits.max_stream_idle;
  const absl::Duration left = IdleIn();
  if (left > absl::ZeroDuration()) return SetAlarm(std::min(left, limit));
  if (ended() && !cut_.ok()) return Cut(cut_);
  if (ended() || writing()) return Cut(Idle("the caller has read no reply", limit));
  End(Idle(silence(), limit));
  SetAlarm(limit);
}

// A status would wait behind the message that is not read: this one goes ahead of it, without details.
void StreamingCall::Cut(const absl::Status& status) {
  grpc_call_cancel_with_status(grpc_.get(), static_cast<grpc_status_code>(status.code()),
                               std::string(status.message()).c_str(), nullptr);
  End(status);
}

}  // namespace deweather
