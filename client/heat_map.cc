#include "client/heat_map.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"
#include "model/image/codec.h"
#include "model/image/image.h"

namespace deweather {
namespace {

// Evenly spaced; between them colours are mixed.
constexpr std::array<uint32_t, 10> kViridis = {0x440154, 0x482878, 0x3e4989, 0x31688e, 0x26828e,
                                               0x1f9e89, 0x35b779, 0x6ece58, 0xb5de2b, 0xfde725};

constexpr uint16_t kUnit = 65535;  // of a sample

int CellsOf(int pixels, int side) { return (pixels + side - 1) / side; }

absl::StatusOr<Image> DecodeMap(const std::string& png) {
  if (png.empty()) {
    return absl::FailedPreconditionError("the server gave no uncertainty map: it may be too old");
  }
  const absl::StatusOr<Image> map = DecodeImage(png, {});
  if (map.ok() && map->channels == 1 && map->bytes_per_sample == 2) return map;
  return absl::DataLossError("the uncertainty map is no grey picture of 16 bits");
}

absl::Status CheckCovers(const Image& map, int width_px, int height_px, int token_px) {
  if (token_px > 0 && CellsOf(width_px, token_px) == map.width &&
      CellsOf(height_px, token_px) == map.height) {
    return absl::OkStatus();
  }
  return absl::DataLossError(
      absl::StrFormat("the uncertainty map is %dx%d; tokens of %d px of a picture of %dx%d are not "
                      "as many",
                      map.width, map.height, token_px, width_px, height_px));
}

Image Draw(const Image& map, const std::vector<uint16_t>& values, double most, int side,
           Image picture) {
  const auto columns = static_cast<size_t>(map.width);
  for (int y = 0; y < picture.height; ++y) {
    uint8_t* const row = picture.row(y);
    if (y % side != 0) {
      std::memcpy(row, picture.row(y - 1), picture.row_bytes());
      continue;
    }
    for (int x = 0; x < picture.width; ++x) {
      const size_t cell = static_cast<size_t>(y / side) * columns + static_cast<size_t>(x / side);
      const std::array<uint8_t, 3> colour = HeatColour(most > 0 ? values[cell] / most : 0);
      std::memcpy(row + 3 * static_cast<size_t>(x), colour.data(), colour.size());
    }
  }
  return picture;
}

}  // namespace

std::array<uint8_t, 3> HeatColour(double share) {
  const double place = share * (kViridis.size() - 1);
  const size_t below = std::min(static_cast<size_t>(place), kViridis.size() - 2);
  std::array<uint8_t, 3> colour;
  for (size_t channel = 0; channel < 3; ++channel) {
    const size_t shift = 16 - 8 * channel;
    const double a = (kViridis[below] >> shift) & 0xff;
    const double b = (kViridis[below + 1] >> shift) & 0xff;
    colour[channel] =
        static_cast<uint8_t>(std::lround(std::lerp(a, b, place - static_cast<double>(below))));
  }
  return colour;
}

absl::StatusOr<HeatMap> DrawHeatMap(const std::string& map_png, int width_px, int height_px,
                                    int token_px) {
  DW_ASSIGN_OR_RETURN(const Image map, DecodeMap(map_png));
  DW_RETURN_IF_ERROR(CheckCovers(map, width_px, height_px, token_px));
  std::vector<uint16_t> values(map.samples.size() / 2);
  std::memcpy(values.data(), map.samples.data(), map.samples.size());
  const uint16_t most = *std::ranges::max_element(values);
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  Image picture;
  picture.width = width_px;
  picture.height = height_px;
  picture.samples.resize(picture.row_bytes() * static_cast<size_t>(height_px));
  picture = Draw(map, values, most, token_px, std::move(picture));
  HeatMap heat;
  DW_ASSIGN_OR_RETURN(heat.png, EncodeImage(picture, {.format = ImageFormat::kPng}));
  heat.scale = {.mean = sum / kUnit / static_cast<double>(values.size()),
                .most = static_cast<double>(most) / kUnit,
                .saturated = most == kUnit};
  return heat;
}

}  // namespace deweather
