// Picture files in, picture files out: JPEG, PNG, WebP, TIFF and BMP.
// No decoder sees bytes whose magic number it does not own, and no pixel is allocated before the
// dimensions have been held against the limit.
//
// Owns     nothing
// Threads  thread-safe: pure functions
// Errors   INVALID_ARGUMENT not a picture, unsupported, over a limit, or not expressible in the
//          wanted format; RESOURCE_EXHAUSTED out of memory; never throws
// Cost     decoding holds one copy of the pixels, two while a quarter turn (orientation 5..8) is
//          applied; encoding adds the file and, for WebP, libwebp's own 4 bytes per pixel

#ifndef DEWEATHER_MODEL_IMAGE_CODEC_H_
#define DEWEATHER_MODEL_IMAGE_CODEC_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "model/image/image.h"

namespace deweather {

struct DecodeLimits {
  int64_t max_pixels = 200'000'000;
};

enum class MetadataPolicy {
  kPreserve,  // EXIF (orientation 1, no thumbnail) and ICC profile go into the file, if it can
  kStrip,     // neither; pixels of another colour space are converted to sRGB first
};

// What a file will decode to; width and height are those after EXIF orientation.
struct ImageInfo {
  ImageFormat format = ImageFormat::kPng;
  int width = 0;
  int height = 0;
  int channels = 0;
  int bytes_per_sample = 1;

  int64_t DecodedBytes() const {
    return static_cast<int64_t>(width) * height * channels * bytes_per_sample;
  }
};

// "jpeg" or "jpg", "png", "webp", "tiff" or "tif", "bmp", in any case; also for file extensions.
absl::StatusOr<ImageFormat> ParseImageFormat(std::string_view name);

// "jpeg", "png", "webp", "tiff", "bmp".
std::string_view ImageFormatName(ImageFormat format);

// Reads headers only.
absl::StatusOr<ImageInfo> ReadImageInfo(std::string_view bytes, const DecodeLimits& limits);

// A damaged or truncated file is an error, never half a picture. Palettes become RGB, grey of less
// than 8 bits becomes 8, premultiplied alpha becomes straight.
absl::StatusOr<Image> DecodeImage(std::string_view bytes, const DecodeLimits& limits);

struct EncodeOptions {
  std::optional<ImageFormat> format = std::nullopt;  // default: the image's own
  int quality = 0;  // 1..100 for JPEG and WebP (then lossy); 0: as the input's, else 95 (JPEG) or
                    // 90 (lossy WebP), and a picture that was lossless becomes a lossless WebP
  MetadataPolicy metadata = MetadataPolicy::kPreserve;
};

// What a format cannot hold: alpha in a JPEG, a side over the format's limit (JPEG 65535, WebP
// 16383) and EXIF over a JPEG's 64 KiB are errors; 16-bit samples are rounded to 8 bits for JPEG,
// WebP and BMP; BMP keeps no EXIF; a grey picture becomes an RGB WebP.
absl::StatusOr<std::string> EncodeImage(const Image& image, const EncodeOptions& options);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_IMAGE_CODEC_H_
