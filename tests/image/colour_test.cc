#include "model/image/colour.h"

#include <gtest/gtest.h>
#include <lcms2.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "model/image/matrix_profile.h"
#include "tests/image/pictures.h"

namespace deweather {
namespace {

Image WithProfile(int channels, const std::string& profile) {
  Image image = NoisePicture(2, 2, channels, 1, 1);
  image.icc_profile = profile;
  return image;
}

// Colours from a profile to sRGB, or back, by lcms alone, clipped.
std::vector<float> ByLcms(const std::string& profile, const std::vector<float>& in, bool to_srgb) {
  const cmsHPROFILE own =
      cmsOpenProfileFromMem(profile.data(), static_cast<cmsUInt32Number>(profile.size()));
  const cmsHPROFILE srgb = cmsCreate_sRGBProfile();
  const cmsHTRANSFORM transform =
      cmsCreateTransform(to_srgb ? own : srgb, TYPE_RGB_FLT, to_srgb ? srgb : own, TYPE_RGB_FLT,
                         INTENT_RELATIVE_COLORIMETRIC, cmsFLAGS_NOCACHE);
  std::vector<float> out(in.size());
  cmsDoTransform(transform, in.data(), out.data(), static_cast<cmsUInt32Number>(in.size() / 3));
  for (float& value : out) value = std::fmin(std::fmax(value, 0.0f), 1.0f);
  cmsDeleteTransform(transform);
  cmsCloseProfile(own);
  cmsCloseProfile(srgb);
  return out;
}

std::vector<float> RandomColours(size_t count) {
  std::mt19937 random(5);
  std::uniform_real_distribution<float> uniform(0, 1);
  std::vector<float> colours = {0, 0, 0, 1, 1, 1, 0, 1, 0, 0.001f, 0.002f, 0.003f};
  while (colours.size() < 3 * count) colours.push_back(uniform(random));
  return colours;
}

TEST(ColourTest, NothingToConvert) {
  EXPECT_EQ(ColourConverter::ForImage(WithProfile(3, "")), nullptr);
  EXPECT_EQ(ColourConverter::ForImage(WithProfile(3, SrgbProfile())), nullptr);
  EXPECT_EQ(ColourConverter::ForImage(WithProfile(3, "damaged")), nullptr);
  EXPECT_EQ(ColourConverter::ForImage(WithProfile(3, GreyProfile(1.8))), nullptr);
  EXPECT_EQ(ColourConverter::ForImage(WithProfile(1, AdobeRgbProfile())), nullptr);
  EXPECT_NE(ColourConverter::ForImage(WithProfile(1, GreyProfile(1.8))), nullptr);
  EXPECT_NE(ColourConverter::ForImage(WithProfile(4, AdobeRgbProfile())), nullptr);
}

TEST(ColourTest, ProfileSpaces) {
  EXPECT_EQ(ProfileColourSpace(""), ProfileSpace::kUnreadable);
  EXPECT_EQ(ProfileColourSpace(std::string(200, 'x')), ProfileSpace::kUnreadable);
  EXPECT_EQ(ProfileColourSpace(AdobeRgbProfile()), ProfileSpace::kRgb);
  EXPECT_EQ(ProfileColourSpace(GreyProfile(2.2)), ProfileSpace::kGrey);
  std::string cmyk = AdobeRgbProfile();
  cmyk.replace(16, 4, "CMYK");
  EXPECT_EQ(ProfileColourSpace(cmyk), ProfileSpace::kOther);
}

// The tables against the library.
TEST(MatrixProfileTest, AgreesWithLcms) {
  const std::vector<float> colours = RandomColours(20'000);
  const int n = static_cast<int>(colours.size() / 3);
  for (const std::string& profile : {AdobeRgbProfile(), NarrowRgbProfile(), SrgbProfile()}) {
    const std::optional<MatrixProfile> matrix = ReadMatrixProfile(profile);
    ASSERT_TRUE(matrix.has_value());
    std::vector<float> ours(colours.size());
    for (const bool to_srgb : {true, false}) {
      if (to_srgb) {
        matrix->ToSrgb(colours.data(), ours.data(), n);
      } else {
        matrix->FromSrgb(colours.data(), ours.data(), n);
      }
      const std::vector<float> theirs = ByLcms(profile, colours, to_srgb);
      for (size_t i = 0; i < ours.size(); ++i) {
        ASSERT_NEAR(ours[i], theirs[i], 2e-3) << i << (to_srgb ? " to" : " from");
      }
    }
  }
}

TEST(MatrixProfileTest, OtherProfilesAreLeftToLcms) {
  EXPECT_FALSE(ReadMatrixProfile("").has_value());
  EXPECT_FALSE(ReadMatrixProfile(GreyProfile(2.2)).has_value());
  std::string damaged = AdobeRgbProfile();
  damaged.resize(200);
  EXPECT_FALSE(ReadMatrixProfile(damaged).has_value());
}

}  // namespace
}  // namespace deweather
