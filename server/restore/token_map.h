// Which expert worked where: the tiles' maps laid over the picture.
// The same map comes out in whatever order tiles come in: a token takes the tile whose centre is
// nearest, of equals the one with the lower index.

#ifndef DEWEATHER_SERVER_RESTORE_EXPERT_MAP_H_
#define DEWEATHER_SERVER_RESTORE_EXPERT_MAP_H_

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/image/tiling.h"

namespace deweather {

// Threads  thread-compatible
class ExpertMap {
 public:
  // A cell is patch_px square; the last ones may reach beyond the picture.
  ExpertMap(int width_px, int height_px, int patch_px);

  // `experts` is [rect.height / patch_px][rect.width / patch_px].
  void Add(int tile_index, const TileRect& rect, const std::vector<uint8_t>& experts);

  // 8-bit grey, [rows][columns] of experts.
  absl::StatusOr<std::string> EncodePng() const;

 private:
  struct Cell {
    int64_t distance = std::numeric_limits<int64_t>::max();  // to the tile's centre, squared
    int tile = -1;
    uint8_t expert = 0;
  };

  int CentreX(int column) const;
  int CentreY(int row) const;

  const int width_px_;
  const int height_px_;
  const int patch_px_;
  const int columns_;
  const int rows_;
  std::vector<Cell> cells_;  // [rows][columns]
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RESTORE_EXPERT_MAP_H_
