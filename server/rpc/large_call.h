// RestoreLarge: one picture in chunks, both ways.
//
//   start → chunks → the pipeline, with progress → summary → chunks → OK
//
// Memory is that of the picture's file, which is reserved in steps, each before its bytes are read, then
// what the pipeline holds, then the restored file.
// Errors   see RestorationService.RestoreLarge

#ifndef DEWEATHER_SERVER_RPC_LARGE_CALL_H_
#define DEWEATHER_SERVER_RPC_LARGE_CALL_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "deweather/v1/restoration.grpc.pb.h"
#include "server/restore/restore.h"
#include "server/rpc/streaming_call.h"

namespace deweather {

class LargeCall final : public BidiCall<v1::RestoreLargeRequest, v1::RestoreLargeResponse> {
 public:
  LargeCall(RestorationParts& parts, grpc::CallbackServerContext& context, Arrival arrival)
      : BidiCall(parts, context, std::move(arrival)), parts_(parts) {}

 private:
  enum class Phase { kOpen, kUploading, kRestoring, kDownloading };

  void OnMessage(v1::RestoreLargeRequest message) override;
  void Reject(const absl::Status& status) override { End(status); }
  void OnHalfClose() override;
  void OnWritten() override { WriteNext(); }
  void OnDrain() override;
  void OnEnd(const absl::Status& status) override;
  bool working() const override { return phase_ == Phase::kRestoring; }
  const char* silence() const override;

  absl::Status OnStart(const v1::RestoreLargeRequest::Start& start);
  absl::Status Reserve(int64_t arrived);
  absl::Status MakeSpace();
  absl::Status OnChunk(const v1::Chunk& chunk);
  absl::Status CheckChunk(const v1::Chunk& chunk) const;
  RestoreRequest MakeWork();
  void Restore();
  void OnProgress(int done, int total);
  void OnResult(absl::StatusOr<RestoreResult> result, UnreadReplies::Share unread);
  void WriteNext();
  void WriteChunk();

  RestorationParts& parts_;
  Phase phase_ = Phase::kOpen;
  bool counted_ = false;  // the pipeline counts it
  RestoreOptions options_;
  Reservation room_;         // for the upload, as far as it has come and the next step
  int64_t room_bytes_ = 0;   // of it
  int64_t moved_bytes_ = 0;  // had come when the idle limit last started
  // What the request ends with where the call ends before it.
  const std::shared_ptr<absl::Status> cause_ = std::make_shared<absl::Status>();
  int64_t image_bytes_ = 0;
  std::string image_;                                 // as far as it has come
  std::optional<v1::RestoreLargeResponse> progress_;  // the newest, until it is sent
  std::optional<v1::RestoreLargeResponse> summary_;
  UnreadReplies::Share unread_;
  std::string reply_;
  size_t sent_ = 0;  // bytes of it
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_LARGE_CALL_H_
