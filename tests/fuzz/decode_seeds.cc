// decode_seeds DIR: writes small pictures of every format, ours and as other programs write them.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/image/codec.h"
#include "tests/fuzz/seeds.h"
#include "tests/image/foreign_files.h"
#include "tests/image/pictures.h"

namespace deweather {
namespace {

// Our own encoder's, of every format, depth and number of channels that it can write.
void AddEncoded(Files& files) {
  for (const ImageFormat format : {ImageFormat::kJpeg, ImageFormat::kPng, ImageFormat::kWebp,
                                   ImageFormat::kTiff, ImageFormat::kBmp}) {
    for (const int channels : {1, 2, 3, 4}) {
      for (const int bytes_per_sample : {1, 2}) {
        Image image = SmoothPicture(13, 9, channels, bytes_per_sample);
        if (channels == 3) image.icc_profile = NarrowRgbProfile();
        image.exif = CameraExif(/*orientation=*/1, /*big_endian=*/channels == 1);
        const auto file = EncodeImage(image, {.format = format});
        if (!file.ok()) continue;
        files[absl::StrCat("own", channels, bytes_per_sample, ".",
                           std::string(ImageFormatName(format)))] = *file;
      }
    }
  }
}

void AddForeignJpegs(Files& files) {
  const Image picture = SmoothPicture(21, 17, 3, 1);
  files["chroma.jpeg"] = WriteJpeg(picture, {.chroma_step = 2, .restart_rows = 1});
  files["progressive.jpeg"] = WriteJpeg(picture, {.progressive = true, .repeated_scans = 2});
  files["cmyk.jpeg"] = WriteJpeg(SmoothPicture(9, 9, 4, 1), {.cmyk = true});
}

void AddForeignPngs(Files& files) {
  const std::vector<uint8_t> palette = {0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255};
  files["palette.png"] =
      WritePng(4, 1, {{0x1B}},
               {.bit_depth = 2, .colour_type = 3, .palette = palette, .palette_alpha = {0, 128}});
  files["interlaced.png"] =
      WritePng(9, 8, Rows(SmoothPicture(9, 8, 4, 1)), {.colour_type = 6, .interlaced = true});
  files["grey.png"] = WritePng(3, 1, {{5, 77, 5}}, {.colour_type = 0, .transparent_grey = 77});
  files["exif.png"] = WritePng(2, 1, {{1, 2, 3, 4, 5, 6}}, {.exif = CameraExif(6)});
}

void AddForeignTiffs(Files& files) {
  const Image picture = SmoothPicture(19, 18, 3, 1);
  for (const int compression : {1, 5, 7, 8, 32773}) {
    files[absl::StrCat("strips", compression, ".tiff")] =
        WriteTiff(19, 18, Rows(picture), {.compression = compression, .orientation = 6});
    files[absl::StrCat("tiles", compression, ".tiff")] =
        WriteTiff(19, 18, Rows(picture), {.mode = "wb", .compression = compression, .tile_px = 16});
  }
  files["separate.tiff"] = WriteTiff(19, 18, Rows(picture), {.mode = "w8", .separate = true});
  files["thumbnail.tiff"] = WriteTiff(19, 18, Rows(picture), {.thumbnail = true});
  files["alpha.tiff"] =
      WriteTiff(3, 1, {{50, 100, 0, 100, 9, 9, 9, 0, 200, 1, 2, 255}}, {.samples = 4, .alpha = 1});
}

Files Pictures() {
  Files files;
  AddEncoded(files);
  AddForeignJpegs(files);
  AddForeignPngs(files);
  AddForeignTiffs(files);
  files["lossy.webp"] = WriteLossyWebp(SmoothPicture(20, 16, 4, 1), 60);
  files["animated.webp"] =
      WriteAnimatedWebp(SmoothPicture(8, 8, 3, 1), NoisePicture(8, 8, 3, 1, 1));
  return files;
}

}  // namespace
}  // namespace deweather

int main(int argc, char** argv) { return deweather::WriteSeeds(argc, argv, deweather::Pictures()); }
