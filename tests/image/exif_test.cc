#include "model/image/exif.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "tests/image/pictures.h"

namespace deweather {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(ExifTest, OrientationInBothByteOrders) {
  for (int orientation = 1; orientation <= 8; ++orientation) {
    EXPECT_EQ(ExifOrientation(CameraExif(orientation)), orientation);
    EXPECT_EQ(ExifOrientation(CameraExif(orientation, true)), orientation);
  }
  EXPECT_EQ(ExifOrientation(CameraExif(0)), 1);
  EXPECT_EQ(ExifOrientation(CameraExif(9)), 1);
  EXPECT_EQ(ExifOrientation(""), 1);
  EXPECT_EQ(ExifOrientation("II*"), 1);
  EXPECT_EQ(ExifOrientation("Exif in no way"), 1);
}

TEST(ExifTest, UprightChangesOnlyWhatTurningChanges) {
  for (const bool big_endian : {false, true}) {
    const std::string before = CameraExif(6, big_endian);
    const std::string after = UprightExif(before, 4000, 3000);
    ASSERT_EQ(after.size(), before.size());
    EXPECT_EQ(ExifOrientation(after), 1);
    // Orientation 1 byte; IFD1's offset 1; the dimensions 2 each.
    int changed = 0;
    for (size_t i = 0; i < before.size(); ++i) changed += before[i] != after[i];
    EXPECT_EQ(changed, 6);
  }
}

TEST(ExifTest, WhatIsNoExifComesBackEmpty) {
  EXPECT_THAT(UprightExif("", 1, 1), IsEmpty());
  EXPECT_THAT(UprightExif("XX*\0\0\0\0\0", 1, 1), IsEmpty());
}

TEST(ExifTest, TextTags) {
  const std::string exif = CameraExif(1);
  const std::vector<ExifText> texts = ExifTexts(exif);
  ASSERT_EQ(texts.size(), 1u);
  EXPECT_EQ(texts[0].tag, 0x010F);
  EXPECT_EQ(texts[0].text, "Rainmaker");
}

TEST(ExifTest, ACameraBlockIsATiffFileToo) {
  const std::string copy = ExifFromTiff(CameraExif(6));
  EXPECT_THAT(copy, HasSubstr("Rainmaker"));
  EXPECT_THAT(copy, HasSubstr("2024:05:06 07:08:09"));
  EXPECT_EQ(ExifOrientation(copy), 1);  // a TIFF's orientation is its own tag
}

TEST(ExifTest, PlacedDirectoriesPointBehindTheirOffset) {
  const PlacedExif placed = PlaceExif(CameraExif(1), 1000);
  EXPECT_GE(placed.exif_ifd, 1000u);
  EXPECT_GT(placed.gps_ifd, placed.exif_ifd);
  EXPECT_LT(placed.gps_ifd, 1000 + placed.bytes.size());
}

// Entries that share one large value must not multiply it.
TEST(ExifTest, SharedValuesCannotExplode) {
  std::string bomb("II*\0\x08\0\0\0\xFF\xFF", 10);
  for (int i = 0; i < 0xFFFF; ++i) bomb += std::string("\x0E\x01\x02\0\0\0\x04\0\0\0\0\0", 12);
  EXPECT_LT(ExifFromTiff(bomb).size(), bomb.size() + (8u << 20));
}

TEST(ExifTest, DamagedBlocksAreHarmless) {
  std::mt19937 random(77);
  for (int i = 0; i < 20'000; ++i) {
    std::string exif = CameraExif(1 + i % 8, i % 2 == 0);
    for (int k = 0; k < 1 + i % 4; ++k) {
      exif[random() % exif.size()] = static_cast<char>(random() & 0xFF);
    }
    if (i % 5 == 0) exif.resize(random() % exif.size());
    const int orientation = ExifOrientation(exif);
    EXPECT_TRUE(orientation >= 1 && orientation <= 8);
    const std::string upright = UprightExif(exif, 10, 20);
    EXPECT_TRUE(upright.empty() || upright.size() == exif.size());
    EXPECT_LT(PlaceExif(exif, 8).bytes.size(), 10'000'000u);
    EXPECT_LT(ExifFromTiff(exif).size(), 10'000'000u);
    ExifTexts(exif);
  }
}

}  // namespace
}  // namespace deweather
