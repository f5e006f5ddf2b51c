#include "model/image/orient.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

namespace deweather {
namespace {

constexpr int kBlockPx = 64;  // a block's rows and columns stay in the cache

size_t PixelBytes(const Image& image) {
  return static_cast<size_t>(image.channels) * static_cast<size_t>(image.bytes_per_sample);
}

void FlipHorizontally(Image& image) {
  const size_t pixel = PixelBytes(image);
  for (int y = 0; y < image.height; ++y) {
    uint8_t* left = image.row(y);
    uint8_t* right = left + image.row_bytes() - pixel;
    for (; left < right; left += pixel, right -= pixel) {
      std::swap_ranges(left, left + pixel, right);
    }
  }
}

void FlipVertically(Image& image) {
  for (int top = 0, bottom = image.height - 1; top < bottom; ++top, --bottom) {
    std::swap_ranges(image.row(top), image.row(top) + image.row_bytes(), image.row(bottom));
  }
}

void TransposeBlock(const Image& from, Image& to, int x_begin, int y_begin) {
  const size_t pixel = PixelBytes(from);
  const int x_end = std::min(x_begin + kBlockPx, from.width);
  const int y_end = std::min(y_begin + kBlockPx, from.height);
  for (int x = x_begin; x < x_end; ++x) {
    uint8_t* out = to.row(x) + static_cast<size_t>(y_begin) * pixel;
    for (int y = y_begin; y < y_end; ++y, out += pixel) {
      std::memcpy(out, from.row(y) + static_cast<size_t>(x) * pixel, pixel);
    }
  }
}

void Transpose(Image& image) {
  Image from;
  std::swap(from.samples, image.samples);
  from.width = image.width;
  from.height = image.height;
  from.channels = image.channels;
  from.bytes_per_sample = image.bytes_per_sample;
  std::swap(image.width, image.height);
  image.samples.resize(from.samples.size());
  for (int y = 0; y < from.height; y += kBlockPx) {
    for (int x = 0; x < from.width; x += kBlockPx) TransposeBlock(from, image, x, y);
  }
}

}  // namespace

void MakeUpright(Image& image, int orientation) {
  const bool transposed = orientation >= 5;
  // Stored column 0 is the right side (2, 3, and after transposing 6, 7)...
  const bool from_right =
      orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
  // ...stored row 0 is the bottom (3, 4, and after transposing 7, 8).
  const bool from_bottom =
      orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
  if (transposed) Transpose(image);
  if (from_right) FlipHorizontally(image);
  if (from_bottom) FlipVertically(image);
}

}  // namespace deweather
