#include "model/image/quality.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "model/image/codec.h"
#include "tests/image/pictures.h"

namespace deweather {
namespace {

using ::testing::HasSubstr;

Quality Compare(const Image& a, const Image& b) {
  const absl::StatusOr<Quality> quality = CompareImages(a, b);
  EXPECT_TRUE(quality.ok()) << quality.status();
  return quality.value_or(Quality{});
}

Image Flat(int width, int height, int red, int green, int blue) {
  Image image = NoisePicture(width, height, 3, 1, 1);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      SetSample(image, x, y, 0, red);
      SetSample(image, x, y, 1, green);
      SetSample(image, x, y, 2, blue);
    }
  }
  return image;
}

// The pictures of the golden figures: integers only, so that any language makes the same.
Image Golden(int kind) {
  Image image = NoisePicture(37, 29, 3, 1, 1);
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      for (int c = 0; c < 3; ++c) {
        const int base = (x * 7 + y * 5 + c * 40) % 256;
        const int noise = (x * 31 + y * 17 + c * 11) % 23 - 11;
        SetSample(image, x, y, c, std::clamp(base + kind * noise, 0, 255));
      }
    }
  }
  return image;
}

TEST(QualityTest, IdenticalPicturesAreAHundredDecibels) {
  const Image image = NoisePicture(40, 30, 3, 1, 2);
  const Quality quality = Compare(image, image);
  EXPECT_EQ(quality.psnr_rgb, 100);
  EXPECT_EQ(quality.psnr_y, 100);
  EXPECT_DOUBLE_EQ(quality.ssim_rgb, 1);
  EXPECT_DOUBLE_EQ(quality.ssim_y, 1);
}

TEST(QualityTest, FlatPicturesByHand) {
  const Quality quality = Compare(Flat(11, 11, 100, 100, 100), Flat(11, 11, 110, 110, 110));
  // MSE 100; in luma a step of 10 becomes 10 * 219 / 255.
  EXPECT_NEAR(quality.psnr_rgb, 10 * std::log10(255.0 * 255.0 / 100), 1e-9);
  EXPECT_NEAR(quality.psnr_y, 20 * std::log10(255.0 / (10 * 219 / 255.0)), 1e-9);
  // Without variance only the first factor is left.
  const double c1 = 2.55 * 2.55;
  EXPECT_NEAR(quality.ssim_rgb, (2 * 100 * 110 + c1) / (100 * 100 + 110 * 110 + c1), 1e-9);
  const double ya = 16 + 100 * 219 / 255.0;
  const double yb = 16 + 110 * 219 / 255.0;
  EXPECT_NEAR(quality.ssim_y, (2 * ya * yb + c1) / (ya * ya + yb * yb + c1), 1e-9);
}

TEST(QualityTest, LumaWeighsChannelsAsBt601) {
  const Image black = Flat(16, 16, 0, 0, 0);
  EXPECT_NEAR(Compare(black, Flat(16, 16, 255, 0, 0)).psnr_y, 20 * std::log10(255 / 65.481), 1e-9);
  EXPECT_NEAR(Compare(black, Flat(16, 16, 0, 255, 0)).psnr_y, 20 * std::log10(255 / 128.553), 1e-9);
  EXPECT_NEAR(Compare(black, Flat(16, 16, 0, 0, 255)).psnr_y, 20 * std::log10(255 / 24.966), 1e-9);
}

// Computed once with scikit-image 0.26.0: structural_similarity(gaussian_weights=True, sigma=1.5,
// use_sample_covariance=False, data_range=255), per channel and on luma.
TEST(QualityTest, AgreesWithScikitImage) {
  const Quality quality = Compare(Golden(0), Golden(2));
  EXPECT_NEAR(quality.ssim_rgb, 0.786763310688, 1e-9);
  EXPECT_NEAR(quality.ssim_y, 0.930521667390, 1e-9);
  EXPECT_NEAR(quality.psnr_rgb, 25.903962061231, 1e-9);
  EXPECT_NEAR(quality.psnr_y, 33.170597918536, 1e-9);
}

// Design §1: the published figure of the data set's inputs.
TEST(QualityTest, Rain100lInputsHaveThePublishedFigure) {
  const char* set = std::getenv("DEWEATHER_DATA");
  const std::filesystem::path data = set == nullptr ? DW_SOURCE_DIR "/../shared/data" : set;
  const std::filesystem::path inputs = data / "eval/rain100l/input";
  if (!std::filesystem::is_directory(inputs)) GTEST_SKIP() << "no data at " << inputs;
  double sum = 0;
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(inputs)) {
    const std::string truth = data / "eval/rain100l/gt" / entry.path().filename();
    const absl::StatusOr<Image> a = DecodeImage(ReadFile(entry.path()), {});
    const absl::StatusOr<Image> b = DecodeImage(ReadFile(truth), {});
    ASSERT_TRUE(a.ok() && b.ok()) << entry.path();
    sum += Compare(*a, *b).psnr_y;
    ++count;
  }
  EXPECT_EQ(count, 100);
  EXPECT_NEAR(sum / count, 26.90, 0.02);
}

TEST(QualityTest, SixteenBitsGreyAndAlphaAreComparedAsEightBitRgb) {
  const Image rgb = NoisePicture(20, 20, 3, 1, 3);
  Image deep = NoisePicture(20, 20, 4, 2, 4);
  Image grey = NoisePicture(20, 20, 1, 1, 5);
  Image spread = NoisePicture(20, 20, 3, 1, 6);
  for (int y = 0; y < 20; ++y) {
    for (int x = 0; x < 20; ++x) {
      for (int c = 0; c < 3; ++c) {
        const int value = SampleAt(rgb, x, y, c);
        SetSample(deep, x, y, c, 257 * value + (value < 255 ? 100 : -100));
        SetSample(spread, x, y, c, SampleAt(grey, x, y, 0));
      }
    }
  }
  EXPECT_EQ(Compare(rgb, deep).psnr_rgb, 100);
  EXPECT_EQ(Compare(grey, spread).psnr_rgb, 100);
}

TEST(QualityTest, DifferentSizesAreNamed) {
  const absl::StatusOr<Quality> quality =
      CompareImages(NoisePicture(20, 30, 3, 1, 1), NoisePicture(21, 30, 3, 1, 1));
  EXPECT_EQ(quality.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(quality.status().message(), HasSubstr("20x30 and 21x30"));
}

TEST(QualityTest, ASideUnderTheWindowIsNamed) {
  const Image small = NoisePicture(10, 30, 3, 1, 1);
  const absl::StatusOr<Quality> quality = CompareImages(small, small);
  EXPECT_EQ(quality.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(quality.status().message(), HasSubstr("at least 11"));
}

}  // namespace
}  // namespace deweather
