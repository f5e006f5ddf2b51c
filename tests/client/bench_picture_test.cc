#include "client/bench_picture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "absl/strings/str_cat.h"
#include "model/image/codec.h"

namespace deweather {
namespace {

using ::testing::HasSubstr;

TEST(MakePictureTest, VariantsDifferEverywhere) {
  const Image one = MakePicture(64, 48, 0);
  const Image other = MakePicture(64, 48, 1);
  EXPECT_EQ(one.samples, MakePicture(64, 48, 0).samples);
  for (int y = 0; y < 48; y += 16) {
    EXPECT_NE(std::vector<uint8_t>(one.row(y), one.row(y + 8)),
              std::vector<uint8_t>(other.row(y), other.row(y + 8)));
  }
}

TEST(MakePictureTest, IsNeitherFlatNorNoise) {
  const std::string file = EncodeImage(MakePicture(256, 256, 0), {}).value();
  EXPECT_GT(file.size(), 256u * 256 * 3 / 20);
  EXPECT_LT(file.size(), 256u * 256 * 3 * 3 / 4);
}

TEST(LoadPicturesTest, MadeInEveryFormat) {
  for (const ImageFormat format : {ImageFormat::kPng, ImageFormat::kJpeg, ImageFormat::kBmp}) {
    const std::vector<BenchPicture> pictures =
        LoadPictures(ParseMix("40x30=3,20x10").value(), format).value();
    ASSERT_EQ(pictures.size(), 8u);
    EXPECT_EQ(pictures[3].part, 0u);
    EXPECT_EQ(pictures[4].part, 1u);
    std::set<std::string> distinct;
    for (const BenchPicture& picture : pictures) distinct.insert(picture.bytes);
    EXPECT_EQ(distinct.size(), 8u);
    const ImageInfo info = ReadImageInfo(pictures[0].bytes, {}).value();
    EXPECT_EQ(info.format, format);
    EXPECT_EQ(info.width, 40);
    EXPECT_EQ(info.height, 30);
  }
}

TEST(LoadPicturesTest, LargePicturesComeInFewerVariants) {
  EXPECT_EQ(LoadPictures(ParseMix("2000x1000").value(), ImageFormat::kJpeg).value().size(), 2u);
  EXPECT_EQ(LoadPictures(ParseMix("3000x2000").value(), ImageFormat::kJpeg).value().size(), 1u);
}

TEST(LoadPicturesTest, FilesAsTheyAre) {
  const std::string path = absl::StrCat(testing::TempDir(), "/bench_garbage_", getpid());
  std::ofstream(path) << "garbage";
  const std::vector<BenchPicture> pictures =
      LoadPictures({{.name = path}}, ImageFormat::kPng).value();
  std::filesystem::remove(path);
  ASSERT_EQ(pictures.size(), 1u);
  EXPECT_EQ(pictures[0].bytes, "garbage");
}

TEST(LoadPicturesTest, AMissingFileIsNamed) {
  const absl::Status status = LoadPictures({{.name = "/no/such.png"}}, ImageFormat::kPng).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/no/such.png"));
}

}  // namespace
}  // namespace deweather
