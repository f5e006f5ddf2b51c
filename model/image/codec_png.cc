// PNG through libpng. Its errors arrive by longjmp and end in Guarded().

#include <png.h>

#include <bit>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <exception>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"
#include "model/image/codec_formats.h"
#include "model/image/exif.h"

namespace deweather {
namespace {

constexpr size_t kSignatureBytes = 8;
constexpr size_t kChunkOverheadBytes = 12;       // length, type, CRC
constexpr size_t kMaxAncillaryBytes = 16 << 20;  // of one unpacked chunk (ICC profile)
constexpr int kMaxChunks = 1000;                 // that libpng keeps
constexpr double kMaxDeflateRatio = 1032;        // deflate cannot do better
constexpr int kCompressionLevel = 4;
constexpr int kMaxSide = 0x7FFFFFFF;

uint32_t BigEndian32(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

struct Chunk {
  std::string_view type;
  std::string_view data;
};

// Takes the first chunk off `rest`. False at the end of the file or in a damaged one.
bool NextChunk(std::string_view& rest, Chunk& chunk) {
  if (rest.size() < kChunkOverheadBytes) return false;
  const size_t length = BigEndian32(rest, 0);
  if (length > rest.size() - kChunkOverheadBytes) return false;
  chunk = {rest.substr(4, 4), rest.substr(8, length)};
  rest.remove_prefix(length + kChunkOverheadBytes);
  return true;
}

absl::Status ReadIhdr(std::string_view data, ImageInfo& info) {
  const uint32_t width = BigEndian32(data, 0);
  const uint32_t height = BigEndian32(data, 4);
  const uint8_t depth = static_cast<uint8_t>(data[8]);
  const uint8_t colour = static_cast<uint8_t>(data[9]);
  if (width == 0 || height == 0 || width > kMaxSide || height > kMaxSide) {
    return absl::InvalidArgumentError(
        absl::StrFormat("bad PNG: %ux%u pixels; a side is in [1, %d]", width, height, kMaxSide));
  }
  if (colour > PNG_COLOR_TYPE_RGB_ALPHA || colour == 1 || colour == 5) {
    return absl::InvalidArgumentError(absl::StrFormat("bad PNG: colour type %d", colour));
  }
  const bool grey = (colour & PNG_COLOR_MASK_COLOR) == 0;
  const bool alpha = (colour & PNG_COLOR_MASK_ALPHA) != 0;
  info = {.format = ImageFormat::kPng,
          .width = static_cast<int>(width),
          .height = static_cast<int>(height),
          .channels = (grey ? 1 : 3) + (alpha ? 1 : 0),
          .bytes_per_sample = depth == 16 ? 2 : 1};
  return absl::OkStatus();
}

// Bits of one pixel in the file.
int StoredBits(std::string_view ihdr) {
  constexpr int kSamples[] = {1, 0, 3, 1, 2, 0, 4};
  return kSamples[static_cast<uint8_t>(ihdr[9])] * static_cast<uint8_t>(ihdr[8]);
}

struct PngErrors {
  char message[160] = "";
};

[[noreturn]] void OnError(png_structp png, png_const_charp message) {
  PngErrors* errors = static_cast<PngErrors*>(png_get_error_ptr(png));
  std::snprintf(errors->message, sizeof(errors->message), "%s", message);
  png_longjmp(png, 1);
}

void OnWarning(png_structp, png_const_charp) {}

// Runs libpng calls. REQUIRES: `calls` leaves no object with a destructor behind when an error
// jumps out of the middle of it.
template <typename Calls>
ABSL_ATTRIBUTE_NOINLINE absl::Status Guarded(png_structp png, const PngErrors& errors,
                                             Calls calls) {
  if (setjmp(png_jmpbuf(png)) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("bad PNG: ", errors.message));
  }
  calls();
  return absl::OkStatus();
}

void ReadBytes(png_structp png, png_bytep out, size_t count) {
  std::string_view* rest = static_cast<std::string_view*>(png_get_io_ptr(png));
  if (count > rest->size()) png_error(png, "the file ends too early");
  std::memcpy(out, rest->data(), count);
  rest->remove_prefix(count);
}

class PngReader {
 public:
  explicit PngReader(std::string_view bytes)
      : rest_(bytes),
        png_(png_create_read_struct(PNG_LIBPNG_VER_STRING, &errors_, OnError, OnWarning)),
        info_(png_ == nullptr ? nullptr : png_create_info_struct(png_)) {}
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  absl::Status ReadHeader(Image& image) {
    if (info_ == nullptr) return absl::ResourceExhaustedError("no memory to read a PNG");
    return Guarded(png_, errors_, [&] {
      png_set_read_fn(png_, &rest_, ReadBytes);
      png_set_user_limits(png_, kMaxSide, kMaxSide);  // the caller has checked the dimensions
      png_set_chunk_cache_max(png_, kMaxChunks);
      png_set_chunk_malloc_max(png_, kMaxAncillaryBytes);
      png_read_info(png_, info_);
      ExpandSamples();
      passes_ = png_set_interlace_handling(png_);
      png_read_update_info(png_, info_);
      image.width = static_cast<int>(png_get_image_width(png_, info_));
      image.height = static_cast<int>(png_get_image_height(png_, info_));
      image.channels = png_get_channels(png_, info_);
      image.bytes_per_sample = png_get_bit_depth(png_, info_) / 8;
    });
  }

  absl::Status ReadPixels(Image& image) {
    return Guarded(png_, errors_, [&] {
      for (int y = 0; y < image.height; ++y) png_read_row(png_, AppendRow(image), nullptr);
      for (int pass = 1; pass < passes_; ++pass) {
        for (int y = 0; y < image.height; ++y) png_read_row(png_, image.row(y), nullptr);
      }
      png_read_end(png_, info_);
    });
  }

  // REQUIRES: the pixels have been read: EXIF may follow them.
  absl::Status ReadMetadata(Image& image) {
    png_bytep exif = nullptr;
    png_uint_32 exif_bytes = 0;
    png_bytep icc = nullptr;
    png_uint_32 icc_bytes = 0;
    DW_RETURN_IF_ERROR(Guarded(png_, errors_, [&] {
      png_charp name = nullptr;
      int compression = 0;
      png_get_iCCP(png_, info_, &name, &compression, &icc, &icc_bytes);
      png_get_eXIf_1(png_, info_, &exif_bytes, &exif);
    }));
    if (icc != nullptr) image.icc_profile.assign(reinterpret_cast<char*>(icc), icc_bytes);
    if (exif != nullptr) image.exif.assign(reinterpret_cast<char*>(exif), exif_bytes);
    return absl::OkStatus();
  }

 private:
  void ExpandSamples() {
    png_set_palette_to_rgb(png_);
    png_set_expand_gray_1_2_4_to_8(png_);
    if (png_get_valid(png_, info_, PNG_INFO_tRNS) != 0) png_set_tRNS_to_alpha(png_);
    if constexpr (std::endian::native == std::endian::little) png_set_swap(png_);
  }

  std::string_view rest_;
  PngErrors errors_;
  png_structp png_;
  png_infop info_;
  int passes_ = 1;
};

// libpng's C code cannot carry an exception, so a failed append becomes a libpng error.
bool Append(std::string& file, const png_byte* data, size_t count) noexcept {
  try {
    file.append(reinterpret_cast<const char*>(data), count);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

void WriteBytes(png_structp png, png_bytep data, size_t count) {
  if (!Append(*static_cast<std::string*>(png_get_io_ptr(png)), data, count)) {
    png_error(png, "out of memory");
  }
}

void Flush(png_structp) {}

int ColourType(int channels) {
  constexpr int kTypes[] = {0, PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                            PNG_COLOR_TYPE_RGB_ALPHA};
  return kTypes[channels];
}

class PngWriter {
 public:
  PngWriter()
      : png_(png_create_write_struct(PNG_LIBPNG_VER_STRING, &errors_, OnError, OnWarning)),
        info_(png_ == nullptr ? nullptr : png_create_info_struct(png_)) {}
  ~PngWriter() { png_destroy_write_struct(&png_, &info_); }
  PngWriter(const PngWriter&) = delete;
  PngWriter& operator=(const PngWriter&) = delete;

  absl::Status Write(const EncodeSource& source) {
    if (info_ == nullptr) return absl::ResourceExhaustedError("no memory to write a PNG");
    return Guarded(png_, errors_, [&] {
      WriteHeader(source);
      for (int y = 0; y < source.rows.height(); ++y) png_write_row(png_, source.rows.Row(y));
      png_write_end(png_, info_);
    });
  }

  std::string TakeFile() { return std::move(file_); }

 private:
  void WriteHeader(const EncodeSource& source) {
    const PixelRows& rows = source.rows;
    png_set_write_fn(png_, &file_, WriteBytes, Flush);
    png_set_user_limits(png_, kMaxSide, kMaxSide);
    png_set_benign_errors(png_, 1);
    png_set_compression_level(png_, kCompressionLevel);
    png_set_filter(png_, PNG_FILTER_TYPE_BASE, PNG_FILTER_SUB | PNG_FILTER_UP | PNG_FILTER_PAETH);
    png_set_IHDR(png_, info_, static_cast<png_uint_32>(rows.width()),
                 static_cast<png_uint_32>(rows.height()), 8 * rows.bytes_per_sample(),
                 ColourType(rows.channels()), PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    WriteMetadata(source);
    png_write_info(png_, info_);
    if constexpr (std::endian::native == std::endian::little) png_set_swap(png_);
  }

  void WriteMetadata(const EncodeSource& source) {
    if (!source.icc_profile.empty()) {
      png_set_iCCP(png_, info_, "ICC profile", PNG_COMPRESSION_TYPE_BASE,
                   reinterpret_cast<png_const_bytep>(source.icc_profile.data()),
                   static_cast<png_uint_32>(source.icc_profile.size()));
    }
    if (!source.exif.empty()) {
      png_bytep exif = reinterpret_cast<png_bytep>(const_cast<char*>(source.exif.data()));
      png_set_eXIf_1(png_, info_, static_cast<png_uint_32>(source.exif.size()), exif);
    }
  }

  std::string file_;
  PngErrors errors_;
  png_structp png_;
  png_infop info_;
};

}  // namespace

absl::StatusOr<Header> ReadPngHeader(std::string_view bytes) {
  std::string_view rest = bytes.substr(kSignatureBytes);
  Chunk chunk;
  if (!NextChunk(rest, chunk) || chunk.type != "IHDR" || chunk.data.size() != 13) {
    return absl::InvalidArgumentError(
        absl::StrFormat("bad PNG: no header in %d bytes", bytes.size()));
  }
  Header header;
  DW_RETURN_IF_ERROR(ReadIhdr(chunk.data, header.info));
  header.least_bits_per_pixel = StoredBits(chunk.data) / kMaxDeflateRatio;
  while (NextChunk(rest, chunk) && chunk.type != "IEND") {
    if (chunk.type == "tRNS" && header.info.channels % 2 == 1) ++header.info.channels;
    if (chunk.type == "eXIf") header.orientation = ExifOrientation(chunk.data);
    if (chunk.type == "acTL" && chunk.data.size() >= 4 && BigEndian32(chunk.data, 0) > 1) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "unsupported format animated PNG (%u frames)", BigEndian32(chunk.data, 0)));
    }
  }
  return header;
}

absl::StatusOr<Decoded> DecodePng(std::string_view bytes) {
  Decoded decoded;
  PngReader reader(bytes);
  DW_RETURN_IF_ERROR(reader.ReadHeader(decoded.image));
  DW_RETURN_IF_ERROR(reader.ReadPixels(decoded.image));
  DW_RETURN_IF_ERROR(reader.ReadMetadata(decoded.image));
  decoded.orientation = ExifOrientation(decoded.image.exif);
  return decoded;
}

absl::StatusOr<std::string> EncodePng(const EncodeSource& source) {
  PngWriter writer;
  DW_RETURN_IF_ERROR(writer.Write(source));
  return writer.TakeFile();
}

}  // namespace deweather
