// Files as other programs write them: everything that our own encoder never produces.

#ifndef DEWEATHER_TESTS_IMAGE_FOREIGN_FILES_H_
#define DEWEATHER_TESTS_IMAGE_FOREIGN_FILES_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "model/image/image.h"

namespace deweather {

struct JpegVariant {
  int quality = 90;
  int chroma_step = 1;  // luma samples per chroma sample, both ways
  bool progressive = false;
  bool cmyk = false;  // four components, `picture` has four channels
  int restart_rows = 0;
  int repeated_scans = 0;  // of a progressive file's first scan: a bomb
};
std::string WriteJpeg(const Image& picture, const JpegVariant& variant);

struct PngVariant {
  int bit_depth = 8;
  int colour_type = 2;  // 0 grey, 2 RGB, 3 palette, 4 grey+alpha, 6 RGBA
  bool interlaced = false;
  std::vector<uint8_t> palette = {};        // [index][3]
  std::vector<uint8_t> palette_alpha = {};  // [index]
  int transparent_grey = -1;
  std::string exif = {};
};
// `rows` are packed as PNG stores them, 16 bits big-endian.
std::string WritePng(int width, int height, const std::vector<std::vector<uint8_t>>& rows,
                     const PngVariant& variant);

// A PNG chunk with its CRC, a damaged file with right CRCs, and a whole file of nothing but a header
// and next to no pixels.
std::string PngChunk(std::string_view type, std::string_view data);
std::string RepairChecksums(std::string png);
std::string ClaimingPng(uint32_t width, uint32_t height);

struct TiffVariant {
  const char* mode = "w";  // "wb" big-endian, "w8" BigTIFF
  int bits = 8;
  int samples = 3;
  int photometric = 2;    // 0 white is zero, 1 black is zero, 2 RGB, 3 palette, 5 CMYK, 6 YCbCr
  int compression = 1;    // 1 none, 5 LZW, 6 old JPEG, 7 JPEG, 8 deflate, 32773 PackBits
  int sample_format = 1;  // 3 float
  int orientation = 1;
  int alpha = 0;  // EXTRASAMPLES: 1 premultiplied, 2 straight
  bool separate = false;
  int tile_px = 0;
  int pages = 1;
  bool thumbnail = false;              // a reduced page follows
  std::vector<uint16_t> palette = {};  // reds, greens, blues
};
// `rows` are packed as TIFF stores them, native byte order, pixel by pixel even when `separate`.
std::string WriteTiff(int width, int height, const std::vector<std::vector<uint8_t>>& rows,
                      const TiffVariant& variant);

std::string WriteLossyWebp(const Image& picture, float quality);
std::string WriteAnimatedWebp(const Image& first, const Image& second);

// The rows of a picture, 16-bit samples in the wanted byte order.
std::vector<std::vector<uint8_t>> Rows(const Image& picture, bool big_endian_16 = false);

}  // namespace deweather

#endif  // DEWEATHER_TESTS_IMAGE_FOREIGN_FILES_H_
