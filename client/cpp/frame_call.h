// The call behind a FrameStream.

#ifndef DEWEATHER_CLIENT_CPP_FRAME_CALL_H_
#define DEWEATHER_CLIENT_CPP_FRAME_CALL_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>
#include <grpcpp/support/sync_stream.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "client/cpp/link.h"
#include "deweather/frame_stream.h"
#include "deweather/v1/restoration.grpc.pb.h"
#include "model/base/mutex.h"

namespace deweather {

// Threads  Push, Close: one; Next: one, maybe another; Cancel, HasRoom: any
// A member of an exported class, and not exported itself.
class __attribute__((visibility("hidden"))) FrameStream::Call {
 public:
  // Begins the call. Throws kInvalidArgument.
  Call(std::shared_ptr<const Link> link, const CallOptions& call, const v1::RestoreOptions& options,
       const StreamOptions& stream);
  ~Call();

  bool Push(Bytes image, int64_t id);
  bool HasRoom() const;
  void Close();
  std::optional<FrameResult> Next();
  void Cancel();

 private:
  using Stream = grpc::ClientReaderWriter<v1::RestoreStreamRequest, v1::RestoreStreamResponse>;

  // Waits; false: the call is over.
  bool TakeRoom();

  const std::shared_ptr<const Link> link_;
  const CallWishes wishes_;
  const size_t room_;  // frames whose results are not read
  grpc::ClientContext context_;
  const std::unique_ptr<Stream> stream_;
  std::jthread canceller_;

  mutable Mutex mutex_;
  CondVar changed_;
  size_t under_way_ ABSL_GUARDED_BY(mutex_) = 0;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;

  bool closed_ = false;                 // Push's and Close's
  std::optional<grpc::Status> status_;  // Next's: the call's, once it has ended
};

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_CPP_FRAME_CALL_H_
