#include "model/image/sniff.h"

#include <algorithm>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"

namespace deweather {
namespace {

using namespace std::string_view_literals;

struct Magic {
  size_t at;
  std::string_view bytes;
};

struct KnownFormat {
  Magic magic;
  ImageFormat format;
};

constexpr KnownFormat kSupported[] = {
    {{0, "\xFF\xD8\xFF"sv}, ImageFormat::kJpeg},    {{0, "\x89PNG\r\n\x1A\n"sv}, ImageFormat::kPng},
    {{0, "II*\0"sv}, ImageFormat::kTiff},           {{0, "MM\0*"sv}, ImageFormat::kTiff},
    {{0, "II+\0\x08\0\0\0"sv}, ImageFormat::kTiff},  // BigTIFF
    {{0, "MM\0+\0\x08\0\0"sv}, ImageFormat::kTiff}, {{0, "BM"sv}, ImageFormat::kBmp},
};

struct ForeignFormat {
  Magic magic;
  std::string_view name;
};

constexpr ForeignFormat kUnsupported[] = {
    {{0, "GIF87a"sv}, "GIF"},
    {{0, "GIF89a"sv}, "GIF"},
    {{0, "\0\0\0\x0CjP  "sv}, "JPEG 2000"},
    {{0, "\xFF\x4F\xFF\x51"sv}, "JPEG 2000"},
    {{0, "\0\0\0\x0CJXL "sv}, "JPEG XL"},
    {{0, "\xFF\x0A"sv}, "JPEG XL"},
    {{0, "II\xBC\x01"sv}, "JPEG XR"},
    {{0, "IIU\0"sv}, "RW2 camera raw"},
    {{0, "IIRO"sv}, "ORF camera raw"},
    {{0, "IIRS"sv}, "ORF camera raw"},
    {{0, "FUJIFILMCCD-RAW"sv}, "RAF camera raw"},
    {{0, "v/1\x01"sv}, "OpenEXR"},
    {{0, "#?RADIANCE"sv}, "Radiance HDR"},
    {{0, "#?RGBE"sv}, "Radiance HDR"},
    {{0, "8BPS"sv}, "Photoshop PSD"},
    {{0, "\0\0\x01\0"sv}, "ICO"},
    {{0, "DDS "sv}, "DDS"},
    {{0, "qoif"sv}, "QOI"},
    {{0, "%PDF-"sv}, "PDF"},
    {{0, "%!PS"sv}, "PostScript"},
    {{0, "\x8AMNG"sv}, "MNG"},
    {{0, "\x1A\x45\xDF\xA3"sv}, "Matroska or WebM video"},
    {{0, "PK\x03\x04"sv}, "ZIP archive"},
    {{0, "\x1F\x8B"sv}, "gzip archive"},
};

struct Brand {
  std::string_view code;
  std::string_view name;
};

// Of an ISO base media file's "ftyp" box.
constexpr Brand kBrands[] = {
    {"avif", "AVIF"}, {"avis", "AVIF"}, {"heic", "HEIC"},           {"heix", "HEIC"},
    {"heim", "HEIC"}, {"heis", "HEIC"}, {"hevc", "HEIC"},           {"hevx", "HEIC"},
    {"mif1", "HEIF"}, {"msf1", "HEIF"}, {"crx ", "CR3 camera raw"},
};

bool Matches(std::string_view bytes, const Magic& magic) {
  return bytes.size() >= magic.at && bytes.substr(magic.at).starts_with(magic.bytes);
}

absl::Status Unsupported(std::string_view name) {
  return absl::InvalidArgumentError(
      absl::StrFormat("unsupported format %s; JPEG, PNG, WebP, TIFF and BMP are read", name));
}

// The major brand decides; "mif1" says only HEIF, so the compatible ones are asked too.
std::string_view BrandName(std::string_view bytes) {
  std::string_view found;
  for (size_t at = 8; at + 4 <= std::min<size_t>(bytes.size(), 64); at += at == 8 ? 8 : 4) {
    for (const Brand& brand : kBrands) {
      if (bytes.substr(at, 4) != brand.code) continue;
      if (brand.name != "HEIF") return brand.name;
      found = brand.name;
    }
  }
  return found.empty() ? "MP4 or QuickTime video" : found;
}

bool IsNetpbm(std::string_view bytes) {
  return bytes.size() > 3 && bytes[0] == 'P' && bytes[1] >= '1' && bytes[1] <= '7' &&
         absl::ascii_isspace(static_cast<unsigned char>(bytes[2]));
}

bool IsSvg(std::string_view bytes) {
  const std::string_view start = bytes.substr(0, 1024);
  return start.starts_with("<svg") ||
         (start.starts_with("<?xml") && start.find("<svg") != std::string_view::npos);
}

std::string FirstBytes(std::string_view bytes) {
  std::string hex;
  for (const char byte : bytes.substr(0, 8)) {
    absl::StrAppendFormat(&hex, " %02X", static_cast<unsigned char>(byte));
  }
  return hex;
}

}  // namespace

absl::StatusOr<ImageFormat> SniffFormat(std::string_view bytes) {
  if (bytes.empty()) return absl::InvalidArgumentError("no image: 0 bytes");
  for (const KnownFormat& known : kSupported) {
    if (Matches(bytes, known.magic)) return known.format;
  }
  if (Matches(bytes, {0, "RIFF"}) && Matches(bytes, {8, "WEBP"})) return ImageFormat::kWebp;
  if (Matches(bytes, {4, "ftyp"})) return Unsupported(BrandName(bytes));
  for (const ForeignFormat& foreign : kUnsupported) {
    if (Matches(bytes, foreign.magic)) return Unsupported(foreign.name);
  }
  if (IsNetpbm(bytes)) return Unsupported("Netpbm");
  if (IsSvg(bytes)) return Unsupported("SVG");
  return absl::InvalidArgumentError(
      absl::StrFormat("not an image: %d bytes that begin%s", bytes.size(), FirstBytes(bytes)));
}

}  // namespace deweather
