// One picture by RestoreLarge: sent and received in chunks, so no limit of a message holds.

#ifndef DEWEATHER_CLIENT_RESTORE_LARGE_H_
#define DEWEATHER_CLIENT_RESTORE_LARGE_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "deweather/v1/restoration.grpc.pb.h"

namespace deweather {

// Where a picture's file comes from and where the restored one goes, piece by piece. An error of either ends the
// call, as FAILED_PRECONDITION or RESOURCE_EXHAUSTED with its message.
struct PictureEnds {
  int64_t image_bytes = 0;  // of the whole file
  std::function<absl::StatusOr<std::string>(int64_t offset, size_t most)> read;
  std::function<absl::Status(std::string_view piece)> write;
  std::function<void(int done, int tiles)> on_progress = [](int, int) {};
};

// Fills `response` as Restore does, but for its image, which goes to `ends`.
grpc::Status RestoreLarge(v1::RestorationService::StubInterface& stub, grpc::ClientContext& context,
                          const v1::RestoreOptions& options, const PictureEnds& ends,
                          v1::RestoreResponse* response);

// The same in memory: with its image.
grpc::Status RestoreLarge(v1::RestorationService::StubInterface& stub, grpc::ClientContext& context,
                          const v1::RestoreOptions& options, const std::string& image,
                          const std::function<void(int done, int tiles)>& on_progress,
                          v1::RestoreResponse* response);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_RESTORE_LARGE_H_
