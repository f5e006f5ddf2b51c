#include "client/fetch.h"

#include <grpcpp/client_context.h>

#include <chrono>
#include <string>
#include <thread>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "client/call_headers.h"
#include "client/stop_signal.h"

namespace deweather {
namespace {

using StubInterface = v1::TrainingService::StubInterface;

// Of one file that changes while it is fetched, as a log does.
constexpr int kMostRestarts = 5;

// An error of our own disk, in a code that never stands for a broken connection or a changed file.
grpc::Status OfDisk(const absl::Status& status) {
  return {absl::IsResourceExhausted(status) ? grpc::StatusCode::RESOURCE_EXHAUSTED
                                            : grpc::StatusCode::FAILED_PRECONDITION,
          std::string(status.message())};
}

// The file that `part` begins is not the server's any more.
bool HasChanged(const grpc::Status& status, const PartFile& part) {
  return status.error_code() == grpc::StatusCode::ABORTED ||
         (status.error_code() == grpc::StatusCode::INVALID_ARGUMENT && part.bytes() > 0);
}

// The server's first message: `part` is the beginning of that file from now on.
absl::Status BeginWith(const v1::ArtifactChunk& chunk, PartFile* part) {
  if (chunk.offset() != part->bytes() || chunk.sha256().size() != kSha256Digits) {
    return absl::DataLossError(
        absl::StrFormat("bytes from %d of a file of SHA-256 '%s' came, not from %d", chunk.offset(),
                        chunk.sha256(), part->bytes()));
  }
  return part->sha256() == chunk.sha256() ? absl::OkStatus() : part->Restart(chunk.sha256());
}

// How long a piece has been waited for. A machine that slept did not wait.
//
// Threads  thread-safe
class Wait {
 public:
  template <typename Reader>
  bool Read(Reader& stream, v1::ArtifactChunk* chunk) {
    since_ = Clock::now();
    const bool read = stream.Read(chunk);
    since_ = Clock::time_point::max();
    return read;
  }

  // From then on always.
  bool IsLonger(absl::Duration most) {
    if (Clock::now() - since_.load() > absl::ToChronoNanoseconds(most)) too_long_ = true;
    return too_long_;
  }

  bool too_long() const { return too_long_; }

 private:
  using Clock = std::chrono::steady_clock;

  std::atomic<Clock::time_point> since_ = Clock::time_point::max();
  std::atomic<bool> too_long_ = false;
};

// One call, from where `part` ends.
grpc::Status FetchRest(StubInterface& stub, const RetryOptions& retry,
                       const std::atomic<bool>& stop, v1::DownloadArtifactRequest& request,
                       Backoff& backoff, const std::function<void(int64_t, int64_t)>& on_piece,
                       PartFile* part) {
  request.set_offset(part->bytes());
  request.set_sha256(part->sha256());
  grpc::ClientContext context;
  SetRequestId(retry.request_id, context);
  Wait wait;
  const std::jthread canceller =
      CancelWhen([&] { return stop || wait.IsLonger(retry.patience); }, context);
  const auto stream = stub.DownloadArtifact(&context, request);
  int64_t total = -1;
  for (v1::ArtifactChunk chunk; wait.Read(*stream, &chunk);) {
    backoff.Answered();
    absl::Status status = total < 0 ? BeginWith(chunk, part) : absl::OkStatus();
    if (total < 0) total = chunk.bytes();
    if (status.ok()) status = part->Append(chunk.data());
    if (!status.ok()) {
      context.TryCancel();
      return OfDisk(status);
    }
    on_piece(part->bytes(), total);
  }
  const grpc::Status status = stream->Finish();
  if (wait.too_long() && !status.ok() && !stop) return backoff.Silent(retry.patience);
  if (!status.ok() || part->bytes() == total) return status;
  return {grpc::StatusCode::UNAVAILABLE, "the server sent less than the file"};
}

}  // namespace

grpc::Status Fetch(StubInterface& stub, const RetryOptions& retry, const std::atomic<bool>& stop,
                   v1::DownloadArtifactRequest request,
                   const std::function<void(int64_t, int64_t)>& on_piece, PartFile* part) {
  const auto attempt = [&](Backoff& backoff) {
    return FetchRest(stub, retry, stop, request, backoff, on_piece, part);
  };
  grpc::Status status = CallUntilAnswered(retry, stop, attempt);
  for (int i = 0; HasChanged(status, *part) && i < kMostRestarts; ++i) {
    part->Forget();
    status = CallUntilAnswered(retry, stop, attempt);
  }
  return status;
}

}  // namespace deweather
