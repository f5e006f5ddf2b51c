// What we write, we read; what we cannot write, we say.

#include "model/image/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "model/image/exif.h"
#include "model/image/quality.h"
#include "tests/image/foreign_files.h"
#include "tests/image/pictures.h"

namespace deweather {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr ImageFormat kFormats[] = {ImageFormat::kJpeg, ImageFormat::kPng, ImageFormat::kWebp,
                                    ImageFormat::kTiff, ImageFormat::kBmp};

Image Decode(std::string_view bytes) {
  absl::StatusOr<Image> image = DecodeImage(bytes, {});
  EXPECT_TRUE(image.ok()) << image.status();
  return image.ok() ? *std::move(image) : Image{};
}

std::string Encode(const Image& image, const EncodeOptions& options) {
  absl::StatusOr<std::string> file = EncodeImage(image, options);
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? *std::move(file) : std::string();
}

std::string EncodeAs(const Image& image, ImageFormat format) {
  return Encode(image, {.format = format});
}

absl::Status EncodeError(const Image& image, ImageFormat format) {
  return EncodeImage(image, {.format = format}).status();
}

std::string CaseName(ImageFormat format, int channels, int bytes) {
  return std::string(ImageFormatName(format)) + "_" + std::to_string(channels) + "_channels_" +
         std::to_string(8 * bytes) + "_bits";
}

TEST(ImageFormatTest, NamesAndExtensions) {
  EXPECT_EQ(*ParseImageFormat("jpg"), ImageFormat::kJpeg);
  EXPECT_EQ(*ParseImageFormat("JPEG"), ImageFormat::kJpeg);
  EXPECT_EQ(*ParseImageFormat("tif"), ImageFormat::kTiff);
  for (const ImageFormat format : kFormats) {
    EXPECT_EQ(*ParseImageFormat(ImageFormatName(format)), format);
  }
  const absl::Status unknown = ParseImageFormat("heic").status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(unknown.message(), HasSubstr("\"heic\""));
}

// Format, channels, bytes per sample.
class LosslessRoundTrip : public ::testing::TestWithParam<std::tuple<ImageFormat, int, int>> {};

TEST_P(LosslessRoundTrip, IsExact) {
  const auto [format, channels, bytes] = GetParam();
  for (const auto& [width, height] : {std::pair{1, 1}, {37, 23}, {64, 1}, {1, 50}}) {
    const Image before = NoisePicture(width, height, channels, bytes, 1);
    const std::string file = EncodeAs(before, format);
    const Image after = Decode(file);
    EXPECT_EQ(GreatestDifference(before, after), 0) << width << "x" << height;
    EXPECT_EQ(after.format, format);
    EXPECT_TRUE(after.lossless);
    const absl::StatusOr<ImageInfo> info = ReadImageInfo(file, {});
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->format, format);
    EXPECT_EQ(info->width, width);
    EXPECT_EQ(info->height, height);
    EXPECT_EQ(info->channels, channels);
    EXPECT_EQ(info->bytes_per_sample, bytes);
    EXPECT_EQ(info->DecodedBytes(), static_cast<int64_t>(after.samples.size()));
  }
}

std::string LosslessName(const ::testing::TestParamInfo<LosslessRoundTrip::ParamType>& info) {
  return CaseName(std::get<0>(info.param), std::get<1>(info.param), std::get<2>(info.param));
}

INSTANTIATE_TEST_SUITE_P(Deep, LosslessRoundTrip,
                         ::testing::Combine(::testing::Values(ImageFormat::kPng,
                                                              ImageFormat::kTiff),
                                            ::testing::Values(1, 2, 3, 4), ::testing::Values(1, 2)),
                         LosslessName);
INSTANTIATE_TEST_SUITE_P(Webp, LosslessRoundTrip,
                         ::testing::Combine(::testing::Values(ImageFormat::kWebp),
                                            ::testing::Values(3, 4), ::testing::Values(1)),
                         LosslessName);
INSTANTIATE_TEST_SUITE_P(Bmp, LosslessRoundTrip,
                         ::testing::Combine(::testing::Values(ImageFormat::kBmp),
                                            ::testing::Values(1, 3, 4), ::testing::Values(1)),
                         LosslessName);

TEST(CodecTest, JpegRoundTripStaysClose) {
  for (const int channels : {1, 3}) {
    const Image before = SmoothPicture(97, 61, channels, 1);
    const Image after = Decode(EncodeAs(before, ImageFormat::kJpeg));
    EXPECT_GT(CompareImages(before, after)->psnr_rgb, 40);
    EXPECT_EQ(after.channels, channels);
    EXPECT_EQ(after.jpeg_quality, 95);
    EXPECT_FALSE(after.lossless);
  }
}

TEST(CodecTest, JpegQualityIsEstimatedExactlyAndKept) {
  const Image picture = SmoothPicture(40, 40, 3, 1);
  for (int quality = 1; quality <= 100; ++quality) {
    const Image decoded = Decode(WriteJpeg(picture, {.quality = quality}));
    EXPECT_EQ(decoded.jpeg_quality, quality);
    EXPECT_EQ(Decode(EncodeAs(decoded, ImageFormat::kJpeg)).jpeg_quality, quality);
  }
  const Image decoded = Decode(WriteJpeg(picture, {.quality = 70}));
  EXPECT_EQ(Decode(Encode(decoded, {.quality = 42})).jpeg_quality, 42);
}

TEST(CodecTest, JpegChromaSamplingIsKept) {
  for (const int step : {1, 2}) {
    const Image decoded =
        Decode(WriteJpeg(SmoothPicture(50, 40, 3, 1), {.quality = 80, .chroma_step = step}));
    EXPECT_EQ(decoded.jpeg_chroma_step_x, step);
    const Image again = Decode(EncodeAs(decoded, ImageFormat::kJpeg));
    EXPECT_EQ(again.jpeg_chroma_step_x, step);
    EXPECT_EQ(again.jpeg_chroma_step_y, step);
  }
}

TEST(CodecTest, WebpStaysAsLossyAsItWas) {
  const Image picture = SmoothPicture(50, 40, 4, 1);
  const Image lossless = Decode(EncodeAs(picture, ImageFormat::kWebp));
  EXPECT_TRUE(lossless.lossless);
  EXPECT_EQ(GreatestDifference(Decode(Encode(lossless, {})), picture), 0);
  const Image lossy = Decode(WriteLossyWebp(picture, 80));
  EXPECT_FALSE(lossy.lossless);
  EXPECT_FALSE(Decode(Encode(lossy, {})).lossless);
  EXPECT_FALSE(Decode(Encode(lossless, {.quality = 80})).lossless);
}

TEST(CodecTest, LossyWebpKeepsAlphaExact) {
  const Image picture = NoisePicture(33, 27, 4, 1, 2);
  const Image decoded = Decode(Encode(picture, {.format = ImageFormat::kWebp, .quality = 60}));
  for (int y = 0; y < 27; ++y) {
    for (int x = 0; x < 33; ++x) {
      ASSERT_EQ(SampleAt(decoded, x, y, 3), SampleAt(picture, x, y, 3));
    }
  }
}

TEST(CodecTest, SixteenBitsAreRoundedForFormatsOfEight) {
  const Image deep = NoisePicture(31, 17, 4, 2, 3);
  for (const ImageFormat format : {ImageFormat::kWebp, ImageFormat::kBmp}) {
    const Image shallow = Decode(EncodeAs(deep, format));
    ASSERT_EQ(shallow.bytes_per_sample, 1);
    for (int y = 0; y < 17; ++y) {
      for (int x = 0; x < 31; ++x) {
        for (int c = 0; c < 4; ++c) {
          ASSERT_EQ(SampleAt(shallow, x, y, c), (SampleAt(deep, x, y, c) * 255 + 32767) / 65535);
        }
      }
    }
  }
  EXPECT_EQ(Decode(EncodeAs(NoisePicture(9, 9, 3, 2, 4), ImageFormat::kJpeg)).bytes_per_sample, 1);
}

TEST(CodecTest, GreyBecomesRgbWhereAFormatHasNoGrey) {
  for (const int channels : {1, 2}) {
    const Image grey = NoisePicture(20, 10, channels, 1, 5);
    const Image webp = Decode(EncodeAs(grey, ImageFormat::kWebp));
    ASSERT_EQ(webp.channels, channels + 2);
    for (int c = 0; c < 3; ++c) EXPECT_EQ(SampleAt(webp, 7, 3, c), SampleAt(grey, 7, 3, 0));
    if (channels == 2) {
      EXPECT_EQ(SampleAt(webp, 7, 3, 3), SampleAt(grey, 7, 3, 1));
    }
  }
  const Image grey_alpha = NoisePicture(20, 10, 2, 1, 6);
  const Image bmp = Decode(EncodeAs(grey_alpha, ImageFormat::kBmp));
  ASSERT_EQ(bmp.channels, 4);
  EXPECT_EQ(SampleAt(bmp, 7, 3, 2), SampleAt(grey_alpha, 7, 3, 0));
  EXPECT_EQ(SampleAt(bmp, 7, 3, 3), SampleAt(grey_alpha, 7, 3, 1));
}

TEST(CodecTest, WhatAFormatCannotHoldIsNamed) {
  const absl::Status alpha = EncodeError(NoisePicture(5, 5, 4, 1, 7), ImageFormat::kJpeg);
  EXPECT_EQ(alpha.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(alpha.message(), HasSubstr("alpha"));
  const absl::Status wide = EncodeError(NoisePicture(65536, 1, 1, 1, 8), ImageFormat::kJpeg);
  EXPECT_EQ(wide.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(wide.message(), HasSubstr("65536x1"));
  EXPECT_THAT(wide.message(), HasSubstr("65535"));
  const absl::Status tall = EncodeError(NoisePicture(1, 16384, 3, 1, 9), ImageFormat::kWebp);
  EXPECT_EQ(tall.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(tall.message(), HasSubstr("1x16384"));
  EXPECT_THAT(tall.message(), HasSubstr("16383"));
  Image talkative = NoisePicture(5, 5, 3, 1, 10);
  talkative.exif = CameraExif(1) + std::string(70'000, 'x');
  const absl::Status exif = EncodeError(talkative, ImageFormat::kJpeg);
  EXPECT_EQ(exif.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(exif.message(), HasSubstr("65527"));
  EXPECT_TRUE(EncodeImage(talkative, {.format = ImageFormat::kPng}).ok());
}

TEST(CodecTest, BadQualityAndBadImageAreNamed) {
  const Image picture = NoisePicture(5, 5, 3, 1, 11);
  EXPECT_THAT(EncodeImage(picture, {.quality = 101}).status().message(), HasSubstr("101"));
  EXPECT_EQ(EncodeImage(Image{}, {}).status().code(), absl::StatusCode::kInvalidArgument);
  Image torn = picture;
  torn.samples.pop_back();
  EXPECT_EQ(EncodeImage(torn, {}).status().code(), absl::StatusCode::kInternal);
}

class FormatTest : public ::testing::TestWithParam<ImageFormat> {
 protected:
  // A picture of `format` that carries what a camera and an editor put into it.
  std::string TaggedFile(const std::string& profile, int channels = 3) const {
    Image image = SmoothPicture(48, 32, channels, 1);
    image.icc_profile = profile;
    image.exif = CameraExif(1);
    return Encode(image,
                  {.format = GetParam(), .quality = GetParam() == ImageFormat::kJpeg ? 95 : 0});
  }
  bool KeepsExif() const { return GetParam() != ImageFormat::kBmp; }
  // What a lossy format makes of the picture, not turned.
  Image AsStored(Image image) const {
    image.exif.clear();
    return Decode(EncodeAs(image, GetParam()));
  }
};

std::string FormatTestName(const ::testing::TestParamInfo<ImageFormat>& info) {
  return std::string(ImageFormatName(info.param));
}

INSTANTIATE_TEST_SUITE_P(All, FormatTest, ::testing::ValuesIn(kFormats), FormatTestName);

// The formats that hold EXIF.
class ExifFormatTest : public FormatTest {};
INSTANTIATE_TEST_SUITE_P(Exif, ExifFormatTest,
                         ::testing::Values(ImageFormat::kJpeg, ImageFormat::kPng,
                                           ImageFormat::kWebp, ImageFormat::kTiff),
                         FormatTestName);

TEST_P(FormatTest, ProfileIsKept) {
  const Image image = Decode(TaggedFile(AdobeRgbProfile()));
  EXPECT_EQ(image.icc_profile, AdobeRgbProfile());
  EXPECT_EQ(Decode(Encode(image, {})).icc_profile, AdobeRgbProfile());
}

TEST_P(FormatTest, GreyProfileIsKeptWhereGreyIs) {
  const Image image = Decode(TaggedFile(GreyProfile(1.8), 1));
  if (GetParam() == ImageFormat::kWebp) {
    EXPECT_THAT(image.icc_profile, IsEmpty());  // the colours were converted
    EXPECT_EQ(image.channels, 3);
  } else {
    EXPECT_EQ(image.icc_profile, GreyProfile(1.8));
    EXPECT_EQ(image.channels, 1);
  }
}

TEST_P(FormatTest, StrippingRemovesMetadataAndConvertsToSrgb) {
  const Image image = Decode(TaggedFile(AdobeRgbProfile()));
  const Image stripped = Decode(Encode(image, {.metadata = MetadataPolicy::kStrip}));
  EXPECT_THAT(stripped.icc_profile, IsEmpty());
  EXPECT_THAT(stripped.exif, IsEmpty());
  EXPECT_GT(GreatestDifference(image, stripped), 5);
  Image plain = image;
  plain.icc_profile = SrgbProfile();
  const Image same = Decode(Encode(plain, {.metadata = MetadataPolicy::kStrip}));
  EXPECT_LE(GreatestDifference(image, same), GetParam() == ImageFormat::kJpeg ? 8 : 0);
}

TEST_P(FormatTest, ExifIsKept) {
  const std::string exif = Decode(TaggedFile("")).exif;
  if (!KeepsExif()) {
    EXPECT_THAT(exif, IsEmpty());
    return;
  }
  EXPECT_THAT(exif, HasSubstr("Rainmaker"));
  EXPECT_THAT(exif, HasSubstr("2024:05:06 07:08:09"));
  EXPECT_EQ(ExifOrientation(exif), 1);
}

TEST_P(ExifFormatTest, BigEndianExifIsKept) {
  Image image = SmoothPicture(48, 32, 3, 1);
  image.exif = CameraExif(1, /*big_endian=*/true);
  const Image decoded = Decode(EncodeAs(image, GetParam()));
  EXPECT_TRUE(ExifIsBigEndian(decoded.exif));
  EXPECT_THAT(decoded.exif, HasSubstr("Rainmaker"));
  EXPECT_THAT(decoded.exif, HasSubstr("2024:05:06 07:08:09"));
}

// Where pixel (x, y) of a stored 3x2 picture is to be shown, by EXIF's definition.
std::pair<int, int> Shown(int orientation, int x, int y, int width, int height) {
  switch (orientation) {
    case 2:
      return {width - 1 - x, y};
    case 3:
      return {width - 1 - x, height - 1 - y};
    case 4:
      return {x, height - 1 - y};
    case 5:
      return {y, x};
    case 6:
      return {height - 1 - y, x};
    case 7:
      return {height - 1 - y, width - 1 - x};
    case 8:
      return {y, width - 1 - x};
    default:
      return {x, y};
  }
}

void ExpectTurned(const Image& stored, const Image& shown, int orientation) {
  const bool turned = orientation >= 5;
  ASSERT_EQ(shown.width, turned ? stored.height : stored.width);
  ASSERT_EQ(shown.height, turned ? stored.width : stored.height);
  for (int y = 0; y < stored.height; ++y) {
    for (int x = 0; x < stored.width; ++x) {
      const auto [to_x, to_y] = Shown(orientation, x, y, stored.width, stored.height);
      for (int c = 0; c < stored.channels; ++c) {
        ASSERT_EQ(SampleAt(shown, to_x, to_y, c), SampleAt(stored, x, y, c))
            << "orientation " << orientation << " at " << x << ", " << y;
      }
    }
  }
}

TEST_P(ExifFormatTest, OrientationIsAppliedOnce) {
  for (int orientation = 1; orientation <= 8; ++orientation) {
    for (const bool big_endian : {false, true}) {
      Image stored = NoisePicture(99, 70, 3, 1, 12);
      stored.exif = CameraExif(orientation, big_endian);
      std::string file = EncodeAs(stored, GetParam());
      if (GetParam() == ImageFormat::kJpeg) stored = AsStored(stored);
      if (GetParam() == ImageFormat::kTiff) {  // the tag counts there, our writer says 1
        file = WriteTiff(99, 70, Rows(stored), {.orientation = orientation});
      }
      const Image shown = Decode(file);
      ExpectTurned(stored, shown, orientation);
      EXPECT_EQ(ExifOrientation(shown.exif), 1);
      const absl::StatusOr<ImageInfo> info = ReadImageInfo(file, {});
      ASSERT_TRUE(info.ok()) << info.status();
      EXPECT_EQ(info->width, shown.width);
      EXPECT_EQ(info->height, shown.height);
      const Image again = Decode(EncodeAs(shown, GetParam()));
      EXPECT_EQ(again.width, shown.width);
      EXPECT_EQ(again.height, shown.height);
    }
  }
}

TEST(CodecTest, OrientationOfDeepPictures) {
  for (int orientation = 1; orientation <= 8; ++orientation) {
    Image stored = NoisePicture(13, 130, 4, 2, 13);
    stored.exif = CameraExif(orientation);
    ExpectTurned(stored, Decode(EncodeAs(stored, ImageFormat::kPng)), orientation);
  }
}

TEST(CodecTest, AProfileThatDoesNotFitIsDropped) {
  Image image = NoisePicture(5, 5, 3, 1, 14);
  image.icc_profile = GreyProfile(2.2);
  EXPECT_THAT(Decode(EncodeAs(image, ImageFormat::kTiff)).icc_profile, IsEmpty());
  image.icc_profile = "no profile at all";
  EXPECT_THAT(Decode(EncodeAs(image, ImageFormat::kWebp)).icc_profile, IsEmpty());
}

TEST(CodecTest, MetadataSurvivesEveryFormatInTurn) {
  Image image = SmoothPicture(40, 30, 3, 1);
  image.exif = CameraExif(6);
  image.icc_profile = AdobeRgbProfile();
  std::string file = EncodeAs(image, ImageFormat::kPng);
  for (const ImageFormat format : {ImageFormat::kTiff, ImageFormat::kWebp, ImageFormat::kJpeg,
                                   ImageFormat::kTiff, ImageFormat::kPng}) {
    file = EncodeAs(Decode(file), format);
  }
  const Image last = Decode(file);
  EXPECT_EQ(last.width, 30);
  EXPECT_EQ(last.icc_profile, AdobeRgbProfile());
  EXPECT_THAT(last.exif, HasSubstr("Rainmaker"));
  EXPECT_THAT(last.exif, HasSubstr("2024:05:06 07:08:09"));
}

}  // namespace
}  // namespace deweather
