#include "server/rpc/large_call.h"

#include <algorithm>
#include <memory>
#include <new>
#include <utility>

#include "absl/strings/str_format.h"
#include "model/base/error_reason.h"
#include "model/base/status_macros.h"
#include "server/rpc/convert.h"

namespace deweather {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 20;

// An upload that stands still holds this much more than what has come.
constexpr int64_t kStepBytes = int64_t{16} << 20;

// Or the rest of the picture: less within the idle limit is idleness.
constexpr int64_t kProgressBytes = int64_t{64} << 10;

absl::Status Wrong(const char* reason, std::string message) {
  return WithReason(absl::InvalidArgumentError(message), reason);
}

}  // namespace

void LargeCall::OnMessage(v1::RestoreLargeRequest message) {
  absl::Status status;
  switch (message.part_case()) {
    case v1::RestoreLargeRequest::kStart:
      status = OnStart(message.start());
      break;
    case v1::RestoreLargeRequest::kChunk:
      status = OnChunk(message.chunk());
      break;
    default:
      status = Wrong("MESSAGE_OUT_OF_ORDER", "a message holds neither a start nor a chunk");
  }
  if (!status.ok()) return End(status);
  message.Clear();
  Read();
}

absl::Status LargeCall::OnStart(const v1::RestoreLargeRequest::Start& start) {
  if (phase_ != Phase::kOpen) {
    return Wrong("MESSAGE_OUT_OF_ORDER", "a second start; only chunks follow the first one");
  }
  Moved();
  DW_ASSIGN_OR_RETURN(options_, ToOptions(start.options()));
  DW_RETURN_IF_ERROR(parts_.pipeline.CheckOptions(options_));
  const int64_t limit = parts_.limits.max_large_bytes;
  image_bytes_ = start.image_bytes();
  if (image_bytes_ < 1 || image_bytes_ > limit) {
    return Wrong("PICTURE_SIZE",
                 absl::StrFormat("image_bytes is %d; it must be in 1..%d", image_bytes_, limit));
  }
  phase_ = Phase::kUploading;
  DW_RETURN_IF_ERROR(Reserve(0));
  return MakeSpace();
}

// Room for the bytes that have come and for those of the next step.
absl::Status LargeCall::Reserve(int64_t arrived) {
  const int64_t wanted = std::min(image_bytes_, (arrived / kStepBytes + 1) * kStepBytes);
  if (wanted == room_bytes_) return absl::OkStatus();
  absl::StatusOr<Reservation> room = parts_.pipeline.Reserve(caller(), wanted, std::move(room_));
  counted_ = !room.ok();
  DW_RETURN_IF_ERROR(room.status());
  room_ = *std::move(room);
  room_bytes_ = wanted;
  return absl::OkStatus();
}

absl::Status LargeCall::MakeSpace() {
  try {
    image_.reserve(static_cast<size_t>(image_bytes_));  // address space; memory comes with chunks
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("out of memory for a picture of %d bytes", image_bytes_));
  }
  return absl::OkStatus();
}

absl::Status LargeCall::OnChunk(const v1::Chunk& chunk) {
  DW_RETURN_IF_ERROR(CheckChunk(chunk));
  const int64_t arrived = chunk.offset() + static_cast<int64_t>(chunk.data().size());
  DW_RETURN_IF_ERROR(Reserve(arrived));
  image_ += chunk.data();
  if (arrived - moved_bytes_ >= kProgressBytes || arrived == image_bytes_) {
    moved_bytes_ = arrived;
    Moved();
  }
  if (arrived == image_bytes_) Restore();
  return absl::OkStatus();
}

absl::Status LargeCall::CheckChunk(const v1::Chunk& chunk) const {
  const char* const reason = "CHUNK_OUT_OF_ORDER";
  if (phase_ == Phase::kOpen) {
    return Wrong("MESSAGE_OUT_OF_ORDER", "a chunk before the start, which comes first");
  }
  const auto expected =
      phase_ == Phase::kUploading ? static_cast<int64_t>(image_.size()) : image_bytes_;
  const auto bytes = static_cast<int64_t>(chunk.data().size());
  if (bytes == 0) {
    return Wrong(reason,
                 absl::StrFormat("the chunk at offset %d is empty; it must hold 1 byte or more",
                                 chunk.offset()));
  }
  if (chunk.offset() != expected) {
    return Wrong(reason, absl::StrFormat("a chunk of %d bytes at offset %d; the next offset is %d",
                                         bytes, chunk.offset(), expected));
  }
  if (bytes > image_bytes_ - expected) {
    return Wrong(reason, absl::StrFormat("a chunk of %d bytes at offset %d; image_bytes is %d",
                                         bytes, chunk.offset(), image_bytes_));
  }
  return absl::OkStatus();
}

RestoreRequest LargeCall::MakeWork() {
  RestoreRequest work;
  work.image = std::move(image_);
  work.options = std::move(options_);
  work.deadline = deadline();
  work.caller = caller();
  work.reservation = std::move(room_);
  work.max_map_bytes = parts_.limits.max_send_bytes;  // the picture goes in chunks
  work.cancel = cancelled();
  work.cancel_cause = cause_;
  const std::weak_ptr<LargeCall> weak = std::static_pointer_cast<LargeCall>(shared_from_this());
  work.progress = [weak](int done, int total) {
    const std::shared_ptr<LargeCall> call = weak.lock();
    if (call == nullptr) return;
    call->Post([raw = call.get(), done, total] { raw->OnProgress(done, total); });
  };
  return work;
}

void LargeCall::Restore() {
  phase_ = Phase::kRestoring;
  counted_ = true;
  RestoreRequest work = MakeWork();
  const auto unread = parts_.unread.TakeFor(work);
  const std::weak_ptr<LargeCall> weak = std::static_pointer_cast<LargeCall>(shared_from_this());
  auto done = [weak, unread](absl::StatusOr<RestoreResult> result) {
    const std::shared_ptr<LargeCall> call = weak.lock();
    if (call == nullptr) return;
    call->Post([raw = call.get(), unread, result = std::move(result)]() mutable {
      raw->OnResult(std::move(result), std::move(*unread));
    });
  };
  parts_.pipeline.Start(std::move(work), std::move(done));
}

const char* LargeCall::silence() const {
  return phase_ == Phase::kUploading ? "less than 65536 bytes of the picture have come"
                                     : StreamingCall::silence();
}

void LargeCall::OnHalfClose() {
  if (phase_ == Phase::kRestoring || phase_ == Phase::kDownloading) return;
  End(Wrong("PICTURE_INCOMPLETE",
            phase_ == Phase::kOpen
                ? std::string("the call was closed without a start")
                : absl::StrFormat("the call was closed after %d bytes of image_bytes %d",
                                  image_.size(), image_bytes_)));
}

// What has begun is finished.
void LargeCall::OnDrain() {
  if (phase_ == Phase::kOpen) End(Draining());
}

void LargeCall::OnEnd(const absl::Status& status) {
  if (!counted_) parts_.pipeline.CountRefused(status);
  if (!status.ok()) *cause_ = status;
  room_.reset();
  image_ = std::string();
  reply_ = std::string();
  progress_.reset();
  summary_.reset();
  unread_.reset();
}

void LargeCall::OnProgress(int done, int total) {
  if (ended()) return;
  Moved();
  progress_.emplace();
  progress_->mutable_progress()->set_tiles_done(done);
  progress_->mutable_progress()->set_tiles(total);
  WriteNext();
}

void LargeCall::OnResult(absl::StatusOr<RestoreResult> result, UnreadReplies::Share unread) {
  if (ended()) return;
  Moved();
  if (!result.ok()) return End(result.status());
  unread_ = std::move(unread);
  phase_ = Phase::kDownloading;
  figures().Add(*result);
  reply_ = std::move(result->image);
  v1::RestoreLargeResponse::Summary& summary = *summary_.emplace().mutable_summary();
  summary.set_image_bytes(static_cast<int64_t>(reply_.size()));
  ToMessage(*std::move(result), summary.mutable_response());
  summary.mutable_response()->clear_image();
  WriteNext();
}

void LargeCall::WriteNext() {
  if (ended() || writing()) return;
  if (progress_.has_value()) {
    Write(*std::exchange(progress_, std::nullopt));
  } else if (summary_.has_value()) {
    Write(*std::exchange(summary_, std::nullopt));
  } else if (phase_ == Phase::kDownloading) {
    WriteChunk();
  }
}

void LargeCall::WriteChunk() {
  if (sent_ == reply_.size()) return End(absl::OkStatus());
  v1::RestoreLargeResponse response;
  response.mutable_chunk()->set_offset(static_cast<int64_t>(sent_));
  response.mutable_chunk()->set_data(reply_.substr(sent_, kChunkBytes));
  sent_ = std::min(reply_.size(), sent_ + kChunkBytes);
  Write(std::move(response));
}

}  // namespace deweather
