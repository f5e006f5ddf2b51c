#include "tests/image/pictures.h"

#include <gtest/gtest.h>
#include <lcms2.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>

namespace deweather {
namespace {

Image EmptyPicture(int width, int height, int channels, int bytes_per_sample) {
  Image image;
  image.width = width;
  image.height = height;
  image.channels = channels;
  image.bytes_per_sample = bytes_per_sample;
  image.samples.resize(image.row_bytes() * static_cast<size_t>(height));
  return image;
}

std::string Save(cmsHPROFILE profile) {
  cmsUInt32Number size = 0;
  cmsSaveProfileToMem(profile, nullptr, &size);
  std::string bytes(size, '\0');
  EXPECT_TRUE(cmsSaveProfileToMem(profile, bytes.data(), &size));
  cmsCloseProfile(profile);
  bytes.replace(24, 12, 12, '\0');  // the time of its making: the same profile is the same bytes
  return bytes;
}

std::string RgbProfile(const cmsCIExyYTRIPLE& primaries, double gamma) {
  const cmsCIExyY white = {0.3127, 0.3290, 1.0};
  cmsToneCurve* curve = cmsBuildGamma(nullptr, gamma);
  cmsToneCurve* curves[3] = {curve, curve, curve};
  const cmsHPROFILE profile = cmsCreateRGBProfile(&white, &primaries, curves);
  cmsFreeToneCurve(curve);
  return Save(profile);
}

// Builds a TIFF structure.
class ExifWriter {
 public:
  explicit ExifWriter(bool big_endian) : big_endian_(big_endian) {
    bytes_ = big_endian ? std::string("MM\0*", 4) : std::string("II*\0", 4);
    Append(8, 4);
  }

  void Append(uint32_t value, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      const size_t place = big_endian_ ? count - 1 - i : i;
      bytes_ += static_cast<char>(value >> (8 * place) & 0xFF);
    }
  }
  void Entry(uint32_t tag, uint32_t type, uint32_t count, uint32_t value) {
    Append(tag, 2);
    Append(type, 2);
    Append(count, 4);
    if (type == 3) {
      Append(value, 2);
      Append(0, 2);
    } else {
      Append(value, 4);
    }
  }
  void Text(std::string_view text) { bytes_ += text; }
  std::string Take() { return bytes_; }

 private:
  bool big_endian_;
  std::string bytes_;
};

}  // namespace

Image NoisePicture(int width, int height, int channels, int bytes_per_sample, uint32_t seed) {
  Image image = EmptyPicture(width, height, channels, bytes_per_sample);
  std::mt19937 random(seed);
  for (uint8_t& byte : image.samples) byte = static_cast<uint8_t>(random() & 0xFF);
  return image;
}

Image SmoothPicture(int width, int height, int channels, int bytes_per_sample) {
  Image image = EmptyPicture(width, height, channels, bytes_per_sample);
  const double most = bytes_per_sample == 1 ? 255 : 65535;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < channels; ++c) {
        const double wave = std::sin(0.07 * x + c) * std::cos(0.05 * y - c);
        SetSample(image, x, y, c, static_cast<int>((0.5 + 0.45 * wave) * most));
      }
    }
  }
  return image;
}

int SampleAt(const Image& image, int x, int y, int channel) {
  const size_t bytes = static_cast<size_t>(image.bytes_per_sample);
  const uint8_t* at = image.row(y) + static_cast<size_t>(x * image.channels + channel) * bytes;
  if (bytes == 1) return *at;
  uint16_t value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

void SetSample(Image& image, int x, int y, int channel, int value) {
  const size_t bytes = static_cast<size_t>(image.bytes_per_sample);
  uint8_t* at = image.row(y) + static_cast<size_t>(x * image.channels + channel) * bytes;
  if (bytes == 1) {
    *at = static_cast<uint8_t>(value);
  } else {
    const uint16_t sample = static_cast<uint16_t>(value);
    std::memcpy(at, &sample, sizeof(sample));
  }
}

int GreatestDifference(const Image& a, const Image& b) {
  if (a.width != b.width || a.height != b.height || a.channels != b.channels ||
      a.bytes_per_sample != b.bytes_per_sample || a.samples.size() != b.samples.size()) {
    return -1;
  }
  int greatest = 0;
  for (int y = 0; y < a.height; ++y) {
    for (int x = 0; x < a.width; ++x) {
      for (int c = 0; c < a.channels; ++c) {
        greatest = std::max(greatest, std::abs(SampleAt(a, x, y, c) - SampleAt(b, x, y, c)));
      }
    }
  }
  return greatest;
}

std::string SrgbProfile() { return Save(cmsCreate_sRGBProfile()); }

std::string AdobeRgbProfile() {
  return RgbProfile({{0.64, 0.33, 1}, {0.21, 0.71, 1}, {0.15, 0.06, 1}}, 2.19921875);
}

std::string NarrowRgbProfile() {
  return RgbProfile({{0.58, 0.34, 1}, {0.31, 0.54, 1}, {0.18, 0.12, 1}}, 1.8);
}

std::string GreyProfile(double gamma) {
  cmsToneCurve* curve = cmsBuildGamma(nullptr, gamma);
  const cmsHPROFILE profile = cmsCreateGrayProfile(cmsD50_xyY(), curve);
  cmsFreeToneCurve(curve);
  return Save(profile);
}

std::string CameraExif(int orientation, bool big_endian) {
  constexpr uint32_t kShort = 3, kLong = 4, kAscii = 2, kRational = 5, kByte = 1;
  constexpr uint32_t kPhotoAt = 74, kGpsAt = 142, kMakeAt = 172, kTimeAt = 182, kExposureAt = 202,
                     kThumbnailIfdAt = 210;
  ExifWriter exif(big_endian);
  exif.Append(5, 2);  // IFD0, at 8
  exif.Entry(0x010F, kAscii, 10, kMakeAt);
  exif.Entry(0x0112, kShort, 1, static_cast<uint32_t>(orientation));
  exif.Entry(0x0128, kShort, 1, 2);
  exif.Entry(0x8769, kLong, 1, kPhotoAt);
  exif.Entry(0x8825, kLong, 1, kGpsAt);
  exif.Append(kThumbnailIfdAt, 4);
  exif.Append(5, 2);  // EXIF directory, at 74
  exif.Entry(0x829A, kRational, 1, kExposureAt);
  exif.Entry(0x9003, kAscii, 20, kTimeAt);
  exif.Entry(0xA001, kShort, 1, 1);
  exif.Entry(0xA002, kLong, 1, 640);
  exif.Entry(0xA003, kLong, 1, 480);
  exif.Append(0, 4);
  exif.Text(std::string(2, '\0'));
  exif.Append(2, 2);  // GPS directory, at 142
  exif.Entry(0x0000, kByte, 4, 0x02020000);
  exif.Entry(0x0001, kAscii, 2, big_endian ? 0x4E000000 : 0x4E);
  exif.Append(0, 4);
  exif.Text(std::string("Rainmaker\0", 10));
  exif.Text(std::string("2024:05:06 07:08:09\0", 20));
  exif.Append(1, 4);  // 1/250 s
  exif.Append(250, 4);
  exif.Append(2, 2);  // IFD1, at 210
  exif.Entry(0x0201, kLong, 1, 240);
  exif.Entry(0x0202, kLong, 1, 4);
  exif.Append(0, 4);
  exif.Text("\xFF\xD8\xFF\xD9");
  return exif.Take();
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace deweather
