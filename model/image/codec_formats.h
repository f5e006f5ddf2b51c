// What codec.cc asks of each format's file, codec_<format>.cc. Private to this folder.
//
// REQUIRES of every function: the bytes begin with the format's magic number; before a Decode, the
// header was read and its dimensions accepted.

#ifndef DEWEATHER_MODEL_IMAGE_CODEC_FORMATS_H_
#define DEWEATHER_MODEL_IMAGE_CODEC_FORMATS_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "model/image/codec.h"
#include "model/image/image.h"
#include "model/image/pixel_rows.h"

namespace deweather {

struct Header {
  ImageInfo info;  // as stored, before orientation
  int orientation = 1;
  double least_bits_per_pixel = 0;  // a file with fewer cannot hold what it claims
};

struct Decoded {
  Image image;  // as stored, EXIF as in the file
  int orientation = 1;
};

// A picture on its way into a file: depth, channels, profile and EXIF already fit the format.
struct EncodeSource {
  PixelRows& rows;
  const Image& image;  // for what is not pixels: quality, sampling
  std::string_view icc_profile;
  std::string_view exif;
  int quality = 0;  // 1..100, or 0: lossless (WebP)
};

absl::StatusOr<Header> ReadJpegHeader(std::string_view bytes);
absl::StatusOr<Decoded> DecodeJpeg(std::string_view bytes);
absl::StatusOr<std::string> EncodeJpeg(const EncodeSource& source);

absl::StatusOr<Header> ReadPngHeader(std::string_view bytes);
absl::StatusOr<Decoded> DecodePng(std::string_view bytes);
absl::StatusOr<std::string> EncodePng(const EncodeSource& source);

absl::StatusOr<Header> ReadWebpHeader(std::string_view bytes);
absl::StatusOr<Decoded> DecodeWebp(std::string_view bytes);
absl::StatusOr<std::string> EncodeWebp(const EncodeSource& source);

absl::StatusOr<Header> ReadTiffHeader(std::string_view bytes);
absl::StatusOr<Decoded> DecodeTiff(std::string_view bytes);
absl::StatusOr<std::string> EncodeTiff(const EncodeSource& source);

absl::StatusOr<Header> ReadBmpHeader(std::string_view bytes);
absl::StatusOr<Decoded> DecodeBmp(std::string_view bytes);
absl::StatusOr<std::string> EncodeBmp(const EncodeSource& source);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_IMAGE_CODEC_FORMATS_H_
