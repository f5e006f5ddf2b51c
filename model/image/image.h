// A decoded picture in its native depth, with the metadata that its file carried.

#ifndef DEWEATHER_MODEL_IMAGE_IMAGE_H_
#define DEWEATHER_MODEL_IMAGE_IMAGE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace deweather {

enum class ImageFormat { kJpeg, kPng, kWebp, kTiff, kBmp };

// Pixels are interleaved rows without padding, EXIF orientation already applied.
//
// Shapes   [height][width][channels]; channels 1 grey, 2 grey+alpha, 3 RGB, 4 RGB+alpha (straight)
// Units    samples 0..255 (bytes_per_sample 1) or 0..65535 (2, native byte order)
struct Image {
  int width = 0;
  int height = 0;
  int channels = 3;
  int bytes_per_sample = 1;
  std::vector<uint8_t> samples;  // height * width * channels * bytes_per_sample bytes

  ImageFormat format = ImageFormat::kPng;  // of the file it came from
  int jpeg_quality = 0;                    // 1..100 estimated from the file's tables, 0: not a JPEG
  int jpeg_chroma_step_x = 0;  // luma columns per chroma column (1, 2 or 4), 0: not a JPEG
  int jpeg_chroma_step_y = 0;  // luma rows per chroma row
  bool lossless = true;        // false for a lossy WebP or a JPEG
  std::string icc_profile;     // empty: none, sRGB is assumed
  std::string exif;            // TIFF-structured EXIF block, orientation reset to 1

  bool has_alpha() const { return channels == 2 || channels == 4; }
  size_t row_bytes() const {
    return static_cast<size_t>(width) * static_cast<size_t>(channels) *
           static_cast<size_t>(bytes_per_sample);
  }
  const uint8_t* row(int y) const { return samples.data() + static_cast<size_t>(y) * row_bytes(); }
  uint8_t* row(int y) { return samples.data() + static_cast<size_t>(y) * row_bytes(); }
};

}  // namespace deweather

#endif  // DEWEATHER_MODEL_IMAGE_IMAGE_H_
