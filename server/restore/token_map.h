// A picture's tokens, a value each: the tiles' maps laid over the picture.
// The same map comes out in whatever order tiles come in: a token takes the tile whose centre is
// nearest, of equals the one with the lower index.

#ifndef DEWEATHER_SERVER_RESTORE_TOKEN_MAP_H_
#define DEWEATHER_SERVER_RESTORE_TOKEN_MAP_H_

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/image/tiling.h"

namespace deweather {

// Threads  thread-compatible
class TokenMap {
 public:
  // A cell is patch_px square; the last ones may reach beyond the picture.
  TokenMap(int width_px, int height_px, int patch_px);

  // What one holds, with the samples that it is encoded from.
  static int64_t BytesOf(int width_px, int height_px, int patch_px);

  // `values` is [rect.height / patch_px][rect.width / patch_px].
  void Add(int tile_index, const TileRect& rect, const std::vector<float>& values);

  // Grey, [rows][columns]: the values as samples of 8 bits, or times 65535 as samples of 16 bits.
  // Rounded, and held to what a sample holds.
  absl::StatusOr<std::string> EncodePng8() const;
  absl::StatusOr<std::string> EncodePng16() const;

 private:
  struct Cell {
    int64_t distance = std::numeric_limits<int64_t>::max();  // to the tile's centre, squared
    int tile = -1;
    float value = 0;
  };

  template <typename Sample>
  absl::StatusOr<std::string> Encode(float scale) const;
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

#endif  // DEWEATHER_SERVER_RESTORE_TOKEN_MAP_H_
