// Pictures and profiles that the tests of this folder make for themselves.

#ifndef DEWEATHER_TESTS_IMAGE_PICTURES_H_
#define DEWEATHER_TESTS_IMAGE_PICTURES_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/image/image.h"

namespace deweather {

// Independent random samples.
Image NoisePicture(int width, int height, int channels, int bytes_per_sample, uint32_t seed);

// Smooth colours, for lossy formats.
Image SmoothPicture(int width, int height, int channels, int bytes_per_sample);

// One sample, whatever the depth.
int SampleAt(const Image& image, int x, int y, int channel);
void SetSample(Image& image, int x, int y, int channel, int value);

// Greatest difference of two samples; -1 when the layouts differ.
int GreatestDifference(const Image& a, const Image& b);

// ICC profiles, made with lcms2.
std::string SrgbProfile();
std::string AdobeRgbProfile();
std::string NarrowRgbProfile();  // a gamut inside sRGB's
std::string GreyProfile(double gamma);

// An EXIF block as a camera writes it: Make, Orientation, a GPS and an EXIF directory with a time,
// an exposure and pixel dimensions, and a second directory with a thumbnail.
std::string CameraExif(int orientation, bool big_endian = false);

// The file at `path`; a test failure and nothing when it cannot be read.
std::string ReadFile(const std::string& path);

}  // namespace deweather

#endif  // DEWEATHER_TESTS_IMAGE_PICTURES_H_
