#include "model/base/tile_spec.h"

#include "absl/strings/str_format.h"

namespace deweather {

absl::Status Validate(const TileSpec& spec) {
  if (spec.multiple_px < 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("multiple_px is %d; it must be at least 1", spec.multiple_px));
  }
  if (spec.tile_px < 1 || spec.tile_px % spec.multiple_px != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "tile_px is %d; it must be a positive multiple of %d", spec.tile_px, spec.multiple_px));
  }
  if (spec.overlap_px < 0 || spec.overlap_px > spec.tile_px / 2) {
    return absl::InvalidArgumentError(
        absl::StrFormat("overlap_px is %d; it must be in [0, %d], half of tile_px", spec.overlap_px,
                        spec.tile_px / 2));
  }
  return absl::OkStatus();
}

}  // namespace deweather
