// Cuts a picture into overlapping tiles for a network and blends restored tiles back.
// A row of the picture is written only when every tile that covers it has been added.
//
// Shapes   a tile is planar RGB float [3][height][width] in [0,1], sRGB
// Errors   INVALID_ARGUMENT a tile that may not be added now; INTERNAL a non-finite tile

#ifndef DEWEATHER_MODEL_IMAGE_TILING_H_
#define DEWEATHER_MODEL_IMAGE_TILING_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "model/base/tile_spec.h"
#include "model/image/image.h"

namespace deweather {

class ColourConverter;

// May reach beyond the picture on the right and at the bottom: reflect padding.
struct TileRect {
  int x = 0;
  int y = 0;
  int width = 0;
  int height = 0;

  friend bool operator==(const TileRect&, const TileRect&) = default;
};

// The tiles of one picture in row-major order. All have one size: tile_px square, or with
// whole_image the picture padded up to multiple_px. Positions are spread evenly, so neighbours
// overlap by at least overlap_px.
class TileGrid {
 public:
  // REQUIRES: width, height >= 1 and Validate(spec).ok().
  TileGrid(int width, int height, const TileSpec& spec);

  int columns() const { return static_cast<int>(x_.size()); }
  int rows() const { return static_cast<int>(y_.size()); }
  int size() const { return columns() * rows(); }
  int tile_width() const { return tile_width_; }
  int tile_height() const { return tile_height_; }
  int width() const { return width_; }    // of the picture
  int height() const { return height_; }  // of the picture
  TileRect tile(int index) const {
    return {x_[static_cast<size_t>(index % columns())], y_[static_cast<size_t>(index / columns())],
            tile_width_, tile_height_};
  }
  const std::vector<int>& x() const { return x_; }  // left edges, ascending
  const std::vector<int>& y() const { return y_; }  // top edges, ascending

 private:
  int width_;
  int height_;
  int tile_width_;
  int tile_height_;
  std::vector<int> x_;
  std::vector<int> y_;
};

// Reads tiles out of a picture: grey is replicated, alpha ignored, another colour space converted
// to sRGB and clipped to [0,1].
//
// Owns     its colour transforms; `image` must outlive it
// Threads  thread-safe; may run beside a TileBlender of the same image (see there)
class TileSource {
 public:
  explicit TileSource(const Image* image);
  ~TileSource();
  TileSource(TileSource&&) noexcept;
  TileSource& operator=(TileSource&&) noexcept;

  // Writes [3][rect.height][rect.width] floats; pixels beyond the picture are reflected about its
  // edges as often as needed (a picture one pixel wide repeats it).
  void Gather(const TileRect& rect, float* out) const;

 private:
  const Image* image_;
  std::shared_ptr<const ColourConverter> colour_;
};

// One tile, for callers that want only one: sets the colour transforms up each time.
void GatherTile(const Image& image, const TileRect& rect, float* out);

// Blends restored tiles into the picture's own samples: I + strength · (restored − I), raised-cosine
// weights over the true overlap that sum to one, rounded to the native depth, alpha untouched.
//
// Writing in place is safe while later tiles are still gathered from the same image. Row y is
// written when every tile whose rectangle covers y has been added, and a tile that was added has
// been gathered before. A tile gathers only rows its rectangle covers: it is padded vertically only
// when it is the grid's only tile row, and then it covers every row. So no row that has been
// written is read again, whatever the order of completion.
//
// Math     out = I + s · (P⁻¹(Σ wᵢ tileᵢ) − P⁻¹(P(I))), P: the picture's colour space → sRGB, clipped.
//          Without a profile P is the identity. Because both terms went through P, an identity
//          model gives I back exactly, colours beyond sRGB included. Grey takes the mean of R, G, B.
// Owns     a band of accumulators: tile rows in flight × width × 12 bytes; `image` must outlive it
// Threads  thread-compatible: one call at a time, from any thread
class TileBlender {
 public:
  // At least `window_tiles` tiles, and never less than two tile rows, may be outstanding at once.
  // REQUIRES: grid was made for this image's size; 0 <= strength <= 1.
  TileBlender(Image* image, const TileGrid& grid, float strength, int window_tiles = 64);
  ~TileBlender();
  TileBlender(const TileBlender&) = delete;
  TileBlender& operator=(const TileBlender&) = delete;

  // One past the last tile that may be gathered now: the band has room for tiles [0, Admissible()).
  // Grows only in Add, up to grid.size().
  int Admissible() const { return admissible_; }

  // Takes tile [3][tile_height][tile_width], in any order among the admissible ones, each once.
  // A tile that holds NaN or infinity is refused and changes nothing.
  absl::Status Add(int tile_index, const float* tile);

  bool done() const { return added_count_ == grid_.size(); }
  int added_count() const { return added_count_; }

 private:
  size_t Width() const;
  int RowsEnd(int tile_row) const;
  int BandRowsNeeded() const;
  float* BandRow(int y, int channel);
  void Accumulate(int tile_index, const float* tile);
  void FinishRows();
  void FinishFromTile(const float* tile);
  void FinishRow(int y, const float* red, const float* green, const float* blue);
  void FinishProfiledRow(const float* red, const float* green, const float* blue);
  void Mix(const std::vector<float>& reference);
  void UpdateAdmissible();

  // Constant after construction.
  Image* const image_;
  const TileGrid grid_;
  const float strength_;
  const std::shared_ptr<const ColourConverter> colour_;
  const std::vector<std::vector<float>> weight_x_;  // [column][pixel], sum to one over columns
  const std::vector<std::vector<float>> weight_y_;  // [row][pixel], sum to one over rows
  int rows_in_flight_ = 0;                          // tile rows the band has room for
  int band_rows_ = 0;

  std::vector<float> band_;     // ring [band_rows_][3][width]; row y lives at y % band_rows_
  std::vector<bool> added_;     // per tile
  std::vector<int> remaining_;  // per tile row: tiles not yet added
  int first_open_row_ = 0;      // tile row; rows above its top edge have been written
  int added_count_ = 0;
  int admissible_ = 0;

  // One row each, reused: colours [width][1 or 3] in the picture's own space, sRGB [width][3].
  std::vector<float> own_;
  std::vector<float> restored_;
  std::vector<float> reference_;
  std::vector<float> shown_;
  std::vector<float> blended_;
};

// Restores `count` tiles: tiles and restored are [count][3][tile_height][tile_width].
using RunTiles = std::function<absl::Status(int count, const float* tiles, float* restored)>;

// Cuts, restores and blends on the calling thread, in the grid's order, at most `max_batch` tiles a
// time. On an error some rows of the image may already be restored.
absl::Status RestoreTiled(Image* image, const TileSpec& spec, int max_batch, float strength,
                          const RunTiles& run);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_IMAGE_TILING_H_
