// DownloadArtifact: a file of a job, chunk by chunk, from any byte on.
// The file stays open: one that is replaced meanwhile is sent as it was, and so much of one that grows as
// was there when the call began.

#ifndef DEWEATHER_SERVER_RPC_DOWNLOAD_CALL_H_
#define DEWEATHER_SERVER_RPC_DOWNLOAD_CALL_H_

#include <utility>

#include "deweather/v1/training.grpc.pb.h"
#include "server/rpc/job_requests.h"
#include "server/rpc/write_call.h"

namespace deweather {

class DownloadCall final : public WriteCall<v1::DownloadArtifactRequest, v1::ArtifactChunk> {
 public:
  DownloadCall(CallParts& parts, const TrainingParts& training, WorkerPool& workers,
               grpc::CallbackServerContext& context, Arrival arrival)
      : WriteCall(parts, workers, context, std::move(arrival)), training_(training) {}
  ~DownloadCall() override;

 private:
  void Begin() override { offset_ = request().offset(); }
  absl::StatusOr<Page> Find() override { return file_ < 0 ? FindFirst() : FindNext(); }
  // The whole file is hashed first.
  TaskOrder order() const override { return file_ < 0 ? TaskOrder::kLong : TaskOrder::kSecond; }

  absl::StatusOr<Page> FindFirst();
  absl::StatusOr<Page> FindNext();
  absl::Status OpenFile();
  absl::StatusOr<std::string> Hash() const;
  absl::StatusOr<std::string> Read(int64_t offset) const;

  const TrainingParts& training_;
  // Find's own.
  int file_ = -1;
  int64_t bytes_ = 0;   // of the file
  int64_t offset_ = 0;  // of what is sent next
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_DOWNLOAD_CALL_H_
