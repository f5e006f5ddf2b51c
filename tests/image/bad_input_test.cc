// Nothing that a caller sends crashes, hangs, or comes back as half a picture.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "model/image/codec.h"
#include "tests/image/foreign_files.h"
#include "tests/image/pictures.h"

namespace deweather {
namespace {

using ::testing::HasSubstr;

void ExpectRefused(std::string_view bytes, std::string_view words,
                   const DecodeLimits& limits = {}) {
  for (const absl::Status& status :
       {ReadImageInfo(bytes, limits).status(), DecodeImage(bytes, limits).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(words)));
  }
}

std::string Encode(const Image& image, ImageFormat format) {
  absl::StatusOr<std::string> file = EncodeImage(image, {.format = format});
  EXPECT_TRUE(file.ok()) << file.status();
  return file.value_or("");
}

struct Sample {
  std::string name;
  std::string file;
};

// One file of every kind the decoders know.
std::vector<Sample> Samples() {
  Image picture = SmoothPicture(45, 34, 3, 1);
  picture.exif = CameraExif(6);
  picture.icc_profile = AdobeRgbProfile();
  Image clear = NoisePicture(30, 20, 4, 1, 1);
  const Image deep = NoisePicture(21, 18, 4, 2, 2);
  const Image grey = SmoothPicture(40, 30, 1, 1);
  return {
      {"jpeg", Encode(picture, ImageFormat::kJpeg)},
      {"progressive jpeg", WriteJpeg(picture, {.chroma_step = 2, .progressive = true})},
      {"grey jpeg", WriteJpeg(grey, {.restart_rows = 1})},
      {"png", Encode(picture, ImageFormat::kPng)},
      {"deep png", Encode(deep, ImageFormat::kPng)},
      {"interlaced png", WritePng(30, 20, Rows(clear), {.colour_type = 6, .interlaced = true})},
      {"webp", Encode(picture, ImageFormat::kWebp)},
      {"lossy webp", WriteLossyWebp(clear, 75)},
      {"tiff", Encode(picture, ImageFormat::kTiff)},
      {"plain tiff",
       WriteTiff(21, 18, Rows(deep), {.mode = "wb", .bits = 16, .samples = 4, .alpha = 1})},
      {"tiled tiff", WriteTiff(30, 20, Rows(clear),
                               {.samples = 4, .compression = 5, .separate = true, .tile_px = 16})},
      {"jpeg tiff", WriteTiff(45, 34, Rows(picture), {.photometric = 6, .compression = 7})},
      {"bmp", Encode(clear, ImageFormat::kBmp)},
      {"grey bmp", Encode(grey, ImageFormat::kBmp)},
  };
}

TEST(BadInputTest, ZeroBytes) { ExpectRefused("", "no image: 0 bytes"); }

TEST(BadInputTest, NoImage) {
  ExpectRefused("hello, world", "not an image: 12 bytes that begin 68 65 6C 6C 6F");
  ExpectRefused(std::string(1000, '\0'), "not an image");
  ExpectRefused("\xFF", "not an image: 1 bytes");
}

TEST(BadInputTest, UnsupportedFormatsAreNamed) {
  const auto box = [](std::string_view brand, std::string_view compatible) {
    return std::string("\0\0\0\x1C", 4) + "ftyp" + std::string(brand) + std::string(4, '\0') +
           std::string(compatible) + std::string(64, 'x');
  };
  const std::vector<std::pair<std::string, std::string>> files = {
      {box("heic", "mif1heic"), "unsupported format HEIC"},
      {box("mif1", "mif1heic"), "unsupported format HEIC"},
      {box("avif", "mif1avif"), "unsupported format AVIF"},
      {box("mif1", "mif1avif"), "unsupported format AVIF"},
      {box("mif1", "mif1miaf"), "unsupported format HEIF"},
      {box("isom", "mp42avc1"), "unsupported format MP4"},
      {"GIF89a" + std::string(20, 'x'), "unsupported format GIF"},
      {std::string("\0\0\0\x0CJXL \r\n\x87\n", 12), "unsupported format JPEG XL"},
      {"\xFF\x0A" + std::string(20, 'x'), "unsupported format JPEG XL"},
      {std::string("\0\0\0\x0CjP  \r\n\x87\n", 12), "unsupported format JPEG 2000"},
      {"%PDF-1.7 ...", "unsupported format PDF"},
      {"<svg xmlns=''></svg>", "unsupported format SVG"},
      {"<?xml version='1.0'?>\n<svg/>", "unsupported format SVG"},
      {"P6\n10 10 255\n", "unsupported format Netpbm"},
      {"8BPS....", "unsupported format Photoshop"},
      {"v/1\x01....", "unsupported format OpenEXR"},
  };
  for (const auto& [bytes, words] : files) ExpectRefused(bytes, words);
}

TEST(BadInputTest, SixtyNineBytesThatClaimTwentyThousandSquared) {
  const std::string file = ClaimingPng(20'000, 20'000);
  ASSERT_EQ(file.size(), 69u);
  ExpectRefused(file, "20000x20000 = 400000000 pixels is over the limit of 200000000 pixels");
  ExpectRefused(file, "take at least 1162791 bytes, the file has 69",
                {.max_pixels = 1'000'000'000});
}

TEST(BadInputTest, OverTheLimitIsNamedInEveryFormat) {
  for (const Sample& sample : Samples()) {
    SCOPED_TRACE(sample.name);
    ExpectRefused(sample.file, "pixels is over the limit of 100 pixels", {.max_pixels = 100});
    const absl::StatusOr<ImageInfo> info = ReadImageInfo(sample.file, {});
    ASSERT_TRUE(info.ok()) << info.status();
    const int64_t pixels = int64_t{info->width} * info->height;
    EXPECT_TRUE(DecodeImage(sample.file, {.max_pixels = pixels}).ok());
    EXPECT_FALSE(DecodeImage(sample.file, {.max_pixels = pixels - 1}).ok());
  }
}

TEST(BadInputTest, HugeClaimsAreRefusedBeforeTheyCost) {
  // 2^31 - 1 squared overflows nothing.
  ExpectRefused(ClaimingPng(0x7FFFFFFF, 0x7FFFFFFF), "over the limit");
  ExpectRefused(ClaimingPng(0, 5), "0x5");
  ExpectRefused(ClaimingPng(0xFFFFFFFF, 5), "4294967295x5");
}

TEST(BadInputTest, TruncatedAtEveryLength) {
  for (const Sample& sample : Samples()) {
    SCOPED_TRACE(sample.name);
    const size_t size = sample.file.size();
    for (size_t length = 0; length < size; length += 1 + size / 400) {
      const std::string_view cut = std::string_view(sample.file).substr(0, length);
      EXPECT_FALSE(DecodeImage(cut, {}).ok()) << length << " of " << size;
    }
  }
}

TEST(BadInputTest, LastByteMissing) {
  for (const Sample& sample : Samples()) {
    const std::string_view cut = std::string_view(sample.file).substr(0, sample.file.size() - 1);
    const absl::Status status = DecodeImage(cut, {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << sample.name << ": " << status;
  }
}

TEST(BadInputTest, TrailingBytesAreIgnored) {
  for (const Sample& sample : Samples()) {
    EXPECT_TRUE(DecodeImage(sample.file + "trailing bytes", {}).ok()) << sample.name;
  }
}

// Seeded: the same files each time. Sanitizers watch.
TEST(BadInputTest, MutatedFilesNeverCrash) {
  std::mt19937 random(31337);
  int decoded = 0;
  int refused = 0;
  const DecodeLimits limits = {.max_pixels = 1 << 20};
  for (const Sample& sample : Samples()) {
    for (int i = 0; i < 1000; ++i) {
      std::string file = sample.file;
      const size_t reach = i % 2 == 0 ? file.size() : std::min<size_t>(file.size(), 200);
      for (size_t k = 0; k <= random() % 6; ++k) {
        file[random() % reach] = static_cast<char>(random() & 0xFF);
      }
      if (i % 7 == 0) file.erase(random() % file.size(), random() % 64);
      if (i % 4 != 0 && sample.name.ends_with("png")) file = RepairChecksums(std::move(file));
      const absl::StatusOr<Image> image = DecodeImage(file, limits);
      (void)ReadImageInfo(file, limits);
      if (image.ok()) {
        ++decoded;
        EXPECT_EQ(image->samples.size(), image->row_bytes() * static_cast<size_t>(image->height));
        EXPECT_LE(int64_t{image->width} * image->height, limits.max_pixels);
      } else {
        ++refused;
        EXPECT_FALSE(image.status().message().empty());
      }
    }
  }
  EXPECT_GT(decoded, 100);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace deweather
