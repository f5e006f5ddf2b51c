#include "server/rpc/streaming_call.h"

#include <grpc/grpc.h>

#include <algorithm>

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

absl::Status Malformed(const std::string& type) {
  return WithReason(absl::InvalidArgumentError(
                        absl::StrFormat("a message cannot be parsed; it must be a %s", type)),
                    "MALFORMED_MESSAGE");
}

void StreamingCall::Unref::operator()(grpc_call* call) const { grpc_call_unref(call); }

StreamingCall::StreamingCall(CallParts& parts, grpc::CallbackServerContext& context,
                             const char* method)
    : parts_(parts),
      method_(method),
      caller_(context.peer()),
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
  number_ = parts_.open.Add([weak = weak_from_this()] {
    const std::shared_ptr<StreamingCall> call = weak.lock();
    if (call == nullptr) return;
    call->Post([raw = call.get()] {
      if (!raw->ended()) raw->OnDrain();
    });
  });
  Post([this] {
    Moved();
    SetAlarm(absl::Now() + parts_.limits.max_stream_idle);
  });
}

void StreamingCall::End(const absl::Status& status) {
  if (ended()) return;
  ended_at_ = absl::Now();
  OnEnd(status);
  cancel_.request_stop();
  if (!status.ok()) LogError(method_, caller_, status);
  StartFinish(ToGrpc(status));
}

void StreamingCall::EndSoon(const absl::Status& status) {
  if (ended()) return;
  patience_ = std::min(patience_, kShortPatience);
  cut_ = status;
  End(status);
  SetAlarm(absl::Now() + patience_);
}

void StreamingCall::Moved(absl::Duration used) { moved_ = absl::Now() - used; }

bool StreamingCall::failed() const {
  return grpc_call_failed_before_recv_message(grpc_.get()) != 0;
}

void StreamingCall::SetWriting(bool writing) {
  writing_since_.reset();
  if (writing) writing_since_ = absl::Now();
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

// When the call has been idle for too long unless something happens.
absl::Time StreamingCall::IdleAt() const {
  const absl::Duration limit = parts_.limits.max_stream_idle;
  if (ended()) return *ended_at_ + patience_;
  if (writing()) return *writing_since_ + limit;
  return reading_ && !working() ? moved_ + limit : absl::InfiniteFuture();
}

// A new alarm each time: the old one is not yet through with the function that called this.
void StreamingCall::SetAlarm(absl::Time when) {
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(absl::ToChronoTime(when), [weak = weak_from_this()](bool expired) {
    const std::shared_ptr<StreamingCall> call = weak.lock();
    if (expired && call != nullptr) call->Post([raw = call.get()] { raw->OnAlarm(); });
  });
}

void StreamingCall::OnAlarm() {
  if (grpc_ == nullptr) return;
  const absl::Duration limit = parts_.limits.max_stream_idle;
  const absl::Time now = absl::Now();
  if (now < IdleAt()) return SetAlarm(std::min(IdleAt(), now + limit));
  if (ended() && !cut_.ok()) return Cut(cut_);
  if (ended() || writing()) return Cut(Idle("the caller has read no reply", limit));
  End(Idle(silence(), limit));
  SetAlarm(now + limit);
}

// A status would wait behind the message that is not read: this one goes ahead of it, without details.
void StreamingCall::Cut(const absl::Status& status) {
  grpc_call_cancel_with_status(grpc_.get(), static_cast<grpc_status_code>(status.code()),
                               std::string(status.message()).c_str(), nullptr);
  End(status);
}

}  // namespace deweather
