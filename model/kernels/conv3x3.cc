#include "model/kernels/conv3x3.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <immintrin.h>

#include <algorithm>

#define DW_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")))

namespace deweather {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kOut = 4;  // outputs of a tile, each way
constexpr int64_t kIn = 6;   // what they are computed from
constexpr int64_t kPoints = kIn * kIn;
constexpr int64_t kBlock =
    24;  // tiles that share what is read of the weights; all fit the L2 cache

// ---- 16 channels of a pixel

__mmask16 LaneMask(int64_t count) {
  return static_cast<__mmask16>(count >= kLanes ? 0xFFFF : (1u << count) - 1);
}

DW_AVX512 inline __m512 Load(const float* from, __mmask16 mask) {
  return _mm512_maskz_loadu_ps(mask, from);
}

DW_AVX512 inline __m512 Load(const at::BFloat16* from, __mmask16 mask) {
  const __m256i bits = _mm256_maskz_loadu_epi16(mask, from);
  return _mm512_castsi512_ps(
      _mm512_maskz_slli_epi32(0xFFFF, _mm512_maskz_cvtepu16_epi32(0xFFFF, bits), 16));
}

DW_AVX512 inline void Store(float* to, __mmask16 mask, __m512 values) {
  _mm512_mask_storeu_ps(to, mask, values);
}

DW_AVX512 inline void Store(at::BFloat16* to, __mmask16 mask, __m512 values) {
  _mm256_mask_storeu_epi16(to, mask, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(values)));
}

// ---- Winograd's transforms at the points 0, 1, -1, 2, -2 and infinity, one way

// B^T d
DW_AVX512 inline void TransformInput(const __m512 (&d)[kIn], __m512 (&y)[kIn]) {
  const __m512 even = d[4] - 4 * d[2], odd = d[3] - 4 * d[1];
  const __m512 even2 = d[4] - d[2], odd2 = 2 * (d[3] - d[1]);
  y[0] = 4 * d[0] + (d[4] - 5 * d[2]);
  y[1] = even + odd;
  y[2] = even - odd;
  y[3] = even2 + odd2;
  y[4] = even2 - odd2;
  y[5] = 4 * d[1] + (d[5] - 5 * d[3]);
}

// A^T m
DW_AVX512 inline void TransformOutput(const __m512 (&m)[kIn], __m512 (&y)[kOut]) {
  const __m512 even = m[1] + m[2], odd = m[1] - m[2];
  const __m512 even2 = m[3] + m[4], odd2 = m[3] - m[4];
  y[0] = m[0] + even + even2;
  y[1] = odd + 2 * odd2;
  y[2] = even + 4 * even2;
  y[3] = odd + 8 * odd2 + m[5];
}

// G g G^T: [out,in,3,3] -> [out,in,36] f64
at::Tensor TransformWeights(const at::Tensor& weight) {
  constexpr double kG[kIn][3] = {{1. / 4, 0, 0},
                                 {-1. / 6, -1. / 6, -1. / 6},
                                 {-1. / 6, 1. / 6, -1. / 6},
                                 {1. / 24, 1. / 12, 1. / 6},
                                 {1. / 24, -1. / 12, 1. / 6},
                                 {0, 0, 1}};
  const at::Tensor g = at::empty({kIn, 3}, at::kDouble);
  std::copy_n(&kG[0][0], kIn * 3, g.mutable_data_ptr<double>());
  const at::Tensor exact = weight.to(at::kDouble).contiguous();
  return at::matmul(at::matmul(g, exact), g.t()).reshape({weight.size(0), weight.size(1), kPoints});
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

// A block's tiles at every point, [36,24,in] with `in` filled up to whole lanes, and the sums over them,
// [36,24,panel]. One line is left free between two points: at distances of a multiple of 4 KiB they would
// put each other out of the L1 cache.
struct Layout {
  int64_t depth, panel;

  Layout(int64_t in, int64_t vectors)
      : depth((in + kLanes - 1) / kLanes * kLanes), panel(vectors * kLanes) {}
  int64_t inputs() const { return kBlock * depth + kLanes; }
  int64_t sums() const { return kBlock * panel + kLanes; }
  int64_t floats() const { return kPoints * (inputs() + sums()); }
};

// B^T d B of one tile; point p goes to to + p * stride.
template <typename T>
DW_AVX512 void Gather(const Grid& grid, const T* x, const Corner& at, float* to, int64_t stride) {
  for (int64_t c = 0; c < grid.in; c += kLanes) {
    const __mmask16 lanes = LaneMask(grid.in - c);
    __m512 half[kIn][kIn];
#pragma GCC unroll 6
    for (int64_t j = 0; j < kIn; ++j) {
      const int64_t column = at.column + j - 1;
      const __mmask16 mask = column >= 0 && column < grid.columns ? lanes : 0;
      __m512 d[kIn], y[kIn];
#pragma GCC unroll 6
      for (int64_t i = 0; i < kIn; ++i) {
        const int64_t row = at.row + i - 1;
        // seek to x[picture,row,column,c]
        const T* from = x + ((at.first_row + row) * grid.columns + column) * grid.in + c;
        d[i] = Load(from, row >= 0 && row < grid.rows ? mask : 0);
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
      for (int64_t j = 0; j < kIn; ++j) Store(to + (i * kIn + j) * stride + c, 0xFFFF, y[j]);
    }
  }
}

// What becomes of 16 sums.
template <ConvEnd kEnd, typename T>
DW_AVX512 inline void Finish(T* to, __mmask16 lanes, __m512 value) {
  if constexpr (kEnd == ConvEnd::kRelu) {
    value = _mm512_maskz_max_ps(0xFFFF, _mm512_setzero_ps(), value);  // in this order NaN stays
  }
  if constexpr (kEnd == ConvEnd::kAdd) value += Load(to, lanes);
  Store(to, lanes, value);
}

// A^T m A of one tile and the channels [c, c + 16).
template <ConvEnd kEnd, typename T>
DW_AVX512 void Scatter(const Grid& grid, const float* from, int64_t stride, __m512 bias,
                       const Corner& at, int64_t c, T* y) {
  const __mmask16 lanes = LaneMask(grid.out - c);
  __m512 half[kOut][kIn];
#pragma GCC unroll 6
  for (int64_t j = 0; j < kIn; ++j) {
    __m512 m[kIn], column[kOut];
#pragma GCC unroll 6
    for (int64_t i = 0; i < kIn; ++i) m[i] = Load(from + (i * kIn + j) * stride, 0xFFFF);
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
      Finish<kEnd>(to + j * grid.out, lanes, row[j] + bias);
    }
  }
}

// sums [24 / kVectors, panel] = inputs [24 / kVectors, depth] weights [depth, panel], in 24 accumulators
template <int kVectors>
DW_AVX512 inline void Multiply(const float* inputs, const Layout& layout, const float* weights,
                               int64_t depth, float* sums) {
  constexpr int kRows = kBlock / kVectors;
  __m512 sum[kRows][kVectors];
#pragma GCC unroll 24
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_setzero_ps();
  }
  for (int64_t k = 0; k < depth; ++k) {
    __m512 weight[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      weight[v] = _mm512_loadu_ps(weights + (k * kVectors + v) * kLanes);
    }
#pragma GCC unroll 24
    for (int r = 0; r < kRows; ++r) {
      const __m512 input = _mm512_set1_ps(inputs[r * layout.depth + k]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[r][v] += input * weight[v];
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

// Tiles [first, first + count) in `scratch`, layout.floats() long.
template <int kVectors, ConvEnd kEnd, typename T>
DW_AVX512 void ConvolveBlock(const PackedConv3x3& conv, const Grid& grid, const T* x, T* y,
                             int64_t first, int64_t count, float* scratch) {
  const Layout layout(grid.in, kVectors);
  float* inputs = scratch;
  float* sums = scratch + kPoints * layout.inputs();
  for (int64_t t = 0; t < count; ++t) {
    Gather(grid, x, Corner(grid, first + t), inputs + t * layout.depth, layout.inputs());
  }
  const float* weights = conv.points.const_data_ptr<float>();
  const float* bias = conv.bias.const_data_ptr<float>();
  for (int64_t c = 0; c < grid.out; c += layout.panel) {
    for (int64_t p = 0; p < kPoints; ++p, weights += grid.in * layout.panel) {
      // Rows after the last tile are of an earlier block: computed, never used.
      for (int64_t t = 0; t < count; t += kBlock / kVectors) {
        Multiply<kVectors>(inputs + p * layout.inputs() + t * layout.depth, layout, weights,
                           grid.in, sums + p * layout.sums() + t * layout.panel);
      }
    }
    for (int64_t t = 0; t < count; ++t) {
      for (int64_t lane = 0; lane < layout.panel && c + lane < grid.out; lane += kLanes) {
        Scatter<kEnd>(grid, sums + t * layout.panel + lane, layout.sums(),
                      Load(bias + c + lane, 0xFFFF), Corner(grid, first + t), c + lane, y);
      }
    }
  }
}

template <int kVectors, ConvEnd kEnd, typename T>
void Convolve(const PackedConv3x3& conv, const Grid& grid, const T* x, T* y) {
  const int64_t floats = Layout(grid.in, kVectors).floats();
  const at::Tensor scratch = at::empty({at::get_num_threads(), floats}, at::kFloat);
  float* scratch_data = scratch.mutable_data_ptr<float>();
  const int64_t blocks = (grid.tiles() + kBlock - 1) / kBlock;
  at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kBlock;
      ConvolveBlock<kVectors, kEnd>(conv, grid, x, y, first, std::min(kBlock, grid.tiles() - first),
                                    scratch_data + at::get_thread_num() * floats);
    }
  });
}

template <ConvEnd kEnd, typename T>
void ConvolveInVectors(const PackedConv3x3& conv, const Grid& grid, const T* x, T* y) {
  switch (VectorsOf(grid.out)) {
    case 4:
      return Convolve<4, kEnd>(conv, grid, x, y);
    case 3:
      return Convolve<3, kEnd>(conv, grid, x, y);
    case 2:
      return Convolve<2, kEnd>(conv, grid, x, y);
    default:
      return Convolve<1, kEnd>(conv, grid, x, y);
  }
}

template <typename T>
void ConvolveTo(const PackedConv3x3& conv, const at::Tensor& x, ConvEnd end, at::Tensor& y) {
  const Grid grid{x.size(0), x.size(2), x.size(3), conv.in, conv.out};
  const T* from = x.const_data_ptr<T>();
  T* to = y.mutable_data_ptr<T>();
  switch (end) {
    case ConvEnd::kNone:
      return ConvolveInVectors<ConvEnd::kNone>(conv, grid, from, to);
    case ConvEnd::kRelu:
      return ConvolveInVectors<ConvEnd::kRelu>(conv, grid, from, to);
    case ConvEnd::kAdd:
      return ConvolveInVectors<ConvEnd::kAdd>(conv, grid, from, to);
  }
}

}  // namespace

bool HasConv3x3() {
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512bf16");
  return has;
}

PackedConv3x3 PackConv3x3(const at::Tensor& weight, const at::Tensor& bias) {
  const int64_t out = weight.size(0), in = weight.size(1);
  const int64_t panel = VectorsOf(out) * kLanes;
  const int64_t panels = (out + panel - 1) / panel;
  at::Tensor points = at::zeros({panels * panel, in, kPoints}, at::kFloat);
  points.narrow(0, 0, out).copy_(TransformWeights(weight));
  at::Tensor padded_bias = at::zeros({panels * panel}, at::kFloat);
  padded_bias.narrow(0, 0, out).copy_(bias);
  return {points.view({panels, panel, in, kPoints}).permute({0, 3, 2, 1}).contiguous(), padded_bias,
          in, out};
}

void Conv3x3(const PackedConv3x3& conv, const at::Tensor& x, ConvEnd end, at::Tensor& y) {
  const auto layout = at::MemoryFormat::ChannelsLast;
  TORCH_CHECK(x.is_contiguous(layout) && y.is_contiguous(layout), "Conv3x3 wants channels-last");
  TORCH_CHECK(x.size(1) == conv.in && y.size(1) == conv.out && x.size(0) == y.size(0) &&
                  x.size(2) == y.size(2) && x.size(3) == y.size(3),
              "Conv3x3 of ", conv.in, " to ", conv.out, " channels: ", x.sizes(), ", ", y.sizes());
  TORCH_CHECK(x.scalar_type() == y.scalar_type(), "Conv3x3 of two dtypes");
  if (x.scalar_type() == at::kFloat) return ConvolveTo<float>(conv, x, end, y);
  ConvolveTo<at::BFloat16>(conv, x, end, y);
}

}  // namespace deweather
