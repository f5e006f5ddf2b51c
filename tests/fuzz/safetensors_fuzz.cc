// libFuzzer entry: any bytes as a safetensors file, each of its tensors, and as a checkpoint of ours or
// of the authors.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "model/checkpoint.h"
#include "model/import.h"
#include "model/safetensors.h"
#include "model/torch_errors.h"

namespace deweather {
namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

// What was read can be written, and reads the same.
void CheckRoundTrip(const Safetensors& content) {
  const std::string written = SerializeSafetensors(content);
  const absl::StatusOr<Safetensors> again = ParseSafetensors(written);
  Require(again.ok());
  Require(again->metadata.size() == content.metadata.size());
  Require(again->tensors.size() == content.tensors.size());
  for (const auto& [name, view] : content.tensors) {
    const auto found = again->tensors.find(name);
    Require(found != again->tensors.end());
    Require(found->second.shape == view.shape && found->second.bytes == view.bytes);
  }
}

void Read(std::string_view file) {
  const absl::StatusOr<Safetensors> content = ParseSafetensors(file);
  if (!content.ok()) return;
  CheckRoundTrip(*content);
  (void)ConfigFromMetadata(content->metadata);
  for (const auto& [name, view] : content->tensors) {
    (void)CatchTorch("tensor", [&] { return ToTensor(name, view); });
  }
  (void)ParseCheckpoint(file);
  (void)ImportAuthors(*content);
}

}  // namespace
}  // namespace deweather

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  deweather::Read({reinterpret_cast<const char*>(data), size});
  return 0;
}
