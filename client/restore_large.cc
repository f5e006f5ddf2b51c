#include "client/restore_large.h"

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/strings/str_format.h"

namespace deweather {
namespace {

using Stream = grpc::ClientReaderWriterInterface<v1::RestoreLargeRequest, v1::RestoreLargeResponse>;

// Passes where a server takes messages of no more than 1 MiB.
constexpr size_t kChunkBytes = size_t{256} << 10;

// A server that has answered already takes no more: its answer comes with the end of the call.
void Send(Stream& stream, const v1::RestoreOptions& options, const std::string& image) {
  v1::RestoreLargeRequest request;
  *request.mutable_start()->mutable_options() = options;
  request.mutable_start()->set_image_bytes(static_cast<int64_t>(image.size()));
  bool taken = stream.Write(request);
  for (size_t at = 0; taken && at < image.size(); at += kChunkBytes) {
    request.mutable_chunk()->set_offset(static_cast<int64_t>(at));
    request.mutable_chunk()->set_data(image.substr(at, kChunkBytes));
    taken = stream.Write(request);
  }
  if (taken) stream.WritesDone();
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
