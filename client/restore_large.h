// One picture by RestoreLarge: sent and received in chunks, so no limit of a message holds.

#ifndef DEWEATHER_CLIENT_RESTORE_LARGE_H_
#define DEWEATHER_CLIENT_RESTORE_LARGE_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <functional>
#include <string>

#include "deweather/v1/restoration.grpc.pb.h"

namespace deweather {

// Fills `response` as Restore does, its image too. `on_progress` is told tiles done and in all.
grpc::Status RestoreLarge(v1::RestorationService::StubInterface& stub, grpc::ClientContext& context,
                          const v1::RestoreOptions& options, const std::string& image,
                          const std::function<void(int done, int tiles)>& on_progress,
                          v1::RestoreResponse* response);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_RESTORE_LARGE_H_
