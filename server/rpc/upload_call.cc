#include "server/rpc/upload_call.h"

#include <utility>

#include "absl/time/clock.h"
#include "model/base/error_reason.h"
#include "model/base/status_macros.h"
#include "server/rpc/training_convert.h"

namespace deweather {
namespace {

absl::Status OutOfOrder(const char* message) {
  return WithReason(absl::InvalidArgumentError(message), "MESSAGE_OUT_OF_ORDER");
}

}  // namespace

absl::Status UploadCall::Take(v1::UploadDatasetRequest message) {
  switch (message.part_case()) {
    case v1::UploadDatasetRequest::kStart:
      return OnStart(message.start());
    case v1::UploadDatasetRequest::kFile:
      return OnFile(message.file());
    case v1::UploadDatasetRequest::kChunk:
      return OnChunk(message.chunk());
    default:
      return OutOfOrder("a message holds neither a start, nor a file, nor a chunk");
  }
}

absl::Status UploadCall::OnStart(const v1::UploadDatasetRequest::Start& start) {
  if (upload_.has_value()) return OutOfOrder("a second start; only files follow the first one");
  DW_ASSIGN_OR_RETURN(const DatasetKind kind, ToKind(start.kind()));
  DW_ASSIGN_OR_RETURN(DatasetUpload upload, training_.datasets.BeginUpload(start.name(), kind));
  upload_.emplace(std::move(upload));
  return absl::OkStatus();
}

absl::Status UploadCall::OnFile(const v1::UploadDatasetRequest::File& file) {
  if (!upload_.has_value()) return OutOfOrder("a file before the start");
  in_file_ = true;
  return upload_->BeginFile(file.path(), file.bytes(), file.sha256());
}

absl::Status UploadCall::OnChunk(const std::string& chunk) {
  if (!in_file_) return OutOfOrder("a chunk before the first file");
  return upload_->Append(chunk);
}

absl::StatusOr<v1::Dataset> UploadCall::Complete() {
  if (!upload_.has_value()) return OutOfOrder("the call was closed without a start");
  DW_ASSIGN_OR_RETURN(const Dataset dataset, upload_->Commit(absl::Now()));
  return ToMessage(dataset);
}

}  // namespace deweather
