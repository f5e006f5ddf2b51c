// BMP: bits read and written here, there is no library to trust with it.
//
// Layout   file header (14 bytes: "BM", file size, 4 reserved, pixel offset), info header (12, 40,
//          52, 56, 64, 108 or 124 bytes), colour masks (only after a 40-byte header), palette, rows.
//          Rows are padded to 4 bytes and stand bottom-up unless the height is negative. Little-endian.

#include <algorithm>
#include <array>
#include <bit>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"
#include "model/image/codec_formats.h"
#include "model/image/rgb_rows.h"

namespace deweather {
namespace {

constexpr size_t kFileHeaderBytes = 14;
constexpr size_t kCoreHeaderBytes = 12;
constexpr size_t kInfoHeaderBytes = 40;
constexpr size_t kMaskedHeaderBytes = 52;  // first one that includes the masks
constexpr size_t kV5HeaderBytes = 124;
constexpr int64_t kMaxFileBytes = 0xFFFFFFFF;

// Compression.
constexpr uint32_t kRgb = 0;
constexpr uint32_t kBitfields = 3;
constexpr uint32_t kAlphaBitfields = 6;

constexpr uint32_t kSrgb = 0x73524742;             // "sRGB"
constexpr uint32_t kProfileEmbedded = 0x4D424544;  // "MBED"

// Reads little-endian numbers; beyond the end they are 0, and the caller has checked the end.
class BmpBytes {
 public:
  explicit BmpBytes(std::string_view bytes) : bytes_(bytes) {}

  size_t size() const { return bytes_.size(); }
  bool Has(size_t at, size_t count) const {
    return at <= bytes_.size() && count <= bytes_.size() - at;
  }
  uint32_t U16(size_t at) const { return Number(at, 2); }
  uint32_t U32(size_t at) const { return Number(at, 4); }
  int32_t I32(size_t at) const { return std::bit_cast<int32_t>(U32(at)); }
  const uint8_t* data(size_t at) const {
    return reinterpret_cast<const uint8_t*>(bytes_.data()) + at;
  }

 private:
  uint32_t Number(size_t at, size_t count) const {
    if (!Has(at, count)) return 0;
    uint32_t value = 0;
    for (size_t i = count; i > 0; --i) value = value << 8 | data(at)[i - 1];
    return value;
  }

  std::string_view bytes_;
};

using Rgb = std::array<uint8_t, 3>;

struct BmpLayout {
  int64_t width = 0;
  int64_t height = 0;
  bool top_down = false;
  uint32_t bits = 0;  // of a pixel
  uint32_t compression = kRgb;
  size_t header_bytes = 0;
  size_t pixels_at = 0;
  std::array<uint32_t, 4> masks = {};  // red, green, blue, alpha; of 16 and 32 bits
  std::vector<Rgb> palette;
  std::string_view icc_profile;

  bool indexed() const { return bits <= 8; }
  bool grey() const {
    return indexed() && std::all_of(palette.begin(), palette.end(),
                                    [](const Rgb& c) { return c[0] == c[1] && c[1] == c[2]; });
  }
  int channels() const { return grey() ? 1 : masks[3] != 0 ? 4 : 3; }
  int64_t row_bytes() const { return (width * bits + 31) / 32 * 4; }
};

absl::Status BadBmp(std::string_view what) {
  return absl::InvalidArgumentError(absl::StrFormat("bad BMP: %s", what));
}

void ReadDimensions(const BmpBytes& bmp, BmpLayout& layout) {
  if (layout.header_bytes == kCoreHeaderBytes) {
    layout.width = bmp.U16(18);
    layout.height = bmp.U16(20);
    layout.bits = bmp.U16(24);
    return;
  }
  const int64_t height = bmp.I32(22);
  layout.width = bmp.I32(18);
  layout.height = height < 0 ? -height : height;
  layout.top_down = height < 0;
  layout.bits = bmp.U16(28);
  layout.compression = bmp.U32(30);
}

absl::Status CheckDimensions(const BmpLayout& layout) {
  if (layout.width < 1 || layout.height < 1 || layout.height > 0x7FFFFFFF) {
    return absl::InvalidArgumentError(
        absl::StrFormat("bad BMP: %dx%d pixels", layout.width, layout.height));
  }
  if (layout.compression == 1 || layout.compression == 2) {
    return absl::InvalidArgumentError("unsupported format run-length compressed BMP");
  }
  const bool masked = layout.compression == kBitfields || layout.compression == kAlphaBitfields;
  if (layout.compression != kRgb && !masked) {
    return absl::InvalidArgumentError(
        absl::StrFormat("unsupported format BMP with compression %d", layout.compression));
  }
  const uint32_t bits = layout.bits;
  const bool may_be_masked = bits == 16 || bits == 32;
  const bool known = bits == 1 || bits == 4 || bits == 8 || bits == 24 || may_be_masked;
  if (known && (may_be_masked || !masked)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("unsupported format BMP with %d bits per pixel and compression %d", bits,
                      layout.compression));
}

// Masks and palette stand behind the header; returns where they end.
absl::Status ReadMasks(const BmpBytes& bmp, BmpLayout& layout) {
  if (layout.indexed() || layout.bits == 24) return absl::OkStatus();
  if (layout.compression == kRgb) {
    layout.masks = layout.bits == 16 ? std::array<uint32_t, 4>{0x7C00, 0x3E0, 0x1F, 0}
                                     : std::array<uint32_t, 4>{0xFF0000, 0xFF00, 0xFF, 0};
    return absl::OkStatus();
  }
  const size_t at = kFileHeaderBytes + kInfoHeaderBytes;
  const bool has_alpha =
      layout.compression == kAlphaBitfields || layout.header_bytes > kMaskedHeaderBytes;
  const size_t count = has_alpha ? 4 : 3;
  if (!bmp.Has(at, count * 4)) return BadBmp("it ends before the colour masks");
  for (size_t i = 0; i < count; ++i) layout.masks[i] = bmp.U32(at + 4 * i);
  for (size_t i = 0; i < count; ++i) {
    const uint32_t mask = layout.masks[i];
    const uint32_t ones = mask == 0 ? 0 : mask >> std::countr_zero(mask);
    if ((ones & (ones + 1)) != 0 || (i < 3 && mask == 0)) {
      return absl::InvalidArgumentError(absl::StrFormat("bad BMP: colour mask %#x", mask));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadPalette(const BmpBytes& bmp, BmpLayout& layout) {
  if (!layout.indexed()) return absl::OkStatus();
  const bool core = layout.header_bytes == kCoreHeaderBytes;
  const uint32_t most = 1u << layout.bits;
  const uint32_t used = core ? 0 : bmp.U32(46);
  const uint32_t count = used == 0 ? most : used;
  const size_t entry_bytes = core ? 3 : 4;
  const size_t at = kFileHeaderBytes + layout.header_bytes;
  if (count > most) {
    return absl::InvalidArgumentError(
        absl::StrFormat("bad BMP: palette of %d colours, at most %d", count, most));
  }
  if (!bmp.Has(at, count * entry_bytes)) return BadBmp("it ends before the palette does");
  for (uint32_t i = 0; i < count; ++i) {
    const uint8_t* bgr = bmp.data(at + i * entry_bytes);
    layout.palette.push_back({bgr[2], bgr[1], bgr[0]});
  }
  return absl::OkStatus();
}

void ReadProfile(const BmpBytes& bmp, BmpLayout& layout) {
  if (layout.header_bytes < kV5HeaderBytes) return;
  if (bmp.U32(kFileHeaderBytes + 56) != kProfileEmbedded) return;
  const size_t at = kFileHeaderBytes + size_t{bmp.U32(kFileHeaderBytes + 112)};
  const size_t size = bmp.U32(kFileHeaderBytes + 116);
  if (!bmp.Has(at, size)) return;
  layout.icc_profile = {reinterpret_cast<const char*>(bmp.data(at)), size};
}

absl::StatusOr<BmpLayout> ReadLayout(std::string_view bytes) {
  const BmpBytes bmp(bytes);
  BmpLayout layout;
  layout.pixels_at = bmp.U32(10);
  layout.header_bytes = bmp.U32(14);
  constexpr size_t kKnown[] = {kCoreHeaderBytes, kInfoHeaderBytes, kMaskedHeaderBytes, 56, 64, 108,
                               kV5HeaderBytes};
  if (std::find(std::begin(kKnown), std::end(kKnown), layout.header_bytes) == std::end(kKnown)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("bad BMP: header of %d bytes", layout.header_bytes));
  }
  if (!bmp.Has(kFileHeaderBytes, layout.header_bytes)) return BadBmp("it ends within the header");
  ReadDimensions(bmp, layout);
  DW_RETURN_IF_ERROR(CheckDimensions(layout));
  DW_RETURN_IF_ERROR(ReadMasks(bmp, layout));
  DW_RETURN_IF_ERROR(ReadPalette(bmp, layout));
  ReadProfile(bmp, layout);
  return layout;
}

// The bits under a mask, spread over 0..255.
uint8_t Masked(uint32_t value, uint32_t mask) {
  if (mask == 0) return 255;
  const int shift = std::countr_zero(mask);
  const uint64_t most = mask >> shift;
  return static_cast<uint8_t>(((value & mask) >> shift) * uint64_t{255} / most);
}

class BmpReader {
 public:
  BmpReader(std::string_view bytes, const BmpLayout& layout, Image& image)
      : bmp_(bytes), layout_(layout), image_(image), grey_(layout.grey()) {}

  bool ReadPixels() {
    const size_t row_bytes = static_cast<size_t>(layout_.row_bytes());
    for (int y = 0; y < image_.height; ++y) {
      const int stored = layout_.top_down ? y : image_.height - 1 - y;
      const size_t at = layout_.pixels_at + static_cast<size_t>(stored) * row_bytes;
      if (!bmp_.Has(at, row_bytes) || !ReadRow(at, AppendRow(image_))) return false;
    }
    return true;
  }

 private:
  bool ReadRow(size_t at, uint8_t* out) const {
    if (layout_.indexed()) return ReadIndices(bmp_.data(at), out);
    if (layout_.bits == 24) {
      SwapRedAndBlue(bmp_.data(at), static_cast<size_t>(image_.width), out);
      return true;
    }
    const size_t pixel_bytes = layout_.bits / 8;
    for (int x = 0; x < image_.width; ++x, at += pixel_bytes) {
      const uint32_t pixel = pixel_bytes == 2 ? bmp_.U16(at) : bmp_.U32(at);
      for (size_t c = 0; c < static_cast<size_t>(image_.channels); ++c) {
        *out++ = Masked(pixel, layout_.masks[c]);
      }
    }
    return true;
  }

  // False for an index beyond the palette.
  bool ReadIndices(const uint8_t* stored, uint8_t* out) const {
    const size_t bits = layout_.bits;
    for (size_t x = 0; x < static_cast<size_t>(image_.width); ++x) {
      const size_t bit = x * bits;
      const size_t index = stored[bit / 8] >> (8 - bits - bit % 8) & ((1u << bits) - 1);
      if (index >= layout_.palette.size()) return false;
      const Rgb& colour = layout_.palette[index];
      out = std::copy_n(colour.begin(), grey_ ? 1 : 3, out);
    }
    return true;
  }

  const BmpBytes bmp_;
  const BmpLayout& layout_;
  Image& image_;
  const bool grey_;
};

void Append16(std::string& file, uint32_t value) {
  file += static_cast<char>(value & 0xFF);
  file += static_cast<char>(value >> 8 & 0xFF);
}

void Append32(std::string& file, uint32_t value) {
  Append16(file, value & 0xFFFF);
  Append16(file, value >> 16);
}

// What a file of one picture looks like.
struct BmpPlan {
  uint32_t bits = 24;
  size_t header_bytes = kInfoHeaderBytes;
  size_t palette_colours = 0;
  size_t row_bytes = 0;
  size_t pixels_at = 0;
  size_t profile_at = 0;
  size_t file_bytes = 0;
};

// Alpha needs masks and a profile a place, which the longest header has.
BmpPlan PlanFile(const EncodeSource& source) {
  const PixelRows& rows = source.rows;
  BmpPlan plan;
  if (rows.channels() == 1) {
    plan.bits = 8;
    plan.palette_colours = 256;
  }
  if (rows.has_alpha()) plan.bits = 32;
  if (rows.has_alpha() || !source.icc_profile.empty()) plan.header_bytes = kV5HeaderBytes;
  plan.row_bytes = (static_cast<size_t>(rows.width()) * plan.bits + 31) / 32 * 4;
  plan.pixels_at = kFileHeaderBytes + plan.header_bytes + 4 * plan.palette_colours;
  plan.profile_at = plan.pixels_at + plan.row_bytes * static_cast<size_t>(rows.height());
  plan.file_bytes = plan.profile_at + source.icc_profile.size();
  return plan;
}

void AppendHeaders(const BmpPlan& plan, const PixelRows& rows, std::string& file) {
  file += "BM";
  Append32(file, static_cast<uint32_t>(plan.file_bytes));
  Append32(file, 0);
  Append32(file, static_cast<uint32_t>(plan.pixels_at));
  Append32(file, static_cast<uint32_t>(plan.header_bytes));
  Append32(file, static_cast<uint32_t>(rows.width()));
  Append32(file, static_cast<uint32_t>(rows.height()));
  Append16(file, 1);  // planes
  Append16(file, plan.bits);
  Append32(file, plan.bits == 32 ? kBitfields : kRgb);
  Append32(file, static_cast<uint32_t>(plan.profile_at - plan.pixels_at));
  Append32(file, 2835);  // pixels per metre: 72 per inch
  Append32(file, 2835);
  Append32(file, static_cast<uint32_t>(plan.palette_colours));
  Append32(file, 0);
}

// The rest of the longest header.
void AppendV5(const BmpPlan& plan, size_t profile_bytes, std::string& file) {
  const bool masked = plan.bits == 32;
  for (const uint32_t mask : {0x00FF0000u, 0x0000FF00u, 0x000000FFu, 0xFF000000u}) {
    Append32(file, masked ? mask : 0);
  }
  Append32(file, profile_bytes == 0 ? kSrgb : kProfileEmbedded);
  file.append(36 + 12, '\0');  // endpoints, gammas
  Append32(file, 4);           // LCS_GM_IMAGES
  const size_t profile_at = plan.profile_at - kFileHeaderBytes;
  Append32(file, profile_bytes == 0 ? 0 : static_cast<uint32_t>(profile_at));
  Append32(file, static_cast<uint32_t>(profile_bytes));
  Append32(file, 0);
}

void WritePixels(const uint8_t* row, const PixelRows& rows, uint8_t* out) {
  const auto width = static_cast<size_t>(rows.width());
  if (rows.channels() == 1) {
    std::copy_n(row, width, out);
  } else if (rows.channels() == 3) {
    SwapRedAndBlue(row, width, out);
  } else {
    for (size_t x = 0; x < width; ++x, row += 4, out += 4) {
      out[0] = row[2];
      out[1] = row[1];
      out[2] = row[0];
      out[3] = row[3];
    }
  }
}

}  // namespace

absl::StatusOr<Header> ReadBmpHeader(std::string_view bytes) {
  DW_ASSIGN_OR_RETURN(const BmpLayout layout, ReadLayout(bytes));
  return Header{.info = {.format = ImageFormat::kBmp,
                         .width = static_cast<int>(layout.width),
                         .height = static_cast<int>(layout.height),
                         .channels = layout.channels()},
                .least_bits_per_pixel = static_cast<double>(layout.bits)};
}

absl::StatusOr<Decoded> DecodeBmp(std::string_view bytes) {
  DW_ASSIGN_OR_RETURN(const BmpLayout layout, ReadLayout(bytes));
  Decoded decoded;
  Image& image = decoded.image;
  image.width = static_cast<int>(layout.width);
  image.height = static_cast<int>(layout.height);
  image.channels = layout.channels();
  image.icc_profile = std::string(layout.icc_profile);
  if (!BmpReader(bytes, layout, image).ReadPixels()) {
    return BadBmp("a row is missing or a colour is not in the palette");
  }
  return decoded;
}

absl::StatusOr<std::string> EncodeBmp(const EncodeSource& source) {
  PixelRows& rows = source.rows;
  const BmpPlan plan = PlanFile(source);
  if (static_cast<int64_t>(plan.file_bytes) > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("picture of %dx%d pixels = %d bytes is over BMP's limit of %d bytes",
                        rows.width(), rows.height(), plan.file_bytes, kMaxFileBytes));
  }
  std::string file;
  file.reserve(plan.file_bytes);
  AppendHeaders(plan, rows, file);
  if (plan.header_bytes == kV5HeaderBytes) AppendV5(plan, source.icc_profile.size(), file);
  for (uint32_t i = 0; i < plan.palette_colours; ++i) Append32(file, i * 0x010101);
  file.resize(plan.profile_at);
  auto* out = reinterpret_cast<uint8_t*>(file.data()) + plan.pixels_at;
  for (int y = rows.height() - 1; y >= 0; --y, out += plan.row_bytes) {
    WritePixels(rows.Row(y), rows, out);
  }
  file += source.icc_profile;
  return file;
}

}  // namespace deweather
