// Rows on their way between a file and an Image. Private to this folder.

#ifndef DEWEATHER_MODEL_IMAGE_PIXEL_ROWS_H_
#define DEWEATHER_MODEL_IMAGE_PIXEL_ROWS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "model/image/colour.h"
#include "model/image/image.h"

namespace deweather {

// Appends the image's next row and returns it, zeroed. The first call reserves the whole picture,
// the pages are touched only as rows come, so a file that claims much and holds little stays cheap.
uint8_t* AppendRow(Image& image);

// Reads an image's rows in another layout, one at a time.
class PixelRows {
 public:
  // Channels may grow from grey to RGB and depth may shrink from 16 to 8 bits; alpha stays as it
  // is. `to_srgb`, if not null, converts the colours.
  PixelRows(const Image& image, int channels, int bytes_per_sample,
            std::shared_ptr<const ColourConverter> to_srgb);

  int width() const { return image_.width; }
  int height() const { return image_.height; }
  int channels() const { return channels_; }
  int bytes_per_sample() const { return bytes_per_sample_; }
  bool has_alpha() const { return channels_ == 2 || channels_ == 4; }

  // Row `y`, valid until the next call.
  const uint8_t* Row(int y);

 private:
  uint16_t Sample(const uint8_t* row, size_t index) const;
  void StoreSample(size_t index, uint16_t value);
  void LoadColours(const uint8_t* row);

  const Image& image_;
  const int channels_;
  const int bytes_per_sample_;
  const std::shared_ptr<const ColourConverter> to_srgb_;
  std::vector<float> colours_;  // [width][colour channels of the image]
  std::vector<float> srgb_;     // [width][3]
  std::vector<uint8_t> row_;
};

}  // namespace deweather

#endif  // DEWEATHER_MODEL_IMAGE_PIXEL_ROWS_H_
