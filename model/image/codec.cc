#include "model/image/codec.h"

#include <algorithm>
#include <memory>
#include <new>
#include <stdexcept>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"
#include "model/image/codec_formats.h"
#include "model/image/colour.h"
#include "model/image/exif.h"
#include "model/image/orient.h"
#include "model/image/pixel_rows.h"
#include "model/image/sniff.h"

namespace deweather {
namespace {

constexpr int kDefaultWebpQuality = 90;

// One row of this table per format: its file is codec_<name>.cc.
struct Codec {
  ImageFormat format;
  std::string_view name;
  absl::StatusOr<Header> (*read_header)(std::string_view bytes);
  absl::StatusOr<Decoded> (*decode)(std::string_view bytes);
  absl::StatusOr<std::string> (*encode)(const EncodeSource& source);
  bool holds_16_bits;
  bool holds_grey;
  bool holds_grey_alpha;
  bool holds_exif;
};

constexpr Codec kCodecs[] = {
    {ImageFormat::kJpeg, "jpeg", ReadJpegHeader, DecodeJpeg, EncodeJpeg, false, true, true, true},
    {ImageFormat::kPng, "png", ReadPngHeader, DecodePng, EncodePng, true, true, true, true},
    {ImageFormat::kWebp, "webp", ReadWebpHeader, DecodeWebp, EncodeWebp, false, false, false, true},
    {ImageFormat::kTiff, "tiff", ReadTiffHeader, DecodeTiff, EncodeTiff, true, true, true, true},
    {ImageFormat::kBmp, "bmp", ReadBmpHeader, DecodeBmp, EncodeBmp, false, true, false, false},
};

const Codec& CodecOf(ImageFormat format) { return kCodecs[static_cast<size_t>(format)]; }

// Containers throw when memory ends; no exception leaves this file.
template <typename Call>
auto WithoutExceptions(Call call) -> decltype(call()) {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("no memory left for the picture");
  } catch (const std::length_error&) {
    return absl::ResourceExhaustedError("the picture is larger than a container can be");
  }
}

absl::Status CheckLimits(const Header& header, size_t file_bytes, const DecodeLimits& limits) {
  const ImageInfo& info = header.info;
  const int64_t pixels = int64_t{info.width} * info.height;
  if (pixels > limits.max_pixels) {
    return absl::InvalidArgumentError(
        absl::StrFormat("picture of %dx%d = %d pixels is over the limit of %d pixels", info.width,
                        info.height, pixels, limits.max_pixels));
  }
  const double least_bytes = static_cast<double>(pixels) * header.least_bits_per_pixel / 8;
  if (static_cast<double>(file_bytes) >= least_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "truncated or false %s: %dx%d pixels take at least %.0f bytes, the file has %d",
      ImageFormatName(info.format), info.width, info.height, least_bytes, file_bytes));
}

absl::StatusOr<Header> ReadHeader(std::string_view bytes, const DecodeLimits& limits) {
  DW_ASSIGN_OR_RETURN(const ImageFormat format, SniffFormat(bytes));
  DW_ASSIGN_OR_RETURN(const Header header, CodecOf(format).read_header(bytes));
  DW_RETURN_IF_ERROR(CheckLimits(header, bytes.size(), limits));
  return header;
}

// A profile for another kind of samples than the picture's says nothing about it.
bool ProfileFits(std::string_view icc_profile, int channels) {
  const ProfileSpace space = ProfileColourSpace(icc_profile);
  return space == (channels <= 2 ? ProfileSpace::kGrey : ProfileSpace::kRgb);
}

absl::StatusOr<Image> Decode(std::string_view bytes, const DecodeLimits& limits) {
  DW_ASSIGN_OR_RETURN(const Header header, ReadHeader(bytes, limits));
  const Codec& codec = CodecOf(header.info.format);
  DW_ASSIGN_OR_RETURN(Decoded decoded, codec.decode(bytes));
  Image image = std::move(decoded.image);
  image.format = codec.format;
  MakeUpright(image, decoded.orientation);
  image.exif = UprightExif(image.exif, image.width, image.height);
  if (!ProfileFits(image.icc_profile, image.channels)) image.icc_profile.clear();
  return image;
}

absl::Status CheckImage(const Image& image) {
  if (image.width < 1 || image.height < 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("cannot encode a picture of %dx%d pixels", image.width, image.height));
  }
  const bool valid = image.channels >= 1 && image.channels <= 4 &&
                     (image.bytes_per_sample == 1 || image.bytes_per_sample == 2) &&
                     image.samples.size() == image.row_bytes() * static_cast<size_t>(image.height);
  if (valid) return absl::OkStatus();
  return absl::InternalError(absl::StrFormat(
      "%d bytes of samples do not make a %dx%d picture of %d channels of %d bytes",
      image.samples.size(), image.width, image.height, image.channels, image.bytes_per_sample));
}

int WebpQuality(const Image& image, int wanted) {
  if (wanted > 0) return wanted;
  return image.lossless ? 0 : kDefaultWebpQuality;
}

int QualityFor(const Codec& codec, const Image& image, int wanted) {
  if (codec.format == ImageFormat::kWebp) return WebpQuality(image, wanted);
  return wanted > 0 ? wanted : image.jpeg_quality;
}

absl::StatusOr<std::string> Encode(const Image& image, const EncodeOptions& options) {
  DW_RETURN_IF_ERROR(CheckImage(image));
  if (options.quality < 0 || options.quality > 100) {
    return absl::InvalidArgumentError(
        absl::StrFormat("quality is %d; it must be in [1, 100], or 0", options.quality));
  }
  const Codec& codec = CodecOf(options.format.value_or(image.format));
  const bool becomes_rgb = (image.channels == 1 && !codec.holds_grey) ||
                           (image.channels == 2 && !codec.holds_grey_alpha);
  const bool keep_metadata = options.metadata == MetadataPolicy::kPreserve;
  // A grey profile cannot describe RGB.
  const bool keep_profile = keep_metadata && !becomes_rgb;
  PixelRows rows(image, becomes_rgb ? image.channels + 2 : image.channels,
                 codec.holds_16_bits ? image.bytes_per_sample : 1,
                 keep_profile ? nullptr : ColourConverter::ForImage(image));
  const EncodeSource source{
      .rows = rows,
      .image = image,
      .icc_profile = keep_profile ? std::string_view(image.icc_profile) : std::string_view(),
      .exif = keep_metadata && codec.holds_exif ? std::string_view(image.exif) : std::string_view(),
      .quality = QualityFor(codec, image, options.quality)};
  return codec.encode(source);
}

}  // namespace

absl::StatusOr<ImageFormat> ParseImageFormat(std::string_view name) {
  std::string wanted(name);
  absl::AsciiStrToLower(&wanted);
  if (wanted == "jpg") wanted = "jpeg";
  if (wanted == "tif") wanted = "tiff";
  for (const Codec& codec : kCodecs) {
    if (codec.name == wanted) return codec.format;
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("unknown image format \"%s\"; known: jpeg, png, webp, tiff, bmp", name));
}

std::string_view ImageFormatName(ImageFormat format) { return CodecOf(format).name; }

absl::StatusOr<ImageInfo> ReadImageInfo(std::string_view bytes, const DecodeLimits& limits) {
  return WithoutExceptions([&]() -> absl::StatusOr<ImageInfo> {
    DW_ASSIGN_OR_RETURN(Header header, ReadHeader(bytes, limits));
    if (header.orientation >= 5) std::swap(header.info.width, header.info.height);
    return header.info;
  });
}

absl::StatusOr<Image> DecodeImage(std::string_view bytes, const DecodeLimits& limits) {
  return WithoutExceptions([&] { return Decode(bytes, limits); });
}

absl::StatusOr<std::string> EncodeImage(const Image& image, const EncodeOptions& options) {
  return WithoutExceptions([&] { return Encode(image, options); });
}

}  // namespace deweather
