#include "training/report/sheet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "model/base/file.h"
#include "model/image/codec.h"

namespace deweather {
namespace {

using testing::HasSubstr;

Image Flat(int width, int height, const std::vector<uint8_t>& pixel) {
  Image image;
  image.width = width;
  image.height = height;
  image.channels = static_cast<int>(pixel.size());
  for (int i = 0; i < width * height; ++i) {
    image.samples.insert(image.samples.end(), pixel.begin(), pixel.end());
  }
  return image;
}

std::vector<uint8_t> PixelAt(const Image& image, int x, int y) {
  const uint8_t* at = image.row(y) + 3 * x;
  return {at[0], at[1], at[2]};
}

// Pixels of the rectangle that are not white.
int Inked(const Image& image, int x, int y, int width, int height) {
  int inked = 0;
  for (int i = 0; i < width * height; ++i) {
    inked += PixelAt(image, x + i % width, y + i / width) != std::vector<uint8_t>{255, 255, 255};
  }
  return inked;
}

Image Drawn(const std::vector<SheetRow>& rows) {
  const auto sheet = DrawSheet(rows);
  EXPECT_TRUE(sheet.ok()) << sheet.status();
  return sheet.value_or(Image{});
}

const std::vector<uint8_t> kRed = {200, 0, 0}, kBlue = {0, 0, 200};

TEST(SheetTest, CellsStandSideBySide) {
  const Image sheet = Drawn({{"", {{Flat(200, 100, kRed), "a"}, {Flat(150, 80, kBlue), ""}}}});
  EXPECT_EQ(sheet.width, 12 + 200 + 12 + 150 + 12);
  EXPECT_EQ(sheet.height, 12 + 100 + 22 + 12);
  EXPECT_EQ(PixelAt(sheet, 12, 12), kRed);
  EXPECT_EQ(PixelAt(sheet, 211, 111), kRed);
  EXPECT_EQ(PixelAt(sheet, 224, 12), kBlue);
  EXPECT_EQ(PixelAt(sheet, 373, 91), kBlue);
  EXPECT_GT(Inked(sheet, 12, 112, 200, 22), 5) << "no caption";
  EXPECT_EQ(Inked(sheet, 224, 92, 150, 20), 0) << "an empty caption, and room below";
  EXPECT_EQ(Inked(sheet, 212, 12, 12, 100), 0) << "the gap";
}

TEST(SheetTest, RowsAlignTheirColumnsAndHaveTitles) {
  const SheetRow first{"title", {{Flat(130, 40, kRed), ""}, {Flat(130, 40, kBlue), ""}}};
  const SheetRow second{"", {{Flat(300, 60, kBlue), ""}, {Flat(140, 60, kRed), ""}}};
  const Image sheet = Drawn({first, second});
  EXPECT_EQ(sheet.width, 12 + 300 + 12 + 140 + 12);
  EXPECT_GT(Inked(sheet, 12, 12, 100, 22), 5);
  EXPECT_EQ(PixelAt(sheet, 12, 12 + 22), kRed);
  EXPECT_EQ(PixelAt(sheet, 324, 12 + 22), kBlue);
  const int next = 12 + 22 + 40 + 22 + 12;
  EXPECT_EQ(PixelAt(sheet, 12, next), kBlue);
  EXPECT_EQ(PixelAt(sheet, 324, next), kRed);
}

TEST(SheetTest, LongAndForeignCaptionsStayInTheirColumn) {
  const std::string caption(400, 'W');
  const Image sheet =
      Drawn({{"", {{Flat(200, 20, kRed), caption}, {Flat(200, 20, kRed), "Stra\xc3\x9f\x65\n"}}}});
  EXPECT_GT(Inked(sheet, 12, 32, 200, 22), 100);
  EXPECT_EQ(Inked(sheet, 212, 32, 12, 22), 0);
}

TEST(SheetTest, ThumbnailsFitTheirSquare) {
  const Image wide = Thumbnail(Flat(300, 100, kRed), 150).value();
  EXPECT_EQ(wide.width, 150);
  EXPECT_EQ(wide.height, 50);
  EXPECT_EQ(PixelAt(wide, 75, 25), kRed);
  const Image tall = Thumbnail(Flat(100, 300, kRed), 150).value();
  EXPECT_EQ(tall.width, 50);
  EXPECT_EQ(tall.height, 150);
  const Image small = Thumbnail(Flat(30, 20, kRed), 150).value();
  EXPECT_EQ(small.width, 30);
  EXPECT_EQ(small.height, 20);
  EXPECT_EQ(Thumbnail(Flat(1, 5000, kRed), 100)->width, 1);
}

TEST(SheetTest, OfAHugePictureTheMiddleIsShown) {
  Image huge = Flat(1000, 800, kRed);
  for (int y = 300; y < 500; ++y) {
    for (int x = 400; x < 600; ++x) std::copy(kBlue.begin(), kBlue.end(), huge.row(y) + 3 * x);
  }
  const Image middle = Thumbnail(huge, 100).value();
  EXPECT_EQ(middle.width, 100);
  EXPECT_EQ(middle.height, 100);
  EXPECT_EQ(PixelAt(middle, 0, 0), kBlue);
  EXPECT_EQ(PixelAt(middle, 99, 99), kBlue);
}

TEST(SheetTest, GreyAlphaAndSixteenBitsBecomeColour) {
  EXPECT_EQ(PixelAt(Thumbnail(Flat(4, 4, {77}), 10).value(), 1, 1),
            (std::vector<uint8_t>{77, 77, 77}));
  EXPECT_EQ(PixelAt(Thumbnail(Flat(4, 4, {77, 0}), 10).value(), 1, 1),
            (std::vector<uint8_t>{77, 77, 77}));
  EXPECT_EQ(PixelAt(Thumbnail(Flat(4, 4, {1, 2, 3, 0}), 10).value(), 1, 1),
            (std::vector<uint8_t>{1, 2, 3}));
  Image deep = Flat(4, 4, {0, 0, 255, 255, 128, 128});  // two bytes a sample
  deep.channels = 3;
  deep.bytes_per_sample = 2;
  EXPECT_EQ(PixelAt(Thumbnail(deep, 10).value(), 1, 1), (std::vector<uint8_t>{0, 255, 128}));
}

TEST(SheetTest, AsWideAsAScreen) {
  for (const int columns : {1, 2, 4, 7, 12}) {
    const SheetRow row{"",
                       std::vector<SheetCell>(
                           static_cast<size_t>(columns),
                           {Thumbnail(Flat(900, 900, kRed), SheetCellPx(columns)).value(), ""})};
    EXPECT_LE(Drawn({row}).width, 2000) << columns;
  }
  EXPECT_EQ(SheetCellPx(1), 480);
  EXPECT_GE(SheetCellPx(5000), 1);
}

TEST(SheetTest, FileIsWrittenInTheFormatOfItsName) {
  const std::string folder = testing::TempDir() + "/SheetTest.File";
  std::filesystem::create_directories(folder);
  const std::vector<SheetRow> rows = {{"", {{Flat(20, 10, kRed), "red"}}}};
  ASSERT_TRUE(WriteSheet(folder + "/sheet.png", rows).ok());
  const Image back = DecodeImage(ReadFile(folder + "/sheet.png").value(), {}).value();
  EXPECT_EQ(back.samples, DrawSheet(rows)->samples);
  ASSERT_TRUE(WriteSheet(folder + "/sheet.jpg", rows).ok());
  EXPECT_TRUE(ReadFile(folder + "/sheet.jpg")->starts_with("\xff\xd8"));
  EXPECT_TRUE(CheckPicturePath(folder + "/sheet.png").ok());
  EXPECT_EQ(CheckPicturePath(folder + "/sheet").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckPicturePath("").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckPicturePath(folder + "/no/sheet.png").code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(WriteSheet(folder + "/no/sheet.png", rows).ok());
}

TEST(SheetTest, WhatIsNoSheet) {
  EXPECT_EQ(DrawSheet({}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(DrawSheet({{"title", {}}}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(DrawSheet({{"", {{Image{}, ""}}}}).status().code(), absl::StatusCode::kInvalidArgument);
  Image torn = Flat(20, 20, kRed);
  torn.samples.pop_back();
  EXPECT_EQ(Thumbnail(torn, 10).status().code(), absl::StatusCode::kInvalidArgument);
  const SheetRow row{"", {{Flat(1, 30000, kRed), ""}}};
  const auto large = DrawSheet(std::vector<SheetRow>(30, row));
  EXPECT_THAT(std::string(large.status().message()), HasSubstr("the limit is 100 megapixels"));
}

}  // namespace
}  // namespace deweather
