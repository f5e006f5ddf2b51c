#include "server/restore/token_map.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <tuple>

#include "model/image/codec.h"
#include "model/image/image.h"

namespace deweather {
namespace {

// Twice the distance from the rectangle's centre, squared: whole numbers.
int64_t Distance(const TileRect& rect, int x, int y) {
  const int64_t dx = 2 * (x - rect.x) - rect.width;
  const int64_t dy = 2 * (y - rect.y) - rect.height;
  return dx * dx + dy * dy;
}

// Cells that cover a side of the picture.
int CellsOf(int side_px, int patch_px) { return (side_px + patch_px - 1) / patch_px; }

}  // namespace

TokenMap::TokenMap(int width_px, int height_px, int patch_px)
    : width_px_(width_px),
      height_px_(height_px),
      patch_px_(patch_px),
      columns_(CellsOf(width_px, patch_px)),
      rows_(CellsOf(height_px, patch_px)),
      cells_(static_cast<size_t>(columns_) * static_cast<size_t>(rows_)) {}

int64_t TokenMap::BytesOf(int width_px, int height_px, int patch_px) {
  constexpr auto kSamples = int64_t{2 * sizeof(uint16_t)};  // Encode has them twice
  return int64_t{CellsOf(width_px, patch_px)} * CellsOf(height_px, patch_px) *
         (int64_t{sizeof(Cell)} + kSamples);
}

int TokenMap::CentreX(int column) const {
  return std::min(column * patch_px_ + patch_px_ / 2, width_px_ - 1);
}

int TokenMap::CentreY(int row) const {
  return std::min(row * patch_px_ + patch_px_ / 2, height_px_ - 1);
}

void TokenMap::Add(int tile_index, const TileRect& rect, const std::vector<float>& values) {
  const auto map_width = static_cast<size_t>(rect.width / patch_px_);
  const int last_row = std::min(rows_ - 1, (rect.y + rect.height - 1) / patch_px_);
  const int last_column = std::min(columns_ - 1, (rect.x + rect.width - 1) / patch_px_);
  for (int row = rect.y / patch_px_; row <= last_row; ++row) {
    for (int column = rect.x / patch_px_; column <= last_column; ++column) {
      const int x = CentreX(column) - rect.x;
      const int y = CentreY(row) - rect.y;
      if (x < 0 || y < 0 || x >= rect.width || y >= rect.height) continue;
      const int64_t distance = Distance(rect, x + rect.x, y + rect.y);
      Cell& cell = cells_[static_cast<size_t>(row) * static_cast<size_t>(columns_) +
                          static_cast<size_t>(column)];
      if (std::tie(distance, tile_index) >= std::tie(cell.distance, cell.tile)) continue;
      cell = {distance, tile_index,
              values[static_cast<size_t>(y / patch_px_) * map_width +
                     static_cast<size_t>(x / patch_px_)]};
    }
  }
}

template <typename Sample>
absl::StatusOr<std::string> TokenMap::Encode(float scale) const {
  constexpr float kMost = std::numeric_limits<Sample>::max();
  std::vector<Sample> samples;
  samples.reserve(cells_.size());
  for (const Cell& cell : cells_) {
    samples.push_back(static_cast<Sample>(std::round(std::clamp(cell.value * scale, 0.0f, kMost))));
  }
  Image image;
  image.width = columns_;
  image.height = rows_;
  image.channels = 1;
  image.bytes_per_sample = sizeof(Sample);
  image.samples.resize(samples.size() * sizeof(Sample));
  std::memcpy(image.samples.data(), samples.data(), image.samples.size());
  return EncodeImage(image, {.format = ImageFormat::kPng});
}

absl::StatusOr<std::string> TokenMap::EncodePng8() const { return Encode<uint8_t>(1); }

absl::StatusOr<std::string> TokenMap::EncodePng16() const { return Encode<uint16_t>(65535); }

}  // namespace deweather
