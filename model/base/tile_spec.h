// How a model wants a picture to be cut.

#ifndef DEWEATHER_MODEL_BASE_TILE_SPEC_H_
#define DEWEATHER_MODEL_BASE_TILE_SPEC_H_

#include "absl/status/status.h"

namespace deweather {

struct TileSpec {
  int multiple_px = 1;       // a tile's height and width are multiples of this; >= 1
  int tile_px = 256;         // side of the square tiles; a positive multiple of multiple_px
  int overlap_px = 32;       // least overlap of neighbouring tiles; 0 <= overlap_px <= tile_px / 2
  bool whole_image = false;  // the picture is one tile, padded up to multiple_px

  friend bool operator==(const TileSpec&, const TileSpec&) = default;
};

// INVALID_ARGUMENT, naming the field, its value and its range.
absl::Status Validate(const TileSpec& spec);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_TILE_SPEC_H_
