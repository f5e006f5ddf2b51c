// TIFF through libtiff, in memory. It reports errors to a handler and returns; nothing jumps.

#include <tiffio.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"
#include "model/image/codec_formats.h"
#include "model/image/exif.h"

namespace deweather {
namespace {

constexpr tmsize_t kMaxLibraryBytes = 256 << 20;  // libtiff's largest single allocation
constexpr int64_t kMaxFileBytes = 4'000'000'000;  // classic TIFF has 32-bit offsets
constexpr double kMaxDeflateRatio = 1032;
constexpr int kMaxDirectories = 64;

// A whole file in memory, for libtiff's callbacks. Reads `in`, or writes `out`.
struct TiffMemory {
  std::string_view in = {};
  std::string out = {};
  bool writing = false;
  size_t at = 0;
  std::string error = {};

  size_t size() const { return writing ? out.size() : in.size(); }
};

TiffMemory& MemoryOf(thandle_t handle) { return *static_cast<TiffMemory*>(handle); }

tmsize_t Read(thandle_t handle, void* buffer, tmsize_t count) {
  TiffMemory& memory = MemoryOf(handle);
  const std::string_view all = memory.writing ? std::string_view(memory.out) : memory.in;
  if (memory.at >= all.size()) return 0;
  const size_t got = std::min(static_cast<size_t>(count), all.size() - memory.at);
  std::memcpy(buffer, all.data() + memory.at, got);
  memory.at += got;
  return static_cast<tmsize_t>(got);
}

// -1 makes libtiff give up; an exception could not cross its C code.
tmsize_t Write(thandle_t handle, void* buffer, tmsize_t count) noexcept {
  TiffMemory& memory = MemoryOf(handle);
  const size_t end = memory.at + static_cast<size_t>(count);
  if (!memory.writing || end > static_cast<size_t>(kMaxFileBytes)) return -1;
  try {
    if (end > memory.out.size()) memory.out.resize(end);
  } catch (const std::exception&) {
    return -1;
  }
  std::memcpy(memory.out.data() + memory.at, buffer, static_cast<size_t>(count));
  memory.at = end;
  return count;
}

toff_t Seek(thandle_t handle, toff_t offset, int whence) {
  TiffMemory& memory = MemoryOf(handle);
  if (whence == SEEK_CUR) offset += memory.at;
  if (whence == SEEK_END) offset += memory.size();
  memory.at = offset;
  return offset;
}

int Close(thandle_t) { return 0; }

toff_t Size(thandle_t handle) { return MemoryOf(handle).size(); }

int Map(thandle_t handle, void** base, toff_t* size) {
  TiffMemory& memory = MemoryOf(handle);
  if (memory.writing) return 0;
  *base = const_cast<char*>(memory.in.data());  // libtiff only reads it
  *size = memory.in.size();
  return 1;
}

void Unmap(thandle_t, void*, toff_t) {}

int KeepError(TIFF*, void* memory, const char*, const char* format, va_list arguments) noexcept {
  char text[200];
  std::vsnprintf(text, sizeof(text), format, arguments);
  std::string& error = static_cast<TiffMemory*>(memory)->error;
  try {
    if (error.empty()) error = text;  // the first one is the cause
  } catch (const std::exception&) {
    return 1;
  }
  return 1;
}

// libjpeg's warnings mean lost pixels.
int KeepWarning(TIFF* tiff, void* memory, const char* module, const char* format,
                va_list arguments) noexcept {
  if (std::strcmp(module == nullptr ? "" : module, "JPEGLib") != 0) return 1;
  return KeepError(tiff, memory, module, format, arguments);
}

struct CloseTiff {
  void operator()(TIFF* tiff) const { TIFFClose(tiff); }
};
using Tiff = std::unique_ptr<TIFF, CloseTiff>;

Tiff Open(TiffMemory& memory, const char* mode) {
  const std::unique_ptr<TIFFOpenOptions, decltype(&TIFFOpenOptionsFree)> options(
      TIFFOpenOptionsAlloc(), &TIFFOpenOptionsFree);
  if (options == nullptr) return nullptr;
  TIFFOpenOptionsSetMaxSingleMemAlloc(options.get(), kMaxLibraryBytes);
  TIFFOpenOptionsSetErrorHandlerExtR(options.get(), KeepError, &memory);
  TIFFOpenOptionsSetWarningHandlerExtR(options.get(), KeepWarning, &memory);
  return Tiff(TIFFClientOpenExt("memory", mode, &memory, Read, Write, Seek, Close, Size, Map, Unmap,
                                options.get()));
}

absl::Status BadTiff(const TiffMemory& memory, std::string_view otherwise) {
  return absl::InvalidArgumentError(
      absl::StrFormat("bad TIFF: %s", memory.error.empty() ? otherwise : memory.error));
}

template <typename... Values>
absl::Status UnsupportedTiff(const absl::FormatSpec<Values...>& what, const Values&... values) {
  return absl::InvalidArgumentError("unsupported format TIFF: " + absl::StrFormat(what, values...));
}

// How the first directory stores its pixels.
struct Layout {
  uint32_t width = 0;
  uint32_t height = 0;
  uint16_t bits = 0;
  uint16_t samples = 0;
  uint16_t sample_format = 0;
  uint16_t photometric = 0;
  uint16_t planar = 0;
  uint16_t compression = 0;
  uint16_t orientation = 0;
  uint16_t extra_kind = EXTRASAMPLE_UNSPECIFIED;
  bool tiled = false;

  bool palette() const { return photometric == PHOTOMETRIC_PALETTE; }
  bool separate() const { return planar == PLANARCONFIG_SEPARATE && samples > 1; }
  int channels() const { return palette() ? 3 : samples; }
  int bytes_per_sample() const { return bits == 16 ? 2 : 1; }
};

uint16_t Field16(TIFF* tiff, uint32_t tag, uint16_t otherwise) {
  uint16_t value = otherwise;
  return TIFFGetFieldDefaulted(tiff, tag, &value) ? value : otherwise;
}

Layout ReadLayout(TIFF* tiff) {
  Layout layout;
  TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &layout.width);
  TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &layout.height);
  layout.bits = Field16(tiff, TIFFTAG_BITSPERSAMPLE, 1);
  layout.samples = Field16(tiff, TIFFTAG_SAMPLESPERPIXEL, 1);
  layout.sample_format = Field16(tiff, TIFFTAG_SAMPLEFORMAT, SAMPLEFORMAT_UINT);
  layout.photometric = Field16(tiff, TIFFTAG_PHOTOMETRIC,
                               layout.samples >= 3 ? PHOTOMETRIC_RGB : PHOTOMETRIC_MINISBLACK);
  layout.planar = Field16(tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
  layout.compression = Field16(tiff, TIFFTAG_COMPRESSION, COMPRESSION_NONE);
  layout.orientation = Field16(tiff, TIFFTAG_ORIENTATION, ORIENTATION_TOPLEFT);
  layout.tiled = TIFFIsTiled(tiff) != 0;
  uint16_t extras = 0;
  uint16_t* kinds = nullptr;
  if (TIFFGetField(tiff, TIFFTAG_EXTRASAMPLES, &extras, &kinds) && extras == 1) {
    layout.extra_kind = kinds[0];
  }
  return layout;
}

bool CompressionIsRead(uint16_t compression) {
  constexpr uint16_t kRead[] = {
      COMPRESSION_NONE,          COMPRESSION_LZW,      COMPRESSION_JPEG, COMPRESSION_DEFLATE,
      COMPRESSION_ADOBE_DEFLATE, COMPRESSION_PACKBITS, COMPRESSION_LZMA, COMPRESSION_ZSTD};
  return std::find(std::begin(kRead), std::end(kRead), compression) != std::end(kRead) &&
         TIFFIsCODECConfigured(compression) != 0;
}

absl::Status CheckSamples(const Layout& layout) {
  if (layout.sample_format == SAMPLEFORMAT_IEEEFP) {
    return absl::InvalidArgumentError(
        absl::StrFormat("unsupported format float TIFF (%d bits per sample)", layout.bits));
  }
  if (layout.sample_format != SAMPLEFORMAT_UINT && layout.sample_format != SAMPLEFORMAT_VOID) {
    return UnsupportedTiff("sample format %d; only unsigned integers are read",
                           layout.sample_format);
  }
  const bool packed = layout.bits == 1 || layout.bits == 2 || layout.bits == 4;
  if (layout.bits == 8 || (layout.bits == 16 && !layout.palette())) return absl::OkStatus();
  if (packed && layout.samples == 1) return absl::OkStatus();
  return UnsupportedTiff("%d bits per sample with %d samples per pixel", layout.bits,
                         layout.samples);
}

absl::Status CheckColours(const Layout& layout) {
  const int samples = layout.samples;
  switch (layout.photometric) {
    case PHOTOMETRIC_MINISWHITE:
    case PHOTOMETRIC_MINISBLACK:
      if (samples == 1 || samples == 2) return absl::OkStatus();
      break;
    case PHOTOMETRIC_RGB:
      if (samples == 3 || samples == 4) return absl::OkStatus();
      break;
    case PHOTOMETRIC_PALETTE:
      if (samples == 1) return absl::OkStatus();
      break;
    case PHOTOMETRIC_YCBCR:  // libjpeg makes RGB of it
      if (layout.compression == COMPRESSION_JPEG && samples == 3 && !layout.separate()) {
        return absl::OkStatus();
      }
      break;
    case PHOTOMETRIC_SEPARATED:
      return absl::InvalidArgumentError("unsupported format CMYK TIFF");
    default:
      break;
  }
  return UnsupportedTiff("photometric interpretation %d with %d samples per pixel",
                         layout.photometric, samples);
}

absl::Status CheckLayout(TIFF* tiff, const Layout& layout) {
  uint32_t kind = 0;
  TIFFGetField(tiff, TIFFTAG_SUBFILETYPE, &kind);
  void* version = nullptr;
  if (TIFFGetField(tiff, TIFFTAG_DNGVERSION, &version) || (kind & FILETYPE_REDUCEDIMAGE) != 0) {
    return absl::InvalidArgumentError("unsupported format DNG or other camera raw TIFF");
  }
  if (layout.width < 1 || layout.height < 1 || layout.width > 0x7FFFFFFF ||
      layout.height > 0x7FFFFFFF) {
    return absl::InvalidArgumentError(
        absl::StrFormat("bad TIFF: %ux%u pixels", layout.width, layout.height));
  }
  if (!CompressionIsRead(layout.compression)) {
    return UnsupportedTiff("compression %d", layout.compression);
  }
  DW_RETURN_IF_ERROR(CheckSamples(layout));
  return CheckColours(layout);
}

// Thumbnails and masks may follow the picture, other pictures may not: they would be lost.
absl::Status CheckSinglePage(TIFF* tiff) {
  for (int i = 1; i < kMaxDirectories && TIFFReadDirectory(tiff); ++i) {
    uint32_t kind = 0;
    TIFFGetField(tiff, TIFFTAG_SUBFILETYPE, &kind);
    if ((kind & (FILETYPE_REDUCEDIMAGE | FILETYPE_MASK)) == 0) {
      return absl::InvalidArgumentError("unsupported format multi-page TIFF");
    }
  }
  return absl::OkStatus();
}

double LeastBitsPerPixel(const Layout& layout) {
  const double bits = layout.samples * layout.bits;
  switch (layout.compression) {
    case COMPRESSION_NONE:
      return bits;
    case COMPRESSION_DEFLATE:
    case COMPRESSION_ADOBE_DEFLATE:
      return bits / kMaxDeflateRatio;
    default:
      return 0;
  }
}

// Puts stored samples, a strip's row or a tile, where they belong in an Image.
class TiffReader {
 public:
  TiffReader(TIFF* tiff, const Layout& layout, Image& image)
      : tiff_(tiff), layout_(layout), image_(image) {}

  bool ReadPixels() {
    if (layout_.palette() && !ReadPalette()) return false;
    const uint16_t planes = layout_.separate() ? layout_.samples : uint16_t{1};
    for (uint16_t plane = 0; plane < planes; ++plane) {
      if (!(layout_.tiled ? ReadTiles(plane) : ReadRows(plane))) return false;
    }
    for (int y = 0; y < image_.height; ++y) FinishRow(image_.row(y));
    return true;
  }

 private:
  bool ReadPalette() {
    const size_t colours = size_t{1} << layout_.bits;
    uint16_t* channels[3] = {};
    if (!TIFFGetField(tiff_, TIFFTAG_COLORMAP, &channels[0], &channels[1], &channels[2])) {
      return false;
    }
    palette_.resize(colours * 3);
    for (size_t i = 0; i < colours; ++i) {
      for (size_t c = 0; c < 3; ++c) {
        palette_[i * 3 + c] = static_cast<uint8_t>((channels[c][i] + 128) / 257);
      }
    }
    return true;
  }

  bool ReadRows(uint16_t plane) {
    std::vector<uint8_t> row(static_cast<size_t>(std::max<tmsize_t>(0, TIFFScanlineSize(tiff_))));
    if (row.size() < StoredBytes(image_.width)) return false;
    for (int y = 0; y < image_.height; ++y) {
      if (TIFFReadScanline(tiff_, row.data(), static_cast<uint32_t>(y), plane) < 0) return false;
      Place(row.data(), plane, 0, y, image_.width);
    }
    return true;
  }

  bool ReadTiles(uint16_t plane) {
    uint32_t tile_width = 0;
    uint32_t tile_height = 0;
    TIFFGetField(tiff_, TIFFTAG_TILEWIDTH, &tile_width);
    TIFFGetField(tiff_, TIFFTAG_TILELENGTH, &tile_height);
    const tmsize_t size = TIFFTileSize(tiff_);
    const tmsize_t stride = TIFFTileRowSize(tiff_);
    if (size <= 0 || size > kMaxLibraryBytes || stride <= 0 || tile_width < 1 || tile_height < 1 ||
        size / stride < static_cast<tmsize_t>(tile_height)) {
      return false;
    }
    std::vector<uint8_t> tile(static_cast<size_t>(size));
    for (uint32_t y = 0; y < layout_.height; y += tile_height) {
      for (uint32_t x = 0; x < layout_.width; x += tile_width) {
        if (TIFFReadTile(tiff_, tile.data(), x, y, 0, plane) < 0) return false;
        PlaceTile(tile.data(), stride, plane, x, y, tile_width, tile_height);
      }
    }
    return true;
  }

  void PlaceTile(const uint8_t* tile, tmsize_t stride, uint16_t plane, uint32_t x, uint32_t y,
                 uint32_t tile_width, uint32_t tile_height) {
    const int width = static_cast<int>(std::min(tile_width, layout_.width - x));
    const int height = static_cast<int>(std::min(tile_height, layout_.height - y));
    for (int row = 0; row < height; ++row) {
      Place(tile + row * stride, plane, static_cast<int>(x), static_cast<int>(y) + row, width);
    }
  }

  // Bytes that n pixels of one plane take in the file.
  size_t StoredBytes(int n) const {
    const size_t samples = layout_.separate() ? 1 : layout_.samples;
    return (static_cast<size_t>(n) * samples * layout_.bits + 7) / 8;
  }

  // n stored pixels to (x, y).
  void Place(const uint8_t* stored, uint16_t plane, int x, int y, int n) {
    while (image_.samples.size() <= static_cast<size_t>(y) * image_.row_bytes()) AppendRow(image_);
    const size_t bytes = static_cast<size_t>(image_.bytes_per_sample);
    const size_t pixel = static_cast<size_t>(image_.channels) * bytes;
    uint8_t* out = image_.row(y) + static_cast<size_t>(x) * pixel;
    if (layout_.palette() || layout_.bits < 8) {
      PlacePacked(stored, n, out);
    } else if (!layout_.separate()) {
      std::memcpy(out, stored, static_cast<size_t>(n) * pixel);
    } else {
      out += plane * bytes;
      for (int i = 0; i < n; ++i, out += pixel, stored += bytes) std::memcpy(out, stored, bytes);
    }
  }

  // Palette indices, and grey of less than 8 bits.
  void PlacePacked(const uint8_t* stored, int n, uint8_t* out) {
    const size_t bits = layout_.bits;
    const unsigned mask = (1u << bits) - 1;
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
      const size_t bit = i * bits;
      const unsigned value = stored[bit / 8] >> (8 - bits - bit % 8) & mask;
      if (layout_.palette()) {
        std::memcpy(out + 3 * i, palette_.data() + size_t{3} * value, 3);
      } else {
        out[i] = static_cast<uint8_t>(value * 255 / mask);
      }
    }
  }

  void FinishRow(uint8_t* row) {
    if (image_.bytes_per_sample == 1) {
      FinishSamples<uint8_t>(row);
    } else {
      FinishSamples<uint16_t>(row);
    }
  }

  // White-is-zero becomes black-is-zero, premultiplied alpha straight.
  template <typename Sample>
  void FinishSamples(uint8_t* row) {
    const bool invert = layout_.photometric == PHOTOMETRIC_MINISWHITE;
    const bool divide = image_.has_alpha() && layout_.extra_kind == EXTRASAMPLE_ASSOCALPHA;
    if (!invert && !divide) return;
    constexpr uint32_t kMax = static_cast<Sample>(~Sample{0});
    const size_t channels = static_cast<size_t>(image_.channels);
    const size_t colours = image_.has_alpha() ? channels - 1 : channels;
    Sample pixel[4];
    for (int x = 0; x < image_.width; ++x, row += channels * sizeof(Sample)) {
      std::memcpy(pixel, row, channels * sizeof(Sample));
      const uint32_t alpha = pixel[channels - 1];
      for (size_t c = 0; c < colours; ++c) {
        uint32_t value = pixel[c];
        if (divide && alpha > 0) value = std::min(kMax, (value * kMax + alpha / 2) / alpha);
        pixel[c] = static_cast<Sample>(invert ? kMax - value : value);
      }
      std::memcpy(row, pixel, channels * sizeof(Sample));
    }
  }

  TIFF* const tiff_;
  const Layout& layout_;
  Image& image_;
  std::vector<uint8_t> palette_;  // [index][3]
};

std::string IccProfile(TIFF* tiff) {
  uint32_t size = 0;
  void* data = nullptr;
  if (!TIFFGetField(tiff, TIFFTAG_ICCPROFILE, &size, &data) || data == nullptr) return {};
  return std::string(static_cast<const char*>(data), size);
}

int UsableOrientation(const Layout& layout) {
  return layout.orientation >= 1 && layout.orientation <= 8 ? layout.orientation : 1;
}

absl::Status CheckEncodable(const EncodeSource& source) {
  const PixelRows& rows = source.rows;
  const int64_t bytes =
      int64_t{rows.width()} * rows.height() * rows.channels() * rows.bytes_per_sample();
  if (bytes <= kMaxFileBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("picture of %dx%d pixels = %d bytes is over TIFF's limit of %d bytes",
                      rows.width(), rows.height(), bytes, kMaxFileBytes));
}

void SetLayout(TIFF* tiff, const PixelRows& rows) {
  TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, static_cast<uint32_t>(rows.width()));
  TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, static_cast<uint32_t>(rows.height()));
  TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, 8 * rows.bytes_per_sample());
  TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, rows.channels());
  TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
  TIFFSetField(tiff, TIFFTAG_ORIENTATION, ORIENTATION_TOPLEFT);
  TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC,
               rows.channels() <= 2 ? PHOTOMETRIC_MINISBLACK : PHOTOMETRIC_RGB);
  TIFFSetField(tiff, TIFFTAG_COMPRESSION, COMPRESSION_ADOBE_DEFLATE);
  TIFFSetField(tiff, TIFFTAG_PREDICTOR, PREDICTOR_HORIZONTAL);
  TIFFSetField(tiff, TIFFTAG_ROWSPERSTRIP, TIFFDefaultStripSize(tiff, 0));
  if (!rows.has_alpha()) return;
  const uint16_t kind = EXTRASAMPLE_UNASSALPHA;
  TIFFSetField(tiff, TIFFTAG_EXTRASAMPLES, 1, &kind);
}

// The EXIF directories go in front of the pixels, so that their offsets are known. REQUIRES: only
// the header has been written.
void SetMetadata(TIFF* tiff, const EncodeSource& source, TiffMemory& memory) {
  if (!source.icc_profile.empty()) {
    TIFFSetField(tiff, TIFFTAG_ICCPROFILE, static_cast<uint32_t>(source.icc_profile.size()),
                 source.icc_profile.data());
  }
  for (const ExifText& entry : ExifTexts(source.exif)) {
    TIFFSetField(tiff, entry.tag, std::string(entry.text).c_str());
  }
  const PlacedExif placed = PlaceExif(source.exif, static_cast<uint32_t>(memory.out.size()));
  memory.out += placed.bytes;
  if (placed.exif_ifd != 0) TIFFSetField(tiff, TIFFTAG_EXIFIFD, uint64_t{placed.exif_ifd});
  if (placed.gps_ifd != 0) TIFFSetField(tiff, TIFFTAG_GPSIFD, uint64_t{placed.gps_ifd});
}

}  // namespace

absl::StatusOr<Header> ReadTiffHeader(std::string_view bytes) {
  TiffMemory memory{.in = bytes};
  const Tiff tiff = Open(memory, "r");
  if (tiff == nullptr) return BadTiff(memory, "no directory");
  const Layout layout = ReadLayout(tiff.get());
  DW_RETURN_IF_ERROR(CheckLayout(tiff.get(), layout));
  DW_RETURN_IF_ERROR(CheckSinglePage(tiff.get()));
  if (!TiffDirectoriesAreComplete(bytes)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "bad TIFF: a directory reaches beyond the file's %d bytes, truncated", bytes.size()));
  }
  return Header{.info = {.format = ImageFormat::kTiff,
                         .width = static_cast<int>(layout.width),
                         .height = static_cast<int>(layout.height),
                         .channels = layout.channels(),
                         .bytes_per_sample = layout.bytes_per_sample()},
                .orientation = UsableOrientation(layout),
                .least_bits_per_pixel = LeastBitsPerPixel(layout)};
}

absl::StatusOr<Decoded> DecodeTiff(std::string_view bytes) {
  TiffMemory memory{.in = bytes};
  const Tiff tiff = Open(memory, "r");
  if (tiff == nullptr) return BadTiff(memory, "no directory");
  const Layout layout = ReadLayout(tiff.get());
  Decoded decoded;
  Image& image = decoded.image;
  image.width = static_cast<int>(layout.width);
  image.height = static_cast<int>(layout.height);
  image.channels = layout.channels();
  image.bytes_per_sample = layout.bytes_per_sample();
  image.lossless = layout.compression != COMPRESSION_JPEG;
  decoded.orientation = UsableOrientation(layout);
  image.icc_profile = IccProfile(tiff.get());
  image.exif = ExifFromTiff(bytes);
  if (layout.photometric == PHOTOMETRIC_YCBCR) {
    TIFFSetField(tiff.get(), TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
  }
  memory.error.clear();
  const bool complete = TiffReader(tiff.get(), layout, image).ReadPixels();
  if (!complete || !memory.error.empty()) return BadTiff(memory, "no pixels");
  return decoded;
}

absl::StatusOr<std::string> EncodeTiff(const EncodeSource& source) {
  DW_RETURN_IF_ERROR(CheckEncodable(source));
  TiffMemory memory{.writing = true};
  Tiff tiff = Open(memory, ExifIsBigEndian(source.exif) ? "wb" : "wl");
  if (tiff == nullptr) return BadTiff(memory, "cannot be begun");
  SetLayout(tiff.get(), source.rows);
  SetMetadata(tiff.get(), source, memory);
  std::vector<uint8_t> row(static_cast<size_t>(TIFFScanlineSize(tiff.get())));
  for (int y = 0; y < source.rows.height(); ++y) {
    std::memcpy(row.data(), source.rows.Row(y), row.size());  // libtiff works in the caller's row
    if (TIFFWriteScanline(tiff.get(), row.data(), static_cast<uint32_t>(y), 0) < 0) {
      return BadTiff(memory, "cannot be written");
    }
  }
  if (!TIFFFlush(tiff.get())) return BadTiff(memory, "cannot be written");
  tiff.reset();
  if (!memory.error.empty()) return BadTiff(memory, "cannot be written");
  return std::move(memory.out);
}

}  // namespace deweather
