#include "deweather/frame_stream.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "client/call_headers.h"
#include "client/cpp/convert.h"
#include "client/cpp/frame_call.h"

namespace deweather {
namespace {

// Of a server that never stops reading: fewer than the 1024 after which it does.
constexpr size_t kMostUnread = 512;
constexpr int kLargestWindow = 16;
// A wish to stop is looked for.
constexpr absl::Duration kTurn = absl::Milliseconds(100);

size_t RoomOf(const StreamOptions& stream) {
  if (stream.window < 1 || stream.window > kLargestWindow) {
    Throw(absl::InvalidArgumentError(absl::StrFormat(
        "StreamOptions::window is %d; it must be 1 to %d", stream.window, kLargestWindow)));
  }
  return stream.drop_oldest ? kMostUnread : static_cast<size_t>(stream.window);
}

// Before the stream is made.
grpc::ClientContext* Prepared(const CallWishes& wishes, grpc::ClientContext& context) {
  if (wishes.timed) {
    wishes.Prepare(context);
  } else {
    SetRequestId(wishes.request_id, context);
  }
  return &context;
}

}  // namespace

FrameStream::Call::Call(std::shared_ptr<const Link> link, const CallOptions& call,
                        const v1::RestoreOptions& options, const StreamOptions& stream)
    : link_(std::move(link)),
      wishes_(*link_, call),
      room_(RoomOf(stream)),
      stream_(link_->restoration->RestoreStream(Prepared(wishes_, context_))),
      canceller_(wishes_.CancelWhenStopped(context_)) {
  v1::RestoreStreamRequest request;
  *request.mutable_start()->mutable_options() = options;
  request.mutable_start()->set_window(stream.window);
  request.mutable_start()->set_drop_oldest(stream.drop_oldest);
  stream_->Write(request);  // a failure is what Next finds
}

FrameStream::Call::~Call() {
  if (status_) return;
  context_.TryCancel();
  for (v1::RestoreStreamResponse ignored; stream_->Read(&ignored);) continue;
  stream_->Finish();
}

bool FrameStream::Call::TakeRoom() {
  const MutexLock lock(mutex_);
  while (under_way_ >= room_ && !over_ && !*wishes_.stop) changed_.WaitFor(mutex_, kTurn);
  if (over_ || *wishes_.stop) return false;
  ++under_way_;
  return true;
}

bool FrameStream::Call::Push(Bytes image, int64_t id) {
  if (closed_) Throw(absl::FailedPreconditionError("Push after Close"));
  if (!TakeRoom()) return false;
  v1::RestoreStreamRequest request;
  request.mutable_frame()->set_id(id);
  request.mutable_frame()->set_image(std::string(image.view()));
  return stream_->Write(request);
}

bool FrameStream::Call::HasRoom() const {
  const MutexLock lock(mutex_);
  return under_way_ < room_ || over_ || *wishes_.stop;
}

void FrameStream::Call::Close() {
  if (!std::exchange(closed_, true)) stream_->WritesDone();
}

std::optional<FrameResult> FrameStream::Call::Next() {
  v1::RestoreStreamResponse response;
  if (!status_ && stream_->Read(&response)) {
    const MutexLock lock(mutex_);
    if (under_way_ > 0) --under_way_;
    changed_.NotifyAll();
    return ToFrameResult(std::move(response), wishes_.request_id);
  }
  if (!status_) {
    status_ = stream_->Finish();
    const MutexLock lock(mutex_);
    over_ = true;
    changed_.NotifyAll();
  }
  if (!status_->ok()) Throw(*link_, wishes_, *status_);
  return std::nullopt;
}

void FrameStream::Call::Cancel() {
  context_.TryCancel();
  const MutexLock lock(mutex_);
  over_ = true;
  changed_.NotifyAll();
}

FrameStream::FrameStream(std::unique_ptr<Call> call) : call_(std::move(call)) {}
FrameStream::FrameStream(FrameStream&&) noexcept = default;
FrameStream& FrameStream::operator=(FrameStream&&) noexcept = default;
FrameStream::~FrameStream() = default;

bool FrameStream::Push(Bytes image, std::int64_t id) { return call_->Push(image, id); }
bool FrameStream::HasRoom() const { return call_->HasRoom(); }
void FrameStream::Close() { call_->Close(); }
std::optional<FrameResult> FrameStream::Next() { return call_->Next(); }
void FrameStream::Cancel() noexcept { call_->Cancel(); }

}  // namespace deweather
