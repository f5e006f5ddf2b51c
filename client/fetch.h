// A file of a job on its way here.

#ifndef DEWEATHER_CLIENT_FETCH_H_
#define DEWEATHER_CLIENT_FETCH_H_

#include <grpcpp/support/status.h>

#include <atomic>
#include <cstdint>
#include <functional>

#include "client/part_file.h"
#include "client/retry.h"
#include "deweather/v1/training.grpc.pb.h"

namespace deweather {

// Appends what `part` lacks of the file, and begins again if it has changed. `on_piece` is told
// bytes that are there and in all. A call that brings nothing for as long as the patience is ended.
grpc::Status Fetch(v1::TrainingService::StubInterface& stub, const RetryOptions& retry,
                   const std::atomic<bool>& stop, v1::DownloadArtifactRequest request,
                   const std::function<void(int64_t, int64_t)>& on_piece, PartFile* part);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_FETCH_H_
