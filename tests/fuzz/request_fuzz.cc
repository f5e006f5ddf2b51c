// libFuzzer entry: any bytes as each kind of request; its options as the pipeline sees them, or the
// error that answers it.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "deweather/v1/restoration.pb.h"
#include "server/rpc/convert.h"

namespace deweather {
namespace {

void Convert(const v1::RestoreOptions& message) {
  const absl::StatusOr<RestoreOptions> options = ToOptions(message);
  if (options.ok()) return;
  v1::FrameError error;
  ToMessage(options.status(), &error);
  if (error.reason() != "INVALID_OPTION") std::abort();
  (void)error.SerializeAsString();
}

template <typename Request>
bool Parse(std::string_view bytes, Request& request) {
  return request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

void Read(std::string_view bytes) {
  v1::RestoreRequest whole;
  if (Parse(bytes, whole)) Convert(whole.options());
  v1::RestoreLargeRequest large;
  if (Parse(bytes, large)) Convert(large.start().options());
  v1::RestoreStreamRequest stream;
  if (Parse(bytes, stream)) Convert(stream.start().options());
}

}  // namespace
}  // namespace deweather

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  deweather::Read({reinterpret_cast<const char*>(data), size});
  return 0;
}
