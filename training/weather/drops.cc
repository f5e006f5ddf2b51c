#include "training/weather/drops.h"

namespace deweather {

DropsParams SampleDrops(uint64_t) { return {}; }

absl::StatusOr<RgbImage> AddDrops(const RgbImage& clean, const DropsParams&, uint64_t) {
  return clean;
}

}  // namespace deweather
