#include "client/restore_large.h"

#include <memory>
#include <utility>

#include "absl/strings/str_format.h"

namespace deweather {
namespace {

using Stream = grpc::ClientReaderWriterInterface<v1::RestoreLargeRequest, v1::RestoreLargeResponse>;

// Passes where a server takes messages of no more than 1 MiB.
constexpr size_t kChunkBytes = size_t{256} << 10;

// Of our side: a code that never stands for a server that is away.
grpc::Status OfOurs(const absl::Status& status) {
  return {absl::IsResourceExhausted(status) ? grpc::StatusCode::RESOURCE_EXHAUSTED
                                            : grpc::StatusCode::FAILED_PRECONDITION,
          std::string(status.message())};
}

// A server that has answered already takes no more: its answer comes with the end of the call.
absl::Status Send(Stream& stream, const v1::RestoreOptions& options, const PictureEnds& ends) {
  v1::RestoreLargeRequest request;
  *request.mutable_start()->mutable_options() = options;
  request.mutable_start()->set_image_bytes(ends.image_bytes);
  bool taken = stream.Write(request);
  for (int64_t offset = 0; taken && offset < ends.image_bytes;) {
    absl::StatusOr<std::string> piece = ends.read(offset, kChunkBytes);
    if (!piece.ok()) return piece.status();
    if (piece->empty()) {
      return absl::FailedPreconditionError(
          absl::StrFormat("the picture has %d bytes, not %d any more", offset, ends.image_bytes));
    }
    request.mutable_chunk()->set_offset(offset);
    offset += static_cast<int64_t>(piece->size());
    request.mutable_chunk()->set_data(*std::move(piece));
    taken = stream.Write(request);
  }
  if (taken) stream.WritesDone();
  return absl::OkStatus();
}

// Until the server says no more.
absl::Status Receive(Stream& stream, const PictureEnds& ends, v1::RestoreResponse* response,
                     int64_t* missing) {
  v1::RestoreLargeResponse part;
  while (stream.Read(&part)) {
    if (part.has_progress()) {
      ends.on_progress(part.progress().tiles_done(), part.progress().tiles());
    }
    if (part.has_summary()) {
      *missing += part.summary().image_bytes();
      *response = std::move(*part.mutable_summary()->mutable_response());
    }
    if (!part.has_chunk()) continue;
    *missing -= static_cast<int64_t>(part.chunk().data().size());
    const absl::Status written = ends.write(part.chunk().data());
    if (!written.ok()) return written;
  }
  return absl::OkStatus();
}

}  // namespace

grpc::Status RestoreLarge(v1::RestorationService::StubInterface& stub, grpc::ClientContext& context,
                          const v1::RestoreOptions& options, const PictureEnds& ends,
                          v1::RestoreResponse* response) {
  const std::unique_ptr<Stream> stream = stub.RestoreLarge(&context);
  int64_t missing = 0;
  absl::Status ours = Send(*stream, options, ends);
  if (ours.ok()) ours = Receive(*stream, ends, response, &missing);
  if (!ours.ok()) context.TryCancel();
  const grpc::Status status = stream->Finish();
  if (!ours.ok()) return OfOurs(ours);
  if (!status.ok() || missing == 0) return status;
  return {grpc::StatusCode::DATA_LOSS,
          absl::StrFormat("the server sent %d bytes less than the picture has", missing)};
}

grpc::Status RestoreLarge(v1::RestorationService::StubInterface& stub, grpc::ClientContext& context,
                          const v1::RestoreOptions& options, const std::string& image,
                          const std::function<void(int done, int tiles)>& on_progress,
                          v1::RestoreResponse* response) {
  std::string restored;
  PictureEnds ends;
  ends.image_bytes = static_cast<int64_t>(image.size());
  ends.read = [&](int64_t offset, size_t most) {
    return image.substr(static_cast<size_t>(offset), most);
  };
  ends.write = [&](std::string_view piece) {
    restored += piece;
    return absl::OkStatus();
  };
  ends.on_progress = on_progress;
  const grpc::Status status = RestoreLarge(stub, context, options, ends, response);
  response->set_image(std::move(restored));
  return status;
}

}  // namespace deweather
