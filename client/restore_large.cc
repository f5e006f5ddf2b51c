#include "client/restore_large.h"

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/strings/str_format.h"
#include "client/transfer.h"

namespace deweather {
namespace {

using Stream = grpc::ClientReaderWriterInterface<v1::RestoreLargeRequest, v1::RestoreLargeResponse>;

// A server that has answered already takes no more: its answer comes with the end of the call.
void Send(Stream& stream, const v1::RestoreOptions& options, const std::string& image) {
  v1::RestoreLargeRequest request;
  *request.mutable_start()->mutable_options() = options;
  request.mutable_start()->set_image_bytes(static_cast<int64_t>(image.size()));
  int64_t offset = 0;
  const auto send = [&](std::string_view piece) {
    request.mutable_chunk()->set_offset(offset);
    request.mutable_chunk()->set_data(std::string(piece));
    offset += static_cast<int64_t>(piece.size());
    return stream.Write(request);
  };
  if (stream.Write(request) && SendInChunks(image, send)) stream.WritesDone();
}

}  // namespace

grpc::Status RestoreLarge(v1::RestorationService::StubInterface& stub, grpc::ClientContext& context,
                          const v1::RestoreOptions& options, const std::string& image,
                          const std::function<void(int done, int tiles)>& on_progress,
                          v1::RestoreResponse* response) {
  const std::unique_ptr<Stream> stream = stub.RestoreLarge(&context);
  Send(*stream, options, image);
  std::string restored;
  int64_t expected = 0;
  v1::RestoreLargeResponse part;
  while (stream->Read(&part)) {
    if (part.has_progress()) on_progress(part.progress().tiles_done(), part.progress().tiles());
    if (part.has_chunk()) restored += part.chunk().data();
    if (!part.has_summary()) continue;
    expected = part.summary().image_bytes();
    *response = std::move(*part.mutable_summary()->mutable_response());
  }
  const grpc::Status status = stream->Finish();
  const auto bytes = static_cast<int64_t>(restored.size());
  response->set_image(std::move(restored));
  if (!status.ok() || bytes == expected) return status;
  return {grpc::StatusCode::DATA_LOSS,
          absl::StrFormat("the server sent %d bytes of a picture of %d", bytes, expected)};
}

}  // namespace deweather
