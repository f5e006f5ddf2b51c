#include "model/image/pixel_rows.h"

#include <cmath>
#include <cstring>
#include <utility>

namespace deweather {

uint8_t* AppendRow(Image& image) {
  const size_t row_bytes = image.row_bytes();
  if (image.samples.empty()) {
    image.samples.reserve(row_bytes * static_cast<size_t>(image.height));
  }
  const size_t start = image.samples.size();
  image.samples.resize(start + row_bytes);
  return image.samples.data() + start;
}

PixelRows::PixelRows(const Image& image, int channels, int bytes_per_sample,
                     std::shared_ptr<const ColourConverter> to_srgb)
    : image_(image),
      channels_(channels),
      bytes_per_sample_(bytes_per_sample),
      to_srgb_(std::move(to_srgb)) {
  const bool as_is = channels == image.channels && bytes_per_sample == image.bytes_per_sample &&
                     to_srgb_ == nullptr;
  const size_t width = static_cast<size_t>(image.width);
  if (!as_is) row_.resize(width * static_cast<size_t>(channels * bytes_per_sample));
  if (to_srgb_ != nullptr) {
    colours_.resize(width * static_cast<size_t>(to_srgb_->channels()));
    srgb_.resize(width * 3);
  }
}

const uint8_t* PixelRows::Row(int y) {
  const uint8_t* in = image_.row(y);
  if (row_.empty()) return in;
  if (to_srgb_ != nullptr) LoadColours(in);
  const size_t from = static_cast<size_t>(image_.channels);
  const size_t to = static_cast<size_t>(channels_);
  const size_t from_colours = image_.has_alpha() ? from - 1 : from;
  const size_t to_colours = has_alpha() ? to - 1 : to;
  for (size_t x = 0; x < static_cast<size_t>(image_.width); ++x) {
    for (size_t c = 0; c < to_colours; ++c) {
      const size_t own = from_colours == 1 ? 0 : c;
      StoreSample(x * to + c, to_srgb_ == nullptr
                                  ? Sample(in, x * from + own)
                                  : static_cast<uint16_t>(std::lround(srgb_[x * 3 + c] * 65535)));
    }
    if (has_alpha()) StoreSample(x * to + to_colours, Sample(in, x * from + from_colours));
  }
  return row_.data();
}

// In 16 bits, whatever the picture's depth.
uint16_t PixelRows::Sample(const uint8_t* row, size_t index) const {
  if (image_.bytes_per_sample == 1) return static_cast<uint16_t>(row[index] * 257);
  uint16_t value;
  std::memcpy(&value, row + 2 * index, sizeof(value));
  return value;
}

void PixelRows::StoreSample(size_t index, uint16_t value) {
  if (bytes_per_sample_ == 1) {
    row_[index] = static_cast<uint8_t>((value + 128) / 257);
  } else {
    std::memcpy(row_.data() + 2 * index, &value, sizeof(value));
  }
}

void PixelRows::LoadColours(const uint8_t* row) {
  const size_t from = static_cast<size_t>(image_.channels);
  const size_t colours = static_cast<size_t>(to_srgb_->channels());
  for (size_t x = 0; x < static_cast<size_t>(image_.width); ++x) {
    for (size_t c = 0; c < colours; ++c) {
      colours_[x * colours + c] = static_cast<float>(Sample(row, x * from + c)) / 65535;
    }
  }
  to_srgb_->ToSrgb(colours_.data(), srgb_.data(), image_.width);
}

}  // namespace deweather
