#include "model/image/tiling.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <span>
#include <utility>

#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"
#include "model/image/colour.h"
#include "model/image/rgb_rows.h"

namespace deweather {
namespace {

int RoundUp(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

// Left edges of the tiles along one axis: the first at 0, the last flush with the far edge, steps
// that differ by at most one. A step is at most tile − overlap because count − 1 steps of that
// length reach at least as far as needed.
std::vector<int> Spread(int extent, int tile, int overlap) {
  const int64_t beyond = std::max(0, extent - tile);
  const int64_t stride = std::max(1, tile - overlap);
  const int64_t steps = (beyond + stride - 1) / stride;
  std::vector<int> edges = {0};
  for (int64_t i = 1; i <= steps; ++i) edges.push_back(static_cast<int>(beyond * i / steps));
  return edges;
}

// Mirrors a coordinate about the first and last pixel, without repeating them: 2 1 | 0 1 2 | 1 0.
int Reflect(int at, int extent) {
  if (extent == 1) return 0;
  const int period = 2 * (extent - 1);
  const int phase = (at % period + period) % period;
  return phase < extent ? phase : period - phase;
}

// A ramp's value at its `step`-th pixel of `length`: a raised cosine from 0 to 1, never 0 itself.
float Ramp(int step, int length) {
  if (step >= length) return 1;
  const double phase = std::numbers::pi * (step + 0.5) / length;
  return static_cast<float>(0.5 - 0.5 * std::cos(phase));
}

// Weights of the tiles along one axis, [tile][position in tile]: ramps over the true overlaps, then
// divided by their sum over the tiles, so that every pixel of the picture has total weight one.
std::vector<std::vector<float>> AxisWeights(const std::vector<int>& edges, int tile, int extent) {
  std::vector<std::vector<float>> weights(edges.size());
  std::vector<float> sums(static_cast<size_t>(extent), 0.0f);
  for (size_t i = 0; i < edges.size(); ++i) {
    const int before = i == 0 ? 0 : edges[i - 1] + tile - edges[i];
    const int after = i + 1 == edges.size() ? 0 : edges[i] + tile - edges[i + 1];
    const int inside = std::min(tile, extent - edges[i]);
    for (int d = 0; d < inside; ++d) {
      weights[i].push_back(std::min(Ramp(d, before), Ramp(tile - 1 - d, after)));
      sums[static_cast<size_t>(edges[i]) + static_cast<size_t>(d)] += weights[i].back();
    }
  }
  for (size_t i = 0; i < edges.size(); ++i) {
    for (size_t d = 0; d < weights[i].size(); ++d) {
      weights[i][d] /= sums[static_cast<size_t>(edges[i]) + d];
    }
  }
  return weights;
}

float MaxSample(const Image& image) { return image.bytes_per_sample == 1 ? 255.0f : 65535.0f; }

int ColourChannels(const Image& image) { return image.channels <= 2 ? 1 : 3; }

// The samples of most pictures: for these there are loops of their own.
bool IsRgb8(const Image& image) { return image.channels == 3 && image.bytes_per_sample == 1; }

// One sample of a row; the index counts samples.
template <typename Sample>
float LoadSample(const uint8_t* row, size_t index) {
  Sample sample;
  std::memcpy(&sample, row + index * sizeof(Sample), sizeof(Sample));
  return static_cast<float>(sample);
}

template <typename Sample>
void StoreSample(uint8_t* row, size_t index, float value) {
  const Sample sample = static_cast<Sample>(value);
  std::memcpy(row + index * sizeof(Sample), &sample, sizeof(Sample));
}

// Colours of pixels x, x + 1, ... of a row in [0,1], interleaved, alpha dropped. Pixels beyond the
// picture are mirrored.
template <typename Sample>
void LoadColours(const Image& image, int y, int x, std::span<float> out) {
  const size_t colours = static_cast<size_t>(ColourChannels(image));
  const float max = MaxSample(image);
  const uint8_t* row = image.row(y);
  for (size_t i = 0; i < out.size(); i += colours, ++x) {
    const int inside = x >= 0 && x < image.width ? x : Reflect(x, image.width);
    const size_t pixel = static_cast<size_t>(inside) * static_cast<size_t>(image.channels);
    for (size_t c = 0; c < colours; ++c) out[i + c] = LoadSample<Sample>(row, pixel + c) / max;
  }
}

void LoadColours(const Image& image, int y, int x, std::span<float> out) {
  if (image.bytes_per_sample == 1) {
    LoadColours<uint8_t>(image, y, x, out);
  } else {
    LoadColours<uint16_t>(image, y, x, out);
  }
}

// Colours [width][colour channels] in [0,1] into a row, rounded; alpha stays.
template <typename Sample>
void StoreColours(std::span<const float> colours, Image& image, int y) {
  const size_t count = static_cast<size_t>(ColourChannels(image));
  const float max = MaxSample(image);
  uint8_t* row = image.row(y);
  size_t sample = 0;
  for (size_t i = 0; i < colours.size();
       i += count, sample += static_cast<size_t>(image.channels)) {
    for (size_t c = 0; c < count; ++c) {
      const float value = std::clamp(colours[i + c], 0.0f, 1.0f);
      StoreSample<Sample>(row, sample + c, value * max + 0.5f);
    }
  }
}

void StoreColours(std::span<const float> colours, Image& image, int y) {
  if (image.bytes_per_sample == 1) {
    StoreColours<uint8_t>(colours, image, y);
  } else {
    StoreColours<uint16_t>(colours, image, y);
  }
}

// What the network was shown of one picture and what came back, [width][3], made comparable: a
// colour that came back as it went is taken as unchanged, whatever a profile makes of a last bit.
void SnapUnchanged(std::span<const float> shown, std::span<float> restored) {
  constexpr float kLastBits = 1e-6f;
  for (size_t i = 0; i < shown.size(); ++i) {
    if (std::fabs(shown[i] - restored[i]) < kLastBits) restored[i] = shown[i];
  }
}

}  // namespace

TileGrid::TileGrid(int width, int height, const TileSpec& spec)
    : width_(width), height_(height), tile_width_(spec.tile_px), tile_height_(spec.tile_px) {
  if (spec.whole_image) {
    tile_width_ = RoundUp(width, spec.multiple_px);
    tile_height_ = RoundUp(height, spec.multiple_px);
  }
  x_ = Spread(width, tile_width_, spec.overlap_px);
  y_ = Spread(height, tile_height_, spec.overlap_px);
}

TileSource::TileSource(const Image* image)
    : image_(image), colour_(ColourConverter::ForImage(*image)) {}
TileSource::~TileSource() = default;
TileSource::TileSource(TileSource&&) noexcept = default;
TileSource& TileSource::operator=(TileSource&&) noexcept = default;

void TileSource::Gather(const TileRect& rect, float* out) const {
  const size_t width = static_cast<size_t>(rect.width);
  const size_t plane = width * static_cast<size_t>(rect.height);
  if (colour_ == nullptr && IsRgb8(*image_) && rect.x + rect.width <= image_->width) {
    for (int y = 0; y < rect.height; ++y, out += width) {
      const uint8_t* row = image_->row(Reflect(rect.y + y, image_->height));
      SplitRgb(row + 3 * rect.x, width, out, out + plane, out + 2 * plane);
    }
    return;
  }
  size_t colours = static_cast<size_t>(ColourChannels(*image_));
  std::vector<float> own(width * colours);  // [width][colours]
  std::vector<float> srgb(colour_ == nullptr ? 0 : width * 3);
  const std::vector<float>& row = colour_ == nullptr ? own : srgb;
  if (colour_ != nullptr) colours = 3;
  for (int y = 0; y < rect.height; ++y, out += width) {
    LoadColours(*image_, Reflect(rect.y + y, image_->height), rect.x, own);
    if (colour_ != nullptr) colour_->ToSrgb(own.data(), srgb.data(), rect.width);
    for (size_t c = 0; c < 3; ++c) {
      const size_t from = colours == 1 ? 0 : c;
      for (size_t x = 0; x < width; ++x) out[c * plane + x] = row[x * colours + from];
    }
  }
}

void GatherTile(const Image& image, const TileRect& rect, float* out) {
  TileSource(&image).Gather(rect, out);
}

TileBlender::TileBlender(Image* image, const TileGrid& grid, float strength, int window_tiles)
    : image_(image),
      grid_(grid),
      strength_(strength),
      colour_(ColourConverter::ForImage(*image)),
      weight_x_(AxisWeights(grid.x(), grid.tile_width(), grid.width())),
      weight_y_(AxisWeights(grid.y(), grid.tile_height(), grid.height())),
      added_(static_cast<size_t>(grid.size())),
      remaining_(static_cast<size_t>(grid.rows()), grid.columns()) {
  const int window_rows = (window_tiles + grid.columns() - 1) / grid.columns();
  rows_in_flight_ = std::clamp(window_rows + 1, 2, std::max(2, grid.rows()));
  band_rows_ = BandRowsNeeded();
  if (grid.size() > 1) band_.resize(static_cast<size_t>(band_rows_) * 3 * Width());
  UpdateAdmissible();
}

TileBlender::~TileBlender() = default;

absl::Status TileBlender::Add(int tile_index, const float* tile) {
  if (tile_index < 0 || tile_index >= admissible_ || added_[static_cast<size_t>(tile_index)]) {
    return absl::InvalidArgumentError(
        absl::StrFormat("tile %d of %d cannot be added: it was added before, or is not below %d",
                        tile_index, grid_.size(), admissible_));
  }
  const size_t plane =
      static_cast<size_t>(grid_.tile_width()) * static_cast<size_t>(grid_.tile_height());
  if (!AllFinite(tile, 3 * plane)) {
    return absl::InternalError(
        absl::StrFormat("restored tile %d of %d is not finite", tile_index, grid_.size()));
  }
  added_[static_cast<size_t>(tile_index)] = true;
  ++added_count_;
  if (grid_.size() == 1) {
    FinishFromTile(tile);
    return absl::OkStatus();
  }
  Accumulate(tile_index, tile);
  --remaining_[static_cast<size_t>(tile_index / grid_.columns())];
  FinishRows();
  UpdateAdmissible();
  return absl::OkStatus();
}

// The most rows that `rows_in_flight_` consecutive tile rows cover.
int TileBlender::BandRowsNeeded() const {
  int most = 0;
  for (int first = 0; first < grid_.rows(); ++first) {
    const int last = std::min(first + rows_in_flight_, grid_.rows()) - 1;
    most = std::max(most, RowsEnd(last) - grid_.y()[static_cast<size_t>(first)]);
  }
  return most;
}

// One past the last picture row that a tile row covers.
int TileBlender::RowsEnd(int tile_row) const {
  return std::min(grid_.y()[static_cast<size_t>(tile_row)] + grid_.tile_height(), grid_.height());
}

size_t TileBlender::Width() const { return static_cast<size_t>(grid_.width()); }

// Row y of one channel in the ring.
float* TileBlender::BandRow(int y, int channel) {
  return band_.data() + static_cast<size_t>(y % band_rows_ * 3 + channel) * Width();
}

void TileBlender::Accumulate(int tile_index, const float* tile) {
  const TileRect rect = grid_.tile(tile_index);
  const std::vector<float>& weight_x = weight_x_[static_cast<size_t>(tile_index % grid_.columns())];
  const std::vector<float>& weight_y = weight_y_[static_cast<size_t>(tile_index / grid_.columns())];
  for (int channel = 0; channel < 3; ++channel) {
    const float* in = tile + int64_t{channel} * rect.height * rect.width;
    for (size_t y = 0; y < weight_y.size(); ++y, in += rect.width) {
      float* sum = BandRow(rect.y + static_cast<int>(y), channel) + rect.x;
      AddWeighted(in, weight_x.data(), weight_y[y], weight_x.size(), sum);
    }
  }
}

// Writes every row that no open tile covers and frees its place in the ring.
void TileBlender::FinishRows() {
  while (first_open_row_ < grid_.rows() && remaining_[static_cast<size_t>(first_open_row_)] == 0) {
    const int begin = grid_.y()[static_cast<size_t>(first_open_row_)];
    ++first_open_row_;
    const int end = first_open_row_ == grid_.rows()
                        ? grid_.height()
                        : grid_.y()[static_cast<size_t>(first_open_row_)];
    for (int y = begin; y < end; ++y) {
      FinishRow(y, BandRow(y, 0), BandRow(y, 1), BandRow(y, 2));
      std::fill_n(BandRow(y, 0), 3 * Width(), 0.0f);
    }
  }
}

// The only tile needs no accumulator.
void TileBlender::FinishFromTile(const float* tile) {
  const size_t width = static_cast<size_t>(grid_.tile_width());
  const size_t plane = width * static_cast<size_t>(grid_.tile_height());
  for (int y = 0; y < grid_.height(); ++y) {
    const float* red = tile + static_cast<size_t>(y) * width;
    FinishRow(y, red, red + plane, red + 2 * plane);
  }
}

void TileBlender::FinishRow(int y, const float* red, const float* green, const float* blue) {
  if (colour_ == nullptr && IsRgb8(*image_)) {
    return MixRgb(red, green, blue, strength_, Width(), image_->row(y));
  }
  const size_t colours = static_cast<size_t>(ColourChannels(*image_));
  own_.resize(Width() * colours);
  restored_.resize(Width() * colours);
  LoadColours(*image_, y, 0, own_);
  if (colour_ != nullptr) {
    FinishProfiledRow(red, green, blue);
  } else if (colours == 1) {
    for (size_t x = 0; x < Width(); ++x) restored_[x] = (red[x] + green[x] + blue[x]) / 3;
    Mix(own_);
  } else {
    for (size_t x = 0; x < Width(); ++x) {
      restored_[3 * x] = red[x];
      restored_[3 * x + 1] = green[x];
      restored_[3 * x + 2] = blue[x];
    }
    Mix(own_);
  }
  StoreColours(own_, *image_, y);
}

// own = I, restored = P⁻¹(blend), reference = P⁻¹(P(I)); leaves the result in own.
void TileBlender::FinishProfiledRow(const float* red, const float* green, const float* blue) {
  const int n = grid_.width();
  shown_.resize(3 * Width());
  blended_.resize(3 * Width());
  reference_.resize(own_.size());
  colour_->ToSrgb(own_.data(), shown_.data(), n);
  for (size_t x = 0; x < Width(); ++x) {
    blended_[3 * x] = std::clamp(red[x], 0.0f, 1.0f);
    blended_[3 * x + 1] = std::clamp(green[x], 0.0f, 1.0f);
    blended_[3 * x + 2] = std::clamp(blue[x], 0.0f, 1.0f);
  }
  SnapUnchanged(shown_, blended_);
  colour_->FromSrgb(shown_.data(), reference_.data(), n);
  colour_->FromSrgb(blended_.data(), restored_.data(), n);
  Mix(reference_);
}

// own += strength · (restored − reference).
void TileBlender::Mix(const std::vector<float>& reference) {
  for (size_t i = 0; i < own_.size(); ++i) own_[i] += strength_ * (restored_[i] - reference[i]);
}

void TileBlender::UpdateAdmissible() {
  admissible_ = std::min(first_open_row_ + rows_in_flight_, grid_.rows()) * grid_.columns();
}

absl::Status RestoreTiled(Image* image, const TileSpec& spec, int max_batch, float strength,
                          const RunTiles& run) {
  DW_RETURN_IF_ERROR(Validate(spec));
  if (max_batch < 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("max_batch is %d; it must be at least 1", max_batch));
  }
  if (!(strength >= 0 && strength <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("strength is %g; it must be in [0, 1]", strength));
  }
  const TileGrid grid(image->width, image->height, spec);
  const TileSource source(image);
  TileBlender blender(image, grid, strength, max_batch);
  const size_t tile =
      size_t{3} * static_cast<size_t>(grid.tile_width()) * static_cast<size_t>(grid.tile_height());
  const size_t batch = static_cast<size_t>(std::min(max_batch, grid.size()));
  std::vector<float> tiles(batch * tile);
  std::vector<float> restored(batch * tile);
  for (int next = 0; next < grid.size();) {
    const int count = std::min(max_batch, blender.Admissible() - next);
    for (int i = 0; i < count; ++i) {
      source.Gather(grid.tile(next + i), tiles.data() + static_cast<size_t>(i) * tile);
    }
    DW_RETURN_IF_ERROR(run(count, tiles.data(), restored.data()));
    for (int i = 0; i < count; ++i, ++next) {
      DW_RETURN_IF_ERROR(blender.Add(next, restored.data() + static_cast<size_t>(i) * tile));
    }
  }
  return absl::OkStatus();
}

}  // namespace deweather
