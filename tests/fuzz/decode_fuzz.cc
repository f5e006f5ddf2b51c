// libFuzzer entry: any bytes into the picture decoders, and what they decode back out again.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "model/image/codec.h"
#include "tests/image/foreign_files.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

// Every other PNG gets right checksums: else libpng reads no further than the first changed chunk.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (seed % 2 != 0 || !bytes.starts_with("\x89PNG")) return size;
  const std::string repaired = deweather::RepairChecksums(std::string(bytes));
  std::copy(repaired.begin(), repaired.end(), data);
  return repaired.size();
}

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
