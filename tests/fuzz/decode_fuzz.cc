// libFuzzer entry: any bytes into the picture decoders, and what they decode back out again.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "model/image/codec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const deweather::DecodeLimits limits = {.max_pixels = 1 << 16};
  (void)deweather::ReadImageInfo(bytes, limits);
  const absl::StatusOr<deweather::Image> image = deweather::DecodeImage(bytes, limits);
  if (image.ok()) {
    (void)deweather::EncodeImage(*image, {});
    (void)deweather::EncodeImage(*image, {.format = deweather::ImageFormat::kTiff});
    (void)deweather::EncodeImage(*image, {.metadata = deweather::MetadataPolicy::kStrip});
  }
  return 0;
}
