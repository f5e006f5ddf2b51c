// UploadDataset: files one after the other into a data set that appears whole, or not at all.

#ifndef DEWEATHER_SERVER_RPC_UPLOAD_CALL_H_
#define DEWEATHER_SERVER_RPC_UPLOAD_CALL_H_

#include <optional>
#include <utility>

#include "deweather/v1/training.grpc.pb.h"
#include "server/rpc/job_requests.h"
#include "server/rpc/read_call.h"

namespace deweather {

class UploadCall final : public ReadCall<v1::UploadDatasetRequest, v1::Dataset> {
 public:
  UploadCall(CallParts& parts, const TrainingParts& training, WorkerPool& workers,
             grpc::CallbackServerContext& context, Arrival arrival, grpc::ByteBuffer* response)
      : ReadCall(parts, workers, context, std::move(arrival), response), training_(training) {}

 private:
  absl::Status Take(v1::UploadDatasetRequest message) override;
  absl::StatusOr<v1::Dataset> Complete() override;
  void Release() override { upload_.reset(); }

  absl::Status OnStart(const v1::UploadDatasetRequest::Start& start);
  absl::Status OnFile(const v1::UploadDatasetRequest::File& file);
  absl::Status OnChunk(const std::string& chunk);

  const TrainingParts& training_;
  // The workers' own.
  std::optional<DatasetUpload> upload_;  // from the start on
  bool in_file_ = false;                 // a file has begun
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_UPLOAD_CALL_H_
