// WebP through libwebp, its metadata through libwebpdemux and libwebpmux.

#include <webp/decode.h>
#include <webp/demux.h>
#include <webp/encode.h>
#include <webp/mux.h>

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"
#include "model/image/codec_formats.h"
#include "model/image/exif.h"

namespace deweather {
namespace {

constexpr size_t kRiffHeaderBytes = 8;
constexpr int kLossless = 2;  // WebPBitstreamFeatures::format
constexpr int kLosslessEffort = 4;
constexpr std::string_view kExifHeader("Exif\0\0", 6);

const uint8_t* Data(std::string_view bytes) {
  return reinterpret_cast<const uint8_t*>(bytes.data());
}

std::string_view View(const WebPData& data) {
  return {reinterpret_cast<const char*>(data.bytes), data.size};
}

absl::Status CheckComplete(std::string_view bytes) {
  uint32_t claimed = 0;
  for (size_t i = 0; i < 4; ++i) claimed |= uint32_t{static_cast<uint8_t>(bytes[4 + i])} << (8 * i);
  if (bytes.size() - kRiffHeaderBytes >= claimed) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("bad WebP: %d bytes of %d, truncated",
                                                    bytes.size(), claimed + kRiffHeaderBytes));
}

absl::StatusOr<WebPBitstreamFeatures> ReadFeatures(std::string_view bytes) {
  WebPBitstreamFeatures features;
  const VP8StatusCode code = WebPGetFeatures(Data(bytes), bytes.size(), &features);
  if (code != VP8_STATUS_OK) {
    return absl::InvalidArgumentError(absl::StrFormat("bad WebP: libwebp code %d", code));
  }
  if (features.has_animation) {
    return absl::InvalidArgumentError("unsupported format animated WebP");
  }
  return features;
}

struct WebpMetadata {
  std::string icc_profile;
  std::string exif;
};

// The payload of a file's first chunk of one type.
std::string FindChunk(WebPDemuxer* demuxer, const char* type) {
  WebPChunkIterator chunk;
  std::string payload;
  if (WebPDemuxGetChunk(demuxer, type, 1, &chunk)) payload = View(chunk.chunk);
  WebPDemuxReleaseChunkIterator(&chunk);
  return payload;
}

absl::StatusOr<WebpMetadata> ReadMetadata(std::string_view bytes) {
  const WebPData data = {Data(bytes), bytes.size()};
  const std::unique_ptr<WebPDemuxer, decltype(&WebPDemuxDelete)> demuxer(WebPDemux(&data),
                                                                         &WebPDemuxDelete);
  if (demuxer == nullptr) return absl::InvalidArgumentError("bad WebP: its chunks do not fit");
  WebpMetadata metadata;
  metadata.icc_profile = FindChunk(demuxer.get(), "ICCP");
  // Some writers keep the header that JPEG needs.
  metadata.exif = FindChunk(demuxer.get(), "EXIF");
  if (metadata.exif.starts_with(kExifHeader)) metadata.exif.erase(0, kExifHeader.size());
  return metadata;
}

// libwebp's picture, freed.
class Picture {
 public:
  Picture() { valid_ = WebPPictureInit(&picture_) != 0; }
  ~Picture() { WebPPictureFree(&picture_); }
  Picture(const Picture&) = delete;
  Picture& operator=(const Picture&) = delete;

  absl::Status Load(PixelRows& rows) {
    picture_.use_argb = 1;
    picture_.width = rows.width();
    picture_.height = rows.height();
    if (!valid_ || WebPPictureAlloc(&picture_) == 0) {
      return absl::ResourceExhaustedError(
          absl::StrFormat("no memory for a WebP of %dx%d pixels", rows.width(), rows.height()));
    }
    for (int y = 0; y < rows.height(); ++y) {
      PackRow(rows.Row(y), rows.channels(), picture_.argb + int64_t{y} * picture_.argb_stride);
    }
    return absl::OkStatus();
  }

  WebPPicture* get() { return &picture_; }

 private:
  void PackRow(const uint8_t* row, int channels, uint32_t* argb) const {
    for (int x = 0; x < picture_.width; ++x, row += channels) {
      const uint32_t alpha = channels == 4 ? row[3] : 0xFF;
      argb[x] = alpha << 24 | uint32_t{row[0]} << 16 | uint32_t{row[1]} << 8 | row[2];
    }
  }

  WebPPicture picture_;
  bool valid_;
};

class MemoryWriter {
 public:
  MemoryWriter() { WebPMemoryWriterInit(&writer_); }
  ~MemoryWriter() { WebPMemoryWriterClear(&writer_); }
  MemoryWriter(const MemoryWriter&) = delete;
  MemoryWriter& operator=(const MemoryWriter&) = delete;

  void Attach(WebPPicture* picture) {
    picture->writer = WebPMemoryWrite;
    picture->custom_ptr = &writer_;
  }
  WebPData data() const { return {writer_.mem, writer_.size}; }

 private:
  WebPMemoryWriter writer_;
};

absl::StatusOr<WebPConfig> Configure(int quality) {
  WebPConfig config;
  bool valid = WebPConfigInit(&config) != 0;
  if (quality == 0) {
    valid = valid && WebPConfigLosslessPreset(&config, kLosslessEffort) != 0;
  } else {
    config.quality = static_cast<float>(quality);
  }
  config.exact = 1;  // keep colours under transparent pixels
  config.alpha_quality = 100;
  if (valid && WebPValidateConfig(&config) != 0) return config;
  return absl::InternalError(absl::StrFormat("libwebp refuses quality %d", quality));
}

struct ClearData {
  void operator()(WebPData* data) const { WebPDataClear(data); }
};

absl::StatusOr<std::string> AddMetadata(const EncodeSource& source, WebPData file) {
  const std::unique_ptr<WebPMux, decltype(&WebPMuxDelete)> mux(WebPMuxCreate(&file, 0),
                                                               &WebPMuxDelete);
  const auto add = [&](const char* type, std::string_view payload) {
    const WebPData data = {Data(payload), payload.size()};
    return payload.empty() || WebPMuxSetChunk(mux.get(), type, &data, 0) == WEBP_MUX_OK;
  };
  WebPData assembled = {nullptr, 0};
  const std::unique_ptr<WebPData, ClearData> owner(&assembled);
  if (mux == nullptr || !add("ICCP", source.icc_profile) || !add("EXIF", source.exif) ||
      WebPMuxAssemble(mux.get(), &assembled) != WEBP_MUX_OK) {
    return absl::InternalError("libwebp cannot add the metadata");
  }
  return std::string(View(assembled));
}

}  // namespace

absl::StatusOr<Header> ReadWebpHeader(std::string_view bytes) {
  DW_RETURN_IF_ERROR(CheckComplete(bytes));
  DW_ASSIGN_OR_RETURN(const WebPBitstreamFeatures features, ReadFeatures(bytes));
  DW_ASSIGN_OR_RETURN(const WebpMetadata metadata, ReadMetadata(bytes));
  return Header{.info = {.format = ImageFormat::kWebp,
                         .width = features.width,
                         .height = features.height,
                         .channels = features.has_alpha ? 4 : 3},
                .orientation = ExifOrientation(metadata.exif)};
}

absl::StatusOr<Decoded> DecodeWebp(std::string_view bytes) {
  DW_ASSIGN_OR_RETURN(const WebPBitstreamFeatures features, ReadFeatures(bytes));
  DW_ASSIGN_OR_RETURN(WebpMetadata metadata, ReadMetadata(bytes));
  Decoded decoded;
  decoded.orientation = ExifOrientation(metadata.exif);
  Image& image = decoded.image;
  image.width = features.width;
  image.height = features.height;
  image.channels = features.has_alpha ? 4 : 3;
  image.lossless = features.format == kLossless;
  image.icc_profile = std::move(metadata.icc_profile);
  image.exif = std::move(metadata.exif);
  image.samples.resize(image.row_bytes() * static_cast<size_t>(image.height));
  const auto decode = features.has_alpha ? WebPDecodeRGBAInto : WebPDecodeRGBInto;
  if (decode(Data(bytes), bytes.size(), image.samples.data(), image.samples.size(),
             static_cast<int>(image.row_bytes())) == nullptr) {
    return absl::InvalidArgumentError("bad WebP: damaged or truncated pixels");
  }
  return decoded;
}

absl::StatusOr<std::string> EncodeWebp(const EncodeSource& source) {
  if (source.rows.width() > WEBP_MAX_DIMENSION || source.rows.height() > WEBP_MAX_DIMENSION) {
    return absl::InvalidArgumentError(
        absl::StrFormat("picture of %dx%d pixels is over WebP's limit of %d pixels a side",
                        source.rows.width(), source.rows.height(), WEBP_MAX_DIMENSION));
  }
  DW_ASSIGN_OR_RETURN(const WebPConfig config, Configure(source.quality));
  Picture picture;
  MemoryWriter writer;
  DW_RETURN_IF_ERROR(picture.Load(source.rows));
  writer.Attach(picture.get());
  if (WebPEncode(&config, picture.get()) == 0) {
    return absl::InternalError(
        absl::StrFormat("libwebp cannot encode: code %d", picture.get()->error_code));
  }
  if (source.icc_profile.empty() && source.exif.empty()) return std::string(View(writer.data()));
  return AddMetadata(source, writer.data());
}

}  // namespace deweather
