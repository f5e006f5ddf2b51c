#include "model/image/tiling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <deque>
#include <functional>
#include <limits>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "tests/image/pictures.h"

namespace deweather {
namespace {

using ::testing::HasSubstr;

size_t TileFloats(const TileGrid& grid) {
  return size_t{3} * static_cast<size_t>(grid.tile_width() * grid.tile_height());
}

absl::Status Identity(size_t floats, const float* tiles, float* restored) {
  std::memcpy(restored, tiles, floats * sizeof(float));
  return absl::OkStatus();
}

// A network that does nothing.
RunTiles IdentityFor(const Image& image, const TileSpec& spec) {
  const size_t tile = TileFloats(TileGrid(image.width, image.height, spec));
  return [tile](int count, const float* tiles, float* restored) {
    return Identity(static_cast<size_t>(count) * tile, tiles, restored);
  };
}

// A network that maps every value.
RunTiles MapFor(const Image& image, const TileSpec& spec, const std::function<float(float)>& map) {
  const size_t tile = TileFloats(TileGrid(image.width, image.height, spec));
  return [tile, map](int count, const float* tiles, float* restored) {
    std::transform(tiles, tiles + static_cast<size_t>(count) * tile, restored, map);
    return absl::OkStatus();
  };
}

void ExpectCovers(const std::vector<int>& edges, int tile, int extent, int overlap) {
  ASSERT_EQ(edges.front(), 0);
  for (size_t i = 1; i < edges.size(); ++i) {
    EXPECT_GT(edges[i], edges[i - 1]);
    EXPECT_LE(edges[i], edges[i - 1] + tile - overlap);
  }
  if (edges.size() == 1) {
    EXPECT_GE(tile, extent);
  } else {
    EXPECT_EQ(edges.back() + tile, extent);
  }
}

TEST(TileGridTest, CoversEverySizeEvenly) {
  for (int extent = 1; extent < 400; ++extent) {
    for (const int overlap : {0, 1, 7, 16}) {
      const TileGrid grid(extent, 20, {.multiple_px = 8, .tile_px = 32, .overlap_px = overlap});
      ExpectCovers(grid.x(), 32, extent, overlap);
      int least = 32, most = 0;
      for (size_t i = 1; i < grid.x().size(); ++i) {
        least = std::min(least, grid.x()[i] - grid.x()[i - 1]);
        most = std::max(most, grid.x()[i] - grid.x()[i - 1]);
      }
      EXPECT_LE(most - least, 1) << extent << " overlap " << overlap;
    }
  }
}

TEST(TileGridTest, RowMajorOrder) {
  const TileGrid grid(481, 321, {.multiple_px = 8, .tile_px = 256, .overlap_px = 32});
  EXPECT_EQ(grid.columns(), 3);
  EXPECT_EQ(grid.rows(), 2);
  EXPECT_EQ(grid.size(), 6);
  EXPECT_EQ(grid.tile(0), (TileRect{0, 0, 256, 256}));
  EXPECT_EQ(grid.tile(1), (TileRect{112, 0, 256, 256}));
  EXPECT_EQ(grid.tile(5), (TileRect{225, 65, 256, 256}));
}

TEST(TileGridTest, WholeImageIsPaddedToTheMultiple) {
  const TileSpec spec = {.multiple_px = 8, .tile_px = 256, .overlap_px = 32, .whole_image = true};
  const TileGrid grid(481, 320, spec);
  ASSERT_EQ(grid.size(), 1);
  EXPECT_EQ(grid.tile(0), (TileRect{0, 0, 488, 320}));
}

TEST(TileSourceTest, ReflectsBeyondTheEdges) {
  Image image = NoisePicture(3, 1, 1, 1, 1);
  for (int x = 0; x < 3; ++x) SetSample(image, x, 0, 0, 51 * x);
  std::vector<float> tile(60);
  GatherTile(image, {0, 0, 10, 2}, tile.data());
  const float expected[] = {0, 0.2f, 0.4f, 0.2f, 0, 0.2f, 0.4f, 0.2f, 0, 0.2f};
  for (size_t i = 0; i < tile.size(); ++i) EXPECT_FLOAT_EQ(tile[i], expected[i % 10]) << i;
}

TEST(TileSourceTest, ReflectsOnEverySideOfARectangle) {
  const Image image = NoisePicture(5, 4, 3, 2, 2);
  std::vector<float> tile(297);
  GatherTile(image, {-3, -2, 11, 9}, tile.data());
  const auto mirrored = [](int at, int extent) {
    while (at < 0 || at >= extent) at = at < 0 ? -at : 2 * (extent - 1) - at;
    return at;
  };
  for (int c = 0; c < 3; ++c) {
    for (int y = 0; y < 9; ++y) {
      for (int x = 0; x < 11; ++x) {
        const int sample = SampleAt(image, mirrored(x - 3, 5), mirrored(y - 2, 4), c);
        EXPECT_FLOAT_EQ(tile[static_cast<size_t>((c * 9 + y) * 11 + x)],
                        static_cast<float>(sample) / 65535);
      }
    }
  }
}

TEST(TileSourceTest, OnePixelFillsATile) {
  Image image = NoisePicture(1, 1, 4, 1, 3);
  for (int c = 0; c < 3; ++c) SetSample(image, 0, 0, c, 85 * c);
  std::vector<float> tile(768);
  GatherTile(image, {0, 0, 16, 16}, tile.data());
  for (size_t i = 0; i < tile.size(); ++i) {
    const size_t channel = i / 256;
    EXPECT_FLOAT_EQ(tile[i], static_cast<float>(channel) / 3);
  }
}

TEST(TileSourceTest, ConvertsAProfileToSrgb) {
  // Adobe RGB's (0, 1, 0) lies outside sRGB; its white and black are sRGB's.
  Image image = NoisePicture(3, 1, 3, 1, 4);
  const int colours[3][3] = {{0, 0, 0}, {255, 255, 255}, {128, 128, 128}};
  for (int x = 0; x < 3; ++x) {
    for (int c = 0; c < 3; ++c) SetSample(image, x, 0, c, colours[x][c]);
  }
  image.icc_profile = AdobeRgbProfile();
  std::vector<float> tile(9);
  GatherTile(image, {0, 0, 3, 1}, tile.data());
  const double linear = std::pow(128 / 255.0, 2.19921875);
  const double srgb = 1.055 * std::pow(linear, 1 / 2.4) - 0.055;
  for (size_t c = 0; c < 3; ++c) {
    EXPECT_NEAR(tile[3 * c], 0, 2e-3);
    EXPECT_NEAR(tile[3 * c + 1], 1, 2e-3);
    EXPECT_NEAR(tile[3 * c + 2], srgb, 2e-3);
  }
}

TEST(TileSourceTest, AnSrgbProfileChangesNothing) {
  Image image = NoisePicture(40, 30, 3, 1, 5);
  std::vector<float> plain(3600), profiled(plain.size());
  GatherTile(image, {0, 0, 40, 30}, plain.data());
  image.icc_profile = SrgbProfile();
  GatherTile(image, {0, 0, 40, 30}, profiled.data());
  EXPECT_EQ(plain, profiled);
}

// Sizes, tiles and overlaps of one trial.
struct Trial {
  int width, height, channels, bytes;
  TileSpec spec;
};

std::vector<Trial> RandomTrials(int count) {
  std::mt19937 random(20240607);
  const auto between = [&](int least, int most) {
    return std::uniform_int_distribution<int>(least, most)(random);
  };
  std::vector<Trial> trials = {
      {1, 1, 3, 1, {.multiple_px = 8, .tile_px = 256, .overlap_px = 32}},
      {481, 321, 3, 1, {.multiple_px = 8, .tile_px = 256, .overlap_px = 32}},
      {1, 1, 1, 2, {.multiple_px = 8, .tile_px = 64, .overlap_px = 32, .whole_image = true}},
      {481, 321, 4, 2, {.multiple_px = 8, .tile_px = 128, .overlap_px = 64}},
      {321, 481, 3, 2, {.multiple_px = 8, .tile_px = 128, .overlap_px = 0, .whole_image = true}},
      {5, 4, 3, 2, {.multiple_px = 1, .tile_px = 1, .overlap_px = 0}},
      {7, 9, 2, 1, {.multiple_px = 1, .tile_px = 2, .overlap_px = 1}},
      {1, 300, 3, 1, {.multiple_px = 4, .tile_px = 16, .overlap_px = 3}},
  };
  while (static_cast<int>(trials.size()) < count) {
    const int multiple = between(1, 8);
    const int tile = multiple * between(1, 12);
    trials.push_back({between(1, 200),
                      between(1, 200),
                      between(1, 4),
                      between(1, 2),
                      {.multiple_px = multiple,
                       .tile_px = tile,
                       .overlap_px = between(0, tile / 2),
                       .whole_image = between(0, 9) == 0}});
  }
  return trials;
}

TEST(RestoreTiledTest, IdentityIsExactForFiveHundredSizesAndOverlaps) {
  uint32_t seed = 0;
  for (const Trial& trial : RandomTrials(500)) {
    const Image before = NoisePicture(trial.width, trial.height, trial.channels, trial.bytes, seed);
    Image after = before;
    const int batch = 1 + static_cast<int>(seed % 9);
    ASSERT_TRUE(RestoreTiled(&after, trial.spec, batch, 1.0f, IdentityFor(after, trial.spec)).ok());
    ASSERT_EQ(after.samples, before.samples)
        << trial.width << "x" << trial.height << " tile " << trial.spec.tile_px << " overlap "
        << trial.spec.overlap_px;
    ++seed;
  }
}

TEST(RestoreTiledTest, IdentityIsExactWithProfiles) {
  const TileSpec spec = {.multiple_px = 8, .tile_px = 32, .overlap_px = 9};
  for (const int bytes : {1, 2}) {
    for (const std::string& profile : {AdobeRgbProfile(), NarrowRgbProfile(), SrgbProfile()}) {
      Image image = NoisePicture(97, 71, 4, bytes, 7);
      image.icc_profile = profile;
      const Image before = image;
      ASSERT_TRUE(RestoreTiled(&image, spec, 4, 1.0f, IdentityFor(image, spec)).ok());
      EXPECT_EQ(GreatestDifference(image, before), 0) << bytes;
    }
    Image grey = NoisePicture(97, 71, 2, bytes, 8);
    grey.icc_profile = GreyProfile(1.8);
    const Image before = grey;
    ASSERT_TRUE(RestoreTiled(&grey, spec, 4, 1.0f, IdentityFor(grey, spec)).ok());
    EXPECT_EQ(GreatestDifference(grey, before), 0) << bytes;
  }
}

TEST(RestoreTiledTest, ProfiledColoursAreChangedInSrgb) {
  const TileSpec spec = {.multiple_px = 8, .tile_px = 32, .overlap_px = 8};
  Image image = SmoothPicture(60, 50, 3, 1);
  image.icc_profile = AdobeRgbProfile();
  const RunTiles to_grey = MapFor(image, spec, [](float) { return 0.5f; });
  ASSERT_TRUE(RestoreTiled(&image, spec, 4, 1.0f, to_grey).ok());
  // sRGB's half grey in Adobe RGB.
  const double linear = std::pow((0.5 + 0.055) / 1.055, 2.4);
  const double expected = 255 * std::pow(linear, 1 / 2.19921875);
  for (int c = 0; c < 3; ++c) EXPECT_NEAR(SampleAt(image, 20, 30, c), expected, 6);
}

TEST(RestoreTiledTest, StrengthMixes) {
  const TileSpec spec = {.multiple_px = 8, .tile_px = 32, .overlap_px = 8};
  const Image before = NoisePicture(70, 45, 3, 2, 9);
  for (const float strength : {0.0f, 0.25f, 1.0f}) {
    Image image = before;
    const RunTiles invert = MapFor(image, spec, [](float value) { return 1 - value; });
    ASSERT_TRUE(RestoreTiled(&image, spec, 3, strength, invert).ok());
    for (int y = 0; y < 45; ++y) {
      for (int x = 0; x < 70; ++x) {
        const double was = SampleAt(before, x, y, 1);
        EXPECT_NEAR(SampleAt(image, x, y, 1), was + strength * (65535 - 2 * was), 0.6);
      }
    }
  }
}

TEST(RestoreTiledTest, AlphaIsUntouchedAndGreyTakesTheMean) {
  const TileSpec spec = {.multiple_px = 8, .tile_px = 16, .overlap_px = 4};
  const Image before = NoisePicture(33, 21, 2, 1, 10);
  Image image = before;
  const size_t plane = 256;
  const RunTiles colour = [plane](int count, const float*, float* restored) {
    for (size_t i = 0; i < static_cast<size_t>(count) * 3 * plane; ++i) {
      restored[i] = 0.2f * static_cast<float>(1 + i / plane % 3);  // 0.2, 0.4, 0.6
    }
    return absl::OkStatus();
  };
  ASSERT_TRUE(RestoreTiled(&image, spec, 5, 1.0f, colour).ok());
  for (int x = 0; x < 33; ++x) {
    EXPECT_EQ(SampleAt(image, x, 20, 0), 102);
    EXPECT_EQ(SampleAt(image, x, 20, 1), SampleAt(before, x, 20, 1));
  }
}

TEST(RestoreTiledTest, ValuesBeyondTheRangeAreClipped) {
  const TileSpec spec = {.multiple_px = 8, .tile_px = 16, .overlap_px = 4};
  Image image = NoisePicture(20, 20, 3, 1, 11);
  const RunTiles wild =
      MapFor(image, spec, [](float value) { return value < 0.5f ? -3.0f : 7.0f; });
  ASSERT_TRUE(RestoreTiled(&image, spec, 4, 1.0f, wild).ok());
  EXPECT_THAT(image.samples, ::testing::Each(::testing::AnyOf(0, 255)));
}

TEST(RestoreTiledTest, BlendIsSmoothBetweenTiles) {
  // Tiles that disagree by one leave no step over 2 % in a 64 px overlap.
  const TileSpec spec = {.multiple_px = 8, .tile_px = 128, .overlap_px = 64};
  Image image = NoisePicture(192, 128, 3, 2, 12);
  int next = 0;
  const RunTiles disagree = [&next](int count, const float*, float* restored) {
    constexpr size_t kTile = size_t{3} * 128 * 128;
    for (int i = 0; i < count; ++i, restored += kTile) {
      std::fill_n(restored, kTile, static_cast<float>(next++));
    }
    return absl::OkStatus();
  };
  ASSERT_TRUE(RestoreTiled(&image, spec, 4, 1.0f, disagree).ok());
  EXPECT_EQ(SampleAt(image, 0, 5, 0), 0);
  EXPECT_EQ(SampleAt(image, 191, 5, 0), 65535);
  for (int x = 1; x < 192; ++x) {
    const int step = SampleAt(image, x, 5, 0) - SampleAt(image, x - 1, 5, 0);
    EXPECT_GE(step, 0);
    EXPECT_LE(step, 65535 * 0.025);
  }
}

TEST(RestoreTiledTest, BatchesAreFilledAndBounded) {
  const TileSpec spec = {.multiple_px = 8, .tile_px = 16, .overlap_px = 2};
  Image image = NoisePicture(10, 1000, 3, 1, 13);  // one column of tiles
  const TileGrid grid(10, 1000, spec);
  std::vector<int> counts;
  const RunTiles run = [&](int count, const float* tiles, float* restored) {
    counts.push_back(count);
    return Identity(static_cast<size_t>(count) * TileFloats(grid), tiles, restored);
  };
  ASSERT_TRUE(RestoreTiled(&image, spec, 8, 1.0f, run).ok());
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), 0), grid.size());
  counts.pop_back();
  EXPECT_THAT(counts, ::testing::Each(8));
}

TEST(RestoreTiledTest, ErrorsAreHandedOn) {
  const TileSpec spec = {.multiple_px = 8, .tile_px = 16, .overlap_px = 4};
  Image image = NoisePicture(50, 50, 3, 1, 14);
  const RunTiles fail = [](int, const float*, float*) { return absl::AbortedError("no network"); };
  EXPECT_EQ(RestoreTiled(&image, spec, 4, 1.0f, fail).message(), "no network");
  const RunTiles identity = IdentityFor(image, spec);
  EXPECT_THAT(RestoreTiled(&image, spec, 0, 1.0f, identity).message(), HasSubstr("max_batch is 0"));
  EXPECT_THAT(RestoreTiled(&image, spec, 4, 1.5f, identity).message(),
              HasSubstr("strength is 1.5"));
  EXPECT_THAT(RestoreTiled(&image, {.tile_px = 0}, 4, 1.0f, identity).message(),
              HasSubstr("tile_px is 0"));
}

TEST(TileBlenderTest, NonFiniteTileIsInternalAndChangesNothing) {
  const TileSpec spec = {.multiple_px = 8, .tile_px = 16, .overlap_px = 4};
  Image image = NoisePicture(30, 30, 3, 1, 15);
  const Image before = image;
  const TileGrid grid(30, 30, spec);
  const TileSource source(&image);
  TileBlender blender(&image, grid, 1.0f);
  std::vector<float> tile(TileFloats(grid));
  for (int index = 0; index < grid.size(); ++index) {
    source.Gather(grid.tile(index), tile.data());
    std::vector<float> bad = tile;
    bad.back() = index % 2 ? std::numeric_limits<float>::infinity() : std::nanf("");
    EXPECT_EQ(blender.Add(index, bad.data()).code(), absl::StatusCode::kInternal);
    EXPECT_TRUE(blender.Add(index, tile.data()).ok());
  }
  EXPECT_TRUE(blender.done());
  EXPECT_EQ(image.samples, before.samples);
}

TEST(TileBlenderTest, RefusesTilesItHasNoRoomFor) {
  const TileSpec spec = {.multiple_px = 8, .tile_px = 16, .overlap_px = 4};
  Image image = NoisePicture(40, 400, 3, 1, 16);
  const TileGrid grid(40, 400, spec);
  TileBlender blender(&image, grid, 1.0f, /*window_tiles=*/1);
  EXPECT_EQ(blender.Admissible(), 2 * grid.columns());
  const std::vector<float> tile(TileFloats(grid));
  EXPECT_EQ(blender.Add(-1, tile.data()).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(blender.Add(blender.Admissible(), tile.data()).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(blender.Add(0, tile.data()).ok());
  EXPECT_EQ(blender.Add(0, tile.data()).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(blender.added_count(), 1);
}

TEST(TileBlenderTest, WindowHoldsAtLeastTheTilesAskedFor) {
  const TileSpec spec = {.multiple_px = 8, .tile_px = 16, .overlap_px = 4};
  for (const int width : {10, 40, 100, 900}) {
    Image image = NoisePicture(width, 2000, 1, 1, 17);
    const TileGrid grid(width, 2000, spec);
    const TileBlender blender(&image, grid, 1.0f, /*window_tiles=*/20);
    EXPECT_GE(blender.Admissible(), std::min(grid.size(), 20 + grid.columns()));
    EXPECT_LE(blender.Admissible(), 20 + 2 * grid.columns());
  }
}

// Tiles are gathered in order, finish in any order, and while they are out their neighbours are
// written into the very image that later tiles are gathered from. Each tile carries what was
// gathered; were a written row read again, it would be inverted twice.
TEST(TileBlenderTest, OutOfOrderCompletionInABoundedWindowWritesInPlace) {
  std::mt19937 random(4711);
  uint32_t seed = 0;
  for (const Trial& trial : RandomTrials(120)) {
    const Image before =
        NoisePicture(trial.width, trial.height, trial.channels, trial.bytes, ++seed);
    Image image = before;
    Image expected = before;
    const auto invert = [](float value) { return 1 - value; };
    ASSERT_TRUE(
        RestoreTiled(&expected, trial.spec, 1, 1.0f, MapFor(before, trial.spec, invert)).ok());
    const TileGrid grid(image.width, image.height, trial.spec);
    const TileSource source(&image);
    TileBlender blender(&image, grid, 1.0f, /*window_tiles=*/1 + static_cast<int>(random() % 9));
    std::vector<std::pair<int, std::vector<float>>> out;
    int next = 0;
    while (!blender.done()) {
      while (next < blender.Admissible()) {
        std::vector<float> tile(TileFloats(grid));
        source.Gather(grid.tile(next), tile.data());
        std::transform(tile.begin(), tile.end(), tile.begin(), invert);
        out.emplace_back(next++, std::move(tile));
      }
      ASSERT_FALSE(out.empty());
      std::swap(out[random() % out.size()], out.back());
      ASSERT_TRUE(blender.Add(out.back().first, out.back().second.data()).ok());
      out.pop_back();
    }
    EXPECT_EQ(next, grid.size());
    // Only the order of float sums may differ.
    EXPECT_LE(GreatestDifference(image, expected), 1) << trial.width << "x" << trial.height;
  }
}

// The same with threads: one gathers, one blends. ThreadSanitizer checks that no byte is shared.
TEST(TileBlenderTest, GatherRunsBesideBlend) {
  const TileSpec spec = {.multiple_px = 8, .tile_px = 32, .overlap_px = 8};
  Image image = NoisePicture(61, 1500, 3, 1, 18);
  const Image before = image;
  const TileGrid grid(61, 1500, spec);
  TileBlender blender(&image, grid, 1.0f, /*window_tiles=*/8);
  const TileSource source(&image);
  std::vector<std::vector<float>> tiles(static_cast<size_t>(grid.size()));
  std::vector<std::atomic<bool>> gathered(tiles.size());
  std::atomic<int> admissible = blender.Admissible();
  std::thread gatherer([&] {
    for (int next = 0; next < grid.size(); ++next) {
      while (admissible.load() <= next) std::this_thread::yield();
      const size_t index = static_cast<size_t>(next);
      tiles[index].resize(TileFloats(grid));
      source.Gather(grid.tile(next), tiles[index].data());
      gathered[index].store(true);
    }
  });
  for (int next = 0; next < grid.size(); ++next) {
    const size_t index = static_cast<size_t>(next);
    while (!gathered[index].load()) std::this_thread::yield();
    EXPECT_TRUE(blender.Add(next, tiles[index].data()).ok());
    admissible.store(blender.Admissible());
  }
  gatherer.join();
  EXPECT_EQ(image.samples, before.samples);
}

}  // namespace
}  // namespace deweather
