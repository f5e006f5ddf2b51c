#include "model/kernels/conv3x3.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "model/kernels/avx512.h"

namespace deweather {
namespace {

using avx512::kLanes;
using avx512::kPerWord;
using avx512::LaneMask;
using avx512::LoadFloats;
using avx512::MultiplyAdd;
using avx512::StepsOf;
using avx512::StoreFloats;

constexpr int64_t kOut = 4;  // outputs of a tile, each way
constexpr int64_t kIn = 6;   // what they are computed from
constexpr int64_t kPoints = kIn * kIn;
constexpr int64_t kBlock =
    24;  // tiles that share what is read of the weights; all fit the L2 cache

constexpr int64_t kLeastBf16 = 32;  // channels

// ---- Winograd's transforms, one way

// At the points 0, +-a, +-b and infinity; a = 3/4, b = 3/2 lose half as many bits as the usual 1 and 2.
constexpr float kA = 0.75f, kA2 = kA * kA, kA3 = kA2 * kA;
constexpr float kB = 1.5f, kB2 = kB * kB, kB3 = kB2 * kB;

// B^T d
DW_AVX512 inline void TransformInput(const __m512 (&d)[kIn], __m512 (&y)[kIn]) {
  const __m512 even_a = d[4] - kB2 * d[2], odd_a = d[3] - kB2 * d[1];
  const __m512 even_b = d[4] - kA2 * d[2], odd_b = d[3] - kA2 * d[1];
  y[0] = kA2 * kB2 * d[0] + (d[4] - (kA2 + kB2) * d[2]);
  y[1] = even_a + kA * odd_a;
  y[2] = even_a - kA * odd_a;
  y[3] = even_b + kB * odd_b;
  y[4] = even_b - kB * odd_b;
  y[5] = kA2 * kB2 * d[1] + (d[5] - (kA2 + kB2) * d[3]);
}

// A^T m
DW_AVX512 inline void TransformOutput(const __m512 (&m)[kIn], __m512 (&y)[kOut]) {
  const __m512 even_a = m[1] + m[2], odd_a = m[1] - m[2];
  const __m512 even_b = m[3] + m[4], odd_b = m[3] - m[4];
  y[0] = m[0] + even_a + even_b;
  y[1] = kA * odd_a + kB * odd_b;
  y[2] = kA2 * even_a + kB2 * even_b;
  y[3] = kA3 * odd_a + kB3 * odd_b + m[5];
}

// G g G^T: [out,in,3,3] -> [out,in,36] f64
at::Tensor TransformWeights(const at::Tensor& weight) {
  constexpr double a = kA, b = kB;
  constexpr double at_a = 1 / (2 * a * a * (a * a - b * b)),
                   at_b = 1 / (2 * b * b * (b * b - a * a));
  constexpr double kG[kIn][3] = {{1 / (a * a * b * b), 0, 0},     {at_a, a * at_a, a * a * at_a},
                                 {at_a, -a * at_a, a * a * at_a}, {at_b, b * at_b, b * b * at_b},
                                 {at_b, -b * at_b, b * b * at_b}, {0, 0, 1}};
  const at::Tensor g = at::empty({kIn, 3}, at::kDouble);
  std::copy_n(&kG[0][0], kIn * 3, g.mutable_data_ptr<double>());
  const at::Tensor exact = weight.to(at::kDouble).contiguous();
  return at::matmul(at::matmul(g, exact), g.t()).reshape({weight.size(0), weight.size(1), kPoints});
}

// What products are computed in. With few channels to sum over they are not what takes the time.
at::ScalarType ProductsOf(const at::Tensor& weight) {
  const int64_t least = std::min(weight.size(0), weight.size(1));
  return weight.scalar_type() == at::kBFloat16 && least >= kLeastBf16 ? at::kBFloat16 : at::kFloat;
}

// ---- a block of tiles

// Tiles are counted over all pictures, row by row.
struct Grid {
  int64_t pictures, rows, columns;  // in px
  int64_t in, out;                  // channels

  int64_t across() const { return (columns + kOut - 1) / kOut; }
  int64_t down() const { return (rows + kOut - 1) / kOut; }
  int64_t tiles() const { return pictures * down() * across(); }
};

// The first output of a tile; the rows are those of all pictures.
struct Corner {
  int64_t first_row, row, column;

  Corner(const Grid& grid, int64_t tile)
      : first_row(tile / (grid.down() * grid.across()) * grid.rows),
        row(tile / grid.across() % grid.down() * kOut),
        column(tile % grid.across() * kOut) {}
};

// How many times 16 outputs are computed at once: the more, the less often an input is read.
int64_t VectorsOf(int64_t out) {
  const int64_t vectors = (out + kLanes - 1) / kLanes;
  for (const int64_t count : {4, 3, 2}) {
    if (vectors % count == 0) return count;
  }
  return 1;
}

// What a thread works in, in words: a block's tiles at every point, [36,24,depth], and the sums over them,
// [36,24,panel]. One line is left free between two points: at distances of a multiple of 4 KiB they would
// put each other out of the L1 cache.
struct Layout {
  int64_t depth, panel;

  int64_t inputs() const { return kBlock * depth + kLanes; }  // of a point
  int64_t sums() const { return kBlock * panel + kLanes; }
  int64_t words() const { return kPoints * (inputs() + sums()); }
};

template <int kVectors, typename P>
Layout LayoutOf(int64_t in) {
  return {(in + kLanes - 1) / kLanes * kLanes / kPerWord<P>, kVectors * kLanes};
}

// B^T d B of one tile; point p goes to to + p * stride.
template <typename T, typename P>
DW_AVX512 void Gather(const Grid& grid, const T* x, const Corner& at, P* to, int64_t stride) {
  for (int64_t c = 0; c < grid.in; c += kLanes) {
    const uint32_t lanes = LaneMask(grid.in - c);
    __m512 half[kIn][kIn];
#pragma GCC unroll 6
    for (int64_t j = 0; j < kIn; ++j) {
      const int64_t column = at.column + j - 1;
      const uint32_t mask = column >= 0 && column < grid.columns ? lanes : 0;
      __m512 d[kIn], y[kIn];
#pragma GCC unroll 6
      for (int64_t i = 0; i < kIn; ++i) {
        const int64_t row = at.row + i - 1;
        // seek to x[picture,row,column,c]
        const T* from = x + ((at.first_row + row) * grid.columns + column) * grid.in + c;
        if (j > 1) _mm_prefetch(from + kOut * grid.in, _MM_HINT_T0);  // the next tile's
        d[i] = LoadFloats(from, row >= 0 && row < grid.rows ? mask : 0);
      }
      TransformInput(d, y);
#pragma GCC unroll 6
      for (int64_t i = 0; i < kIn; ++i) half[i][j] = y[i];
    }
#pragma GCC unroll 6
    for (int64_t i = 0; i < kIn; ++i) {
      __m512 y[kIn];
      TransformInput(half[i], y);
#pragma GCC unroll 6
      for (int64_t j = 0; j < kIn; ++j) StoreFloats(to + (i * kIn + j) * stride + c, y[j]);
    }
  }
}

// What becomes of 16 sums.
template <typename T>
DW_AVX512 inline void Finish(ConvEnd end, T* to, uint32_t lanes, __m512 value) {
  if (end == ConvEnd::kRelu) {
    value = _mm512_max_ps(_mm512_setzero_ps(), value);  // in this order NaN stays
  }
  if (end == ConvEnd::kAdd) value += LoadFloats(to, lanes);
  StoreFloats(to, value, lanes);
}

// A^T m A of one tile and the channels [c, c + 16).
template <typename T>
DW_AVX512 void Scatter(ConvEnd end, const Grid& grid, const float* from, int64_t stride,
                       __m512 bias, const Corner& at, int64_t c, T* y) {
  const uint32_t lanes = LaneMask(grid.out - c);
  __m512 half[kOut][kIn];
#pragma GCC unroll 6
  for (int64_t j = 0; j < kIn; ++j) {
    __m512 m[kIn], column[kOut];
#pragma GCC unroll 6
    for (int64_t i = 0; i < kIn; ++i) m[i] = LoadFloats(from + (i * kIn + j) * stride);
    TransformOutput(m, column);
#pragma GCC unroll 4
    for (int64_t i = 0; i < kOut; ++i) half[i][j] = column[i];
  }
#pragma GCC unroll 4
  for (int64_t i = 0; i < kOut; ++i) {
    if (at.row + i >= grid.rows) break;
    __m512 row[kOut];
    TransformOutput(half[i], row);
    T* to = y + ((at.first_row + at.row + i) * grid.columns + at.column) * grid.out + c;
#pragma GCC unroll 4
    for (int64_t j = 0; j < kOut; ++j) {
      if (at.column + j >= grid.columns) break;
      Finish(end, to + j * grid.out, lanes, row[j] + bias);
    }
  }
}

// sums [24 / kVectors, panel] = inputs [24 / kVectors, steps] weights [steps, panel], in 24 accumulators
template <int kVectors, typename P>
DW_AVX512 inline void Multiply(const uint32_t* inputs, const Layout& layout,
                               const uint32_t* weights, int64_t steps, float* sums) {
  constexpr int kRows = kBlock / kVectors;
  __m512 sum[kRows][kVectors];
#pragma GCC unroll 24
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_setzero_ps();
  }
  for (int64_t k = 0; k < steps; ++k) {
    __m512i weight[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      weight[v] = _mm512_loadu_si512(weights + (k * kVectors + v) * kLanes);
    }
#pragma GCC unroll 24
    for (int r = 0; r < kRows; ++r) {
      const __m512i input = _mm512_set1_epi32(static_cast<int>(inputs[r * layout.depth + k]));
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[r][v] = MultiplyAdd<P>(sum[r][v], input, weight[v]);
    }
  }
#pragma GCC unroll 24
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      _mm512_storeu_ps(sums + (r * kVectors + v) * kLanes, sum[r][v]);
    }
  }
}

// Tiles [first, first + count) in `scratch`, layout.words() long.
template <int kVectors, typename P, typename T>
DW_AVX512 void ConvolveBlock(const PackedConv3x3& conv, const Grid& grid, const T* x, ConvEnd end,
                             T* y, int64_t first, int64_t count, uint32_t* scratch) {
  const Layout layout = LayoutOf<kVectors, P>(grid.in);
  const int64_t steps = StepsOf<P>(grid.in);
  uint32_t* inputs = scratch;
  float* sums = reinterpret_cast<float*>(scratch + kPoints * layout.inputs());
  for (int64_t t = 0; t < count; ++t) {
    Gather(grid, x, Corner(grid, first + t), reinterpret_cast<P*>(inputs + t * layout.depth),
           layout.inputs() * kPerWord<P>);
  }
  const auto* weights = static_cast<const uint32_t*>(conv.points.const_data_ptr());
  const float* bias = conv.bias.const_data_ptr<float>();
  for (int64_t c = 0; c < grid.out; c += layout.panel) {
    for (int64_t p = 0; p < kPoints; ++p, weights += steps * layout.panel) {
      // Rows after the last tile are of an earlier block: computed, never used.
      for (int64_t t = 0; t < count; t += kBlock / kVectors) {
        Multiply<kVectors, P>(inputs + p * layout.inputs() + t * layout.depth, layout, weights,
                              steps, sums + p * layout.sums() + t * layout.panel);
      }
    }
    for (int64_t t = 0; t < count; ++t) {
      for (int64_t lane = 0; lane < layout.panel && c + lane < grid.out; lane += kLanes) {
        Scatter(end, grid, sums + t * layout.panel + lane, layout.sums(),
                LoadFloats(bias + c + lane), Corner(grid, first + t), c + lane, y);
      }
    }
  }
}

template <int kVectors, typename P, typename T>
void Convolve(const PackedConv3x3& conv, const Grid& grid, const T* x, ConvEnd end, T* y) {
  const int64_t words = LayoutOf<kVectors, P>(grid.in).words();
  const at::Tensor scratch = at::empty({at::get_num_threads(), words}, at::kInt);
  auto* scratch_data = static_cast<uint32_t*>(scratch.mutable_data_ptr());
  const int64_t blocks = (grid.tiles() + kBlock - 1) / kBlock;
  at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t stop) {
    for (int64_t block = begin; block < stop; ++block) {
      const int64_t first = block * kBlock;
      ConvolveBlock<kVectors, P>(conv, grid, x, end, y, first,
                                 std::min(kBlock, grid.tiles() - first),
                                 scratch_data + at::get_thread_num() * words);
    }
  });
}

template <typename P, typename T>
void ConvolveIn(const PackedConv3x3& conv, const at::Tensor& x, ConvEnd end, at::Tensor& y) {
  const Grid grid{x.size(0), x.size(2), x.size(3), conv.in, conv.out};
  const T* from = x.const_data_ptr<T>();
  T* to = y.mutable_data_ptr<T>();
  switch (VectorsOf(grid.out)) {
    case 4:
      return Convolve<4, P>(conv, grid, from, end, to);
    case 3:
      return Convolve<3, P>(conv, grid, from, end, to);
    case 2:
      return Convolve<2, P>(conv, grid, from, end, to);
    default:
      return Convolve<1, P>(conv, grid, from, end, to);
  }
}

}  // namespace

PackedConv3x3 PackConv3x3(const at::Tensor& weight, const at::Tensor& bias) {
  const int64_t out = weight.size(0), in = weight.size(1);
  const at::ScalarType dtype = ProductsOf(weight);
  const int64_t per_word = dtype == at::kFloat ? 1 : 2;
  const int64_t panel = VectorsOf(out) * kLanes;
  const int64_t panels = (out + panel - 1) / panel, steps = (in + per_word - 1) / per_word;
  at::Tensor points = at::zeros({panels * panel, steps * per_word, kPoints}, dtype);
  points.narrow(0, 0, out).narrow(1, 0, in).copy_(TransformWeights(weight));
  at::Tensor padded_bias = at::zeros({panels * panel}, at::kFloat);
  padded_bias.narrow(0, 0, out).copy_(bias);
  return {
      points.view({panels, panel, steps, per_word, kPoints}).permute({0, 4, 2, 1, 3}).contiguous(),
      padded_bias, in, out};
}

void Conv3x3(const PackedConv3x3& conv, const at::Tensor& x, ConvEnd end, at::Tensor& y) {
  const auto layout = at::MemoryFormat::ChannelsLast;
  TORCH_CHECK(x.is_contiguous(layout) && y.is_contiguous(layout), "Conv3x3 wants channels-last");
  TORCH_CHECK(x.size(1) == conv.in && y.size(1) == conv.out && x.size(0) == y.size(0) &&
                  x.size(2) == y.size(2) && x.size(3) == y.size(3),
              "Conv3x3 of ", conv.in, " to ", conv.out, " channels: ", x.sizes(), ", ", y.sizes());
  TORCH_CHECK(x.scalar_type() == y.scalar_type(), "Conv3x3 of two dtypes");
  TORCH_CHECK(x.scalar_type() == at::kBFloat16 || conv.points.scalar_type() == x.scalar_type(),
              "Conv3x3 of ", x.scalar_type(), " with weights packed for bf16");
  if (x.scalar_type() == at::kFloat) return ConvolveIn<float, float>(conv, x, end, y);
  if (conv.points.scalar_type() == at::kFloat) {
    return ConvolveIn<float, at::BFloat16>(conv, x, end, y);
  }
  ConvolveIn<at::BFloat16, at::BFloat16>(conv, x, end, y);
}

}  // namespace deweather
