// One picture, however large, with as many attempts as may help.

#ifndef DEWEATHER_CLIENT_RESTORE_PICTURE_H_
#define DEWEATHER_CLIENT_RESTORE_PICTURE_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <atomic>
#include <functional>
#include <string>

#include "absl/time/time.h"
#include "deweather/v1/restoration.grpc.pb.h"

namespace deweather {

// What all attempts share.
struct PictureCall {
  absl::Time deadline = absl::InfiniteFuture();
  std::string request_id;
  const std::atomic<bool>* stop =
      nullptr;          // once true the call ends, CANCELLED; null: nobody stops it
  bool repeats = true;  // else there is one attempt
};

// Calls `attempt`, again after UNAVAILABLE: a picture that a draining server refused goes to the next one; one that
// was lost with its server is sent once more and not again, as it may be what the server died of. Each attempt has a
// context of its own, with the call's deadline and id.
grpc::Status AttemptPicture(const PictureCall& call,
                            const std::function<grpc::Status(grpc::ClientContext&)>& attempt);

// In one message, or in chunks if it is large or the server takes no such message. Only then there is progress.
grpc::Status RestorePicture(v1::RestorationService::StubInterface& stub, const PictureCall& call,
                            const v1::RestoreRequest& request,
                            const std::function<void(int done, int tiles)>& on_progress,
                            v1::RestoreResponse* response);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_RESTORE_PICTURE_H_
