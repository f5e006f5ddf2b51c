// Files as other programs write them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "model/image/codec.h"
#include "model/image/quality.h"
#include "tests/image/foreign_files.h"
#include "tests/image/pictures.h"

namespace deweather {
namespace {

using ::testing::HasSubstr;

Image Decode(std::string_view bytes) {
  absl::StatusOr<Image> image = DecodeImage(bytes, {});
  EXPECT_TRUE(image.ok()) << image.status();
  if (!image.ok()) return {};
  const absl::StatusOr<ImageInfo> info = ReadImageInfo(bytes, {});
  EXPECT_TRUE(info.ok()) << info.status();
  if (info.ok()) {
    EXPECT_EQ(info->channels, image->channels);
    EXPECT_EQ(info->DecodedBytes(), static_cast<int64_t>(image->samples.size()));
  }
  return *std::move(image);
}

void ExpectRefused(std::string_view bytes, std::string_view words) {
  for (const absl::Status& status :
       {DecodeImage(bytes, {}).status(), ReadImageInfo(bytes, {}).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(words)));
  }
}

TEST(ForeignJpegTest, ProgressiveSubsampledAndRestarted) {
  const Image picture = SmoothPicture(83, 59, 3, 1);
  for (const JpegVariant& variant :
       {JpegVariant{.progressive = true}, JpegVariant{.chroma_step = 2, .progressive = true},
        JpegVariant{.chroma_step = 2}, JpegVariant{.restart_rows = 1}}) {
    EXPECT_GT(CompareImages(picture, Decode(WriteJpeg(picture, variant)))->psnr_rgb, 30);
  }
  const Image grey = SmoothPicture(83, 59, 1, 1);
  const Image decoded = Decode(WriteJpeg(grey, {.progressive = true}));
  EXPECT_EQ(decoded.channels, 1);
  EXPECT_GT(CompareImages(grey, decoded)->psnr_rgb, 35);
}

TEST(ForeignJpegTest, CmykIsNamed) {
  ExpectRefused(WriteJpeg(SmoothPicture(20, 20, 4, 1), {.cmyk = true}), "CMYK JPEG");
}

TEST(ForeignJpegTest, EndlessScansAreRefused) {
  const Image picture = SmoothPicture(64, 64, 3, 1);
  Decode(WriteJpeg(picture, {.progressive = true, .repeated_scans = 50}));
  const std::string file = WriteJpeg(picture, {.progressive = true, .repeated_scans = 200});
  const absl::Status status = DecodeImage(file, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("more than 100 scans"));
}

TEST(ForeignPngTest, InterlacedOfEveryDepth) {
  for (const int channels : {1, 2, 3, 4}) {
    for (const int bytes : {1, 2}) {
      const Image picture = NoisePicture(37, 21, channels, bytes, 1);
      constexpr int kColourTypes[] = {0, 0, 4, 2, 6};
      const std::string file = WritePng(
          37, 21, Rows(picture, true),
          {.bit_depth = 8 * bytes, .colour_type = kColourTypes[channels], .interlaced = true});
      EXPECT_EQ(GreatestDifference(Decode(file), picture), 0);
    }
  }
}

TEST(ForeignPngTest, InterlacedAndTiny) {
  for (int side = 1; side < 9; ++side) {
    const Image picture = NoisePicture(side, 9 - side, 3, 1, 2);
    const std::string file = WritePng(side, 9 - side, Rows(picture), {.interlaced = true});
    EXPECT_EQ(GreatestDifference(Decode(file), picture), 0);
  }
}

TEST(ForeignPngTest, PalettesBecomeRgb) {
  const std::vector<uint8_t> palette = {10, 20, 30, 40, 50, 60, 70, 80, 90, 1, 2, 3};
  const std::vector<std::vector<uint8_t>> rows = {{0b00011011, 0b11000000}};  // 0 1 2 3 3
  const Image image =
      Decode(WritePng(5, 1, rows, {.bit_depth = 2, .colour_type = 3, .palette = palette}));
  ASSERT_EQ(image.channels, 3);
  EXPECT_THAT(image.samples,
              ::testing::ElementsAre(10, 20, 30, 40, 50, 60, 70, 80, 90, 1, 2, 3, 1, 2, 3));
  const Image transparent = Decode(
      WritePng(5, 1, rows,
               {.bit_depth = 2, .colour_type = 3, .palette = palette, .palette_alpha = {0, 128}}));
  ASSERT_EQ(transparent.channels, 4);
  EXPECT_EQ(SampleAt(transparent, 0, 0, 3), 0);
  EXPECT_EQ(SampleAt(transparent, 1, 0, 3), 128);
  EXPECT_EQ(SampleAt(transparent, 2, 0, 3), 255);
}

TEST(ForeignPngTest, GreyOfFewBitsIsSpread) {
  const Image one = Decode(WritePng(4, 1, {{0b01010000}}, {.bit_depth = 1, .colour_type = 0}));
  EXPECT_THAT(one.samples, ::testing::ElementsAre(0, 255, 0, 255));
  const Image four = Decode(WritePng(2, 1, {{0x0A}}, {.bit_depth = 4, .colour_type = 0}));
  EXPECT_THAT(four.samples, ::testing::ElementsAre(0, 170));
}

TEST(ForeignPngTest, ATransparentGreyBecomesAlpha) {
  const Image image = Decode(
      WritePng(3, 1, {{5, 77, 5}}, {.bit_depth = 8, .colour_type = 0, .transparent_grey = 77}));
  EXPECT_THAT(image.samples, ::testing::ElementsAre(5, 255, 77, 0, 5, 255));
}

TEST(ForeignPngTest, AnimationIsNamed) {
  std::string file = WritePng(2, 1, {{1, 2, 3, 4, 5, 6}}, {});
  file.insert(33, PngChunk("acTL", std::string("\0\0\0\x05\0\0\0\0", 8)));  // behind IHDR
  ExpectRefused(file, "animated PNG (5 frames)");
}

TEST(ForeignWebpTest, LossyWithAndWithoutAlpha) {
  for (const int channels : {3, 4}) {
    const Image picture = SmoothPicture(60, 40, channels, 1);
    const Image decoded = Decode(WriteLossyWebp(picture, 90));
    EXPECT_EQ(decoded.channels, channels);
    EXPECT_GT(CompareImages(picture, decoded)->psnr_rgb, 30);
  }
}

TEST(ForeignWebpTest, AnimationIsNamed) {
  ExpectRefused(WriteAnimatedWebp(NoisePicture(20, 20, 3, 1, 1), NoisePicture(20, 20, 3, 1, 2)),
                "animated WebP");
}

// Compression, tiled, planes, byte order.
TEST(ForeignTiffTest, EveryLayout) {
  for (const int channels : {1, 3, 4}) {
    for (const int bytes : {1, 2}) {
      const Image picture = NoisePicture(53, 41, channels, bytes, 3);
      for (const int compression : {1, 5, 8, 32773}) {
        for (const bool separate : {false, true}) {
          for (const int tile_px : {0, 16}) {
            for (const char* mode : {"wl", "wb", "w8"}) {
              const std::string file = WriteTiff(53, 41, Rows(picture),
                                                 {.mode = mode,
                                                  .bits = 8 * bytes,
                                                  .samples = channels,
                                                  .photometric = channels == 1 ? 1 : 2,
                                                  .compression = compression,
                                                  .alpha = channels == 4 ? 2 : 0,
                                                  .separate = separate,
                                                  .tile_px = tile_px});
              ASSERT_EQ(GreatestDifference(Decode(file), picture), 0)
                  << channels << " channels, " << bytes << " bytes, compression " << compression
                  << ", separate " << separate << ", tile " << tile_px << ", mode " << mode;
            }
          }
        }
      }
    }
  }
}

TEST(ForeignTiffTest, JpegCompressedYcbcr) {
  const Image picture = SmoothPicture(64, 48, 3, 1);
  for (const int tile_px : {0, 16}) {
    const std::string file =
        WriteTiff(64, 48, Rows(picture), {.photometric = 6, .compression = 7, .tile_px = tile_px});
    EXPECT_GT(CompareImages(picture, Decode(file))->psnr_rgb, 25);
  }
}

TEST(ForeignTiffTest, WhiteIsZero) {
  const Image image = Decode(WriteTiff(3, 1, {{0, 100, 255}}, {.samples = 1, .photometric = 0}));
  EXPECT_THAT(image.samples, ::testing::ElementsAre(255, 155, 0));
}

TEST(ForeignTiffTest, FewBitsAndPalettes) {
  const Image one =
      Decode(WriteTiff(4, 1, {{0b01010000}}, {.bits = 1, .samples = 1, .photometric = 1}));
  EXPECT_THAT(one.samples, ::testing::ElementsAre(0, 255, 0, 255));
  std::vector<uint16_t> palette(48);
  palette[5] = 65535;       // red of colour 5
  palette[16 + 5] = 257;    // green
  palette[32 + 10] = 2570;  // blue of colour 10
  const Image indexed = Decode(
      WriteTiff(2, 1, {{0x5A}}, {.bits = 4, .samples = 1, .photometric = 3, .palette = palette}));
  EXPECT_THAT(indexed.samples, ::testing::ElementsAre(255, 1, 0, 0, 0, 10));
}

TEST(ForeignTiffTest, PremultipliedAlphaBecomesStraight) {
  const Image image = Decode(
      WriteTiff(3, 1, {{50, 100, 0, 100, 9, 9, 9, 0, 200, 1, 2, 255}}, {.samples = 4, .alpha = 1}));
  EXPECT_THAT(image.samples, ::testing::ElementsAre(128, 255, 0, 100, 9, 9, 9, 0, 200, 1, 2, 255));
}

TEST(ForeignTiffTest, WhatIsNotReadIsNamed) {
  const Image deep = NoisePicture(8, 8, 4, 2, 4);
  const std::vector<std::vector<uint8_t>> rows = Rows(deep);
  ExpectRefused(
      WriteTiff(8, 8, rows, {.bits = 32, .samples = 1, .photometric = 1, .sample_format = 3}),
      "float TIFF (32 bits per sample)");
  ExpectRefused(
      WriteTiff(8, 8, rows, {.bits = 16, .samples = 1, .photometric = 1, .sample_format = 3}),
      "float TIFF (16 bits per sample)");
  ExpectRefused(WriteTiff(8, 8, rows, {.bits = 32, .samples = 1, .photometric = 1}), "32 bits");
  ExpectRefused(
      WriteTiff(8, 8, rows, {.bits = 16, .samples = 1, .photometric = 1, .sample_format = 2}),
      "sample format 2");
  ExpectRefused(WriteTiff(8, 8, rows, {.samples = 4, .photometric = 5}), "CMYK TIFF");
  ExpectRefused(WriteTiff(8, 8, rows, {.samples = 3, .pages = 2}), "multi-page TIFF");
}

TEST(ForeignTiffTest, AThumbnailBehindThePictureIsIgnored) {
  const Image picture = NoisePicture(16, 16, 3, 1, 5);
  const std::string file = WriteTiff(16, 16, Rows(picture), {.thumbnail = true});
  EXPECT_EQ(GreatestDifference(Decode(file), picture), 0);
}

// A BMP by hand: header of `header_bytes`, then whatever follows it.
struct BmpVariant {
  int width = 2;
  int height = 2;  // negative: top-down
  int bits = 24;
  int compression = 0;
  int header_bytes = 40;
  int colours = 0;
};

void Append(std::string& file, uint32_t value, int count) {
  for (int i = 0; i < count; ++i) file += static_cast<char>(value >> (8 * i) & 0xFF);
}

std::string WriteBmp(const BmpVariant& variant, std::string_view tables, std::string_view pixels) {
  std::string file = "BM";
  const int pixels_at = 14 + variant.header_bytes + static_cast<int>(tables.size());
  Append(file, static_cast<uint32_t>(pixels_at) + static_cast<uint32_t>(pixels.size()), 4);
  Append(file, 0, 4);
  Append(file, static_cast<uint32_t>(pixels_at), 4);
  Append(file, static_cast<uint32_t>(variant.header_bytes), 4);
  const int side_bytes = variant.header_bytes == 12 ? 2 : 4;
  Append(file, static_cast<uint32_t>(variant.width), side_bytes);
  Append(file, static_cast<uint32_t>(variant.height), side_bytes);
  Append(file, 1, 2);
  Append(file, static_cast<uint32_t>(variant.bits), 2);
  if (variant.header_bytes > 12) {
    Append(file, static_cast<uint32_t>(variant.compression), 4);
    file.append(12, '\0');
    Append(file, static_cast<uint32_t>(variant.colours), 4);
    Append(file, 0, 4);
  }
  file.resize(14 + static_cast<size_t>(variant.header_bytes));
  file += tables;
  file += pixels;
  return file;
}

TEST(ForeignBmpTest, BottomUpAndTopDown) {
  const std::string pixels("\1\2\3\4\5\6\0\0\7\x8\x9\xA\xB\xC\0\0", 16);
  EXPECT_THAT(Decode(WriteBmp({}, "", pixels)).samples,
              ::testing::ElementsAre(9, 8, 7, 12, 11, 10, 3, 2, 1, 6, 5, 4));
  EXPECT_THAT(Decode(WriteBmp({.height = -2}, "", pixels)).samples,
              ::testing::ElementsAre(3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10));
  EXPECT_THAT(Decode(WriteBmp({.header_bytes = 12}, "", pixels)).samples,
              ::testing::ElementsAre(9, 8, 7, 12, 11, 10, 3, 2, 1, 6, 5, 4));
}

TEST(ForeignBmpTest, ColourMasks) {
  std::string masks;
  for (const uint32_t mask : {0xF800u, 0x07E0u, 0x001Fu}) Append(masks, mask, 4);
  const std::string pixel("\xE0\x07\x1F\xF8", 4);  // pure green, magenta
  EXPECT_THAT(Decode(WriteBmp({.height = 1, .bits = 16, .compression = 3}, masks, pixel)).samples,
              ::testing::ElementsAre(0, 255, 0, 255, 0, 255));
  EXPECT_THAT(
      Decode(WriteBmp({.height = 1, .bits = 16}, "", std::string("\x1F\x7C\0\0", 4))).samples,
      ::testing::ElementsAre(255, 0, 255, 0, 0, 0));
  std::string with_alpha;
  for (const uint32_t mask : {0xFFu, 0xFF00u, 0xFF0000u, 0xFF000000u}) Append(with_alpha, mask, 4);
  EXPECT_THAT(Decode(WriteBmp({.width = 1, .height = 1, .bits = 32, .compression = 6}, with_alpha,
                              "\1\2\3\4"))
                  .samples,
              ::testing::ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(Decode(WriteBmp({.width = 1, .height = 1, .bits = 32}, "", "\1\2\3\4")).samples,
              ::testing::ElementsAre(3, 2, 1));
}

TEST(ForeignBmpTest, Palettes) {
  const std::string colours("\1\2\3\0\4\5\6\0", 8);
  const std::string bits("\x40\0\0\0", 4);  // 0, 1
  EXPECT_THAT(Decode(WriteBmp({.height = 1, .bits = 1}, colours, bits)).samples,
              ::testing::ElementsAre(3, 2, 1, 6, 5, 4));
  const std::string nibbles("\x10\0\0\0", 4);  // 1, 0
  EXPECT_THAT(Decode(WriteBmp({.height = 1, .bits = 4, .colours = 2}, colours, nibbles)).samples,
              ::testing::ElementsAre(6, 5, 4, 3, 2, 1));
  const std::string greys("\x9\x9\x9\0\x4\x4\x4\0", 8);
  EXPECT_THAT(
      Decode(WriteBmp({.height = 1, .bits = 8, .colours = 2}, greys, std::string("\1\0\0\0", 4)))
          .samples,
      ::testing::ElementsAre(4, 9));
}

TEST(ForeignBmpTest, WhatIsNotReadIsNamed) {
  const std::string pixels(16, '\0');
  ExpectRefused(WriteBmp({.bits = 8, .compression = 1}, std::string(1024, '\0'), pixels),
                "run-length compressed BMP");
  ExpectRefused(WriteBmp({.compression = 4}, "", pixels), "compression 4");
  ExpectRefused(WriteBmp({.bits = 2}, "", pixels), "2 bits");
  ExpectRefused(WriteBmp({.header_bytes = 41}, "", pixels), "header of 41 bytes");
  ExpectRefused(WriteBmp({.width = 0}, "", pixels), "0x2 pixels");
  ExpectRefused(WriteBmp({.height = static_cast<int>(0x80000000)}, "", pixels), "2147483648");
  ExpectRefused(WriteBmp({.bits = 8, .colours = 257}, pixels, pixels), "257 colours");
  ExpectRefused(WriteBmp({.bits = 32, .compression = 3}, std::string(12, '\x55'), pixels), "mask");
  // An index beyond the palette.
  const absl::Status status =
      DecodeImage(WriteBmp({.height = 1, .bits = 8, .colours = 1}, std::string(4, '\0'),
                           std::string("\0\1\0\0", 4)),
                  {})
          .status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("palette"));
}

}  // namespace
}  // namespace deweather
