// What the CPU's kernels are made of: 16 floats at a time, and the product of a few rows with a few columns.
// Compiled for AVX-512 function by function: nothing of it may run where HasCpuKernels() is false.
//
// Words    A matrix is read in 32-bit words, each 1 f32 or 2 neighbouring bf16 of a row: one step of a
//          product. Rows lie interleaved, [steps][16], at most kTileRows of the 16 in use; columns in
//          panels, [steps][kTileColumns].
// Company  A sum is taken along the steps by one accumulator, in f32: it has the same bits whatever other
//          rows and columns are computed with it.

#ifndef DEWEATHER_MODEL_KERNELS_AVX512_H_
#define DEWEATHER_MODEL_KERNELS_AVX512_H_

#include <c10/util/BFloat16.h>
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <type_traits>
#include <utility>

#define DW_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")))

namespace deweather::avx512 {

constexpr int kLanes = 16;
constexpr int kTileRows =
    12;  // x 2 accumulators, 2 columns of words and a row's: 27 of 32 registers
constexpr int kTileColumns = 2 * kLanes;

template <typename T>
constexpr int kPerWord = sizeof(uint32_t) / sizeof(T);

template <typename T>
constexpr int64_t StepsOf(int64_t depth) {
  return (depth + kPerWord<T> - 1) / kPerWord<T>;
}

// The first `count` lanes; all 16 of more.
inline uint32_t LaneMask(int64_t count) {
  return count >= kLanes ? 0xFFFF : (uint32_t{1} << std::max<int64_t>(count, 0)) - 1;
}

DW_AVX512 inline __m512 LoadFloats(const float* from, uint32_t mask = 0xFFFF) {
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), from);
}

DW_AVX512 inline __m512 LoadFloats(const c10::BFloat16* from, uint32_t mask = 0xFFFF) {
  const __m256i bits = _mm256_maskz_loadu_epi16(static_cast<__mmask16>(mask), from);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

DW_AVX512 inline void StoreFloats(float* to, __m512 values, uint32_t mask = 0xFFFF) {
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>(mask), values);
}

DW_AVX512 inline __m256i RoundToBf16(__m512 values) {
  return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(values));
}

DW_AVX512 inline void StoreFloats(c10::BFloat16* to, __m512 values, uint32_t mask = 0xFFFF) {
  _mm256_mask_storeu_epi16(to, static_cast<__mmask16>(mask), RoundToBf16(values));
}

// 2^x to 1e-7 of it; 0 below the least f32.
DW_AVX512 inline __m512 Exp2(__m512 x) {
  const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 rest = _mm512_sub_ps(x, whole);           // in [-0.5, 0.5]
  __m512 power = _mm512_set1_ps(1.535336188319500e-4f);  // Cephes, exp2f
  for (const float next : {1.339887440266574e-3f, 9.618437357674640e-3f, 5.550332471162809e-2f,
                           2.402264791363012e-1f, 6.931472028550421e-1f, 1.0f}) {
    power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(next));
  }
  return _mm512_scalef_ps(power, whole);
}

constexpr float kLog2OfE = 1.4426950408889634f;

// x/2 (1 + erf(x/sqrt 2)), erf to 1.5e-7 [Abramowitz and Stegun 7.1.26]
DW_AVX512 inline __m512 Gelu(__m512 x) {
  const __m512 z = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(0.70710678f));
  const __m512 one = _mm512_set1_ps(1.0f);
  const __m512 t = _mm512_div_ps(one, _mm512_fmadd_ps(_mm512_set1_ps(0.3275911f), z, one));
  __m512 tail = _mm512_set1_ps(1.061405429f);
  for (const float next : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f}) {
    tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(next));
  }
  const __m512 power = Exp2(_mm512_mul_ps(_mm512_mul_ps(z, z), _mm512_set1_ps(-kLog2OfE)));
  const __m512 half = _mm512_mul_ps(x, _mm512_set1_ps(0.5f));
  const __m512 small = _mm512_mul_ps(_mm512_mul_ps(tail, t), _mm512_mul_ps(power, half));
  const __mmask16 positive = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ);
  return _mm512_mask_sub_ps(small, positive, x, small);
}

template <typename T>
DW_AVX512 inline __m512 MultiplyAdd(__m512 sum, __m512i a, __m512i b) {
  if constexpr (std::is_same_v<T, float>) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
  } else {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
}

// sums [kRows][kTileColumns] of interleaved rows and one panel.
template <typename T, int kRows>
DW_AVX512 void MultiplyTileOf(const uint32_t* rows, const uint32_t* panel, int64_t steps,
                              float* sums) {
  __m512 sum[kRows][2];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) sum[r][0] = sum[r][1] = _mm512_setzero_ps();
  for (int64_t step = 0; step < steps; ++step) {
    const __m512i first = _mm512_loadu_si512(panel + step * kTileColumns);
    const __m512i second = _mm512_loadu_si512(panel + step * kTileColumns + kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const __m512i word = _mm512_set1_epi32(static_cast<int>(rows[step * kLanes + r]));
      sum[r][0] = MultiplyAdd<T>(sum[r][0], word, first);
      sum[r][1] = MultiplyAdd<T>(sum[r][1], word, second);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    _mm512_storeu_ps(sums + r * kTileColumns, sum[r][0]);
    _mm512_storeu_ps(sums + r * kTileColumns + kLanes, sum[r][1]);
  }
}

// The same of `count` rows, 1 to kTileRows.
template <typename T>
void MultiplyTile(int count, const uint32_t* rows, const uint32_t* panel, int64_t steps,
                  float* sums) {
  using Function = void (*)(const uint32_t*, const uint32_t*, int64_t, float*);
  static constexpr auto kTiles = []<int... kRow>(std::integer_sequence<int, kRow...>) {
    return std::array<Function, kTileRows>{MultiplyTileOf<T, kRow + 1>...};
  }
  (std::make_integer_sequence<int, kTileRows>());
  kTiles[static_cast<size_t>(count - 1)](rows, panel, steps, sums);
}

// 16 rows of 16 words become 16 columns.
DW_AVX512 inline void Transpose(__m512i (&r)[kLanes]) {
  __m512i t[kLanes];
#pragma GCC unroll 8
  for (int i = 0; i < kLanes; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kLanes; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // Quarter q of r[4 i + j] is column 4 q + j of rows 4 i to 4 i + 3.
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i even0 = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88);
    const __m512i even1 = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
    const __m512i odd0 = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xDD);
    const __m512i odd1 = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xDD);
    t[j] = _mm512_shuffle_i32x4(even0, even1, 0x88);
    t[8 + j] = _mm512_shuffle_i32x4(even0, even1, 0xDD);
    t[4 + j] = _mm512_shuffle_i32x4(odd0, odd1, 0x88);
    t[12 + j] = _mm512_shuffle_i32x4(odd0, odd1, 0xDD);
  }
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) r[i] = t[i];
}

// The first 16 words of a row of `depth` values, zeros after them.
template <typename T>
DW_AVX512 inline __m512i LoadWords(const T* row, int64_t depth) {
  if constexpr (std::is_same_v<T, float>) {
    return _mm512_maskz_loadu_epi32(static_cast<__mmask16>(LaneMask(depth)), row);
  } else {
    const uint32_t mask = LaneMask(depth) | LaneMask(depth - kLanes) << kLanes;
    return _mm512_maskz_loadu_epi16(static_cast<__mmask32>(mask), row);
  }
}

// Interleaves `count` rows, at most 16, of `depth` values each, `stride` values apart: word r of step k goes
// to out[k * out_stride + r]. Words of rows that are not there are 0.
template <typename T>
DW_AVX512 void Interleave(int count, const T* rows, int64_t stride, int64_t depth, uint32_t* out,
                          int64_t out_stride) {
  constexpr int64_t kValues = kLanes * kPerWord<T>;
  for (int64_t first = 0; first < depth; first += kValues) {
    __m512i block[kLanes];
#pragma GCC unroll 16
    for (int r = 0; r < kLanes; ++r) {
      block[r] =
          r < count ? LoadWords(rows + r * stride + first, depth - first) : _mm512_setzero_si512();
    }
    Transpose(block);
    const int64_t end = StepsOf<T>(depth - first);
#pragma GCC unroll 16
    for (int k = 0; k < kLanes; ++k) {
      if (k < end) _mm512_storeu_si512(out + k * out_stride, block[k]);
    }
    out += kLanes * out_stride;
  }
}

}  // namespace deweather::avx512

#endif  // DEWEATHER_MODEL_KERNELS_AVX512_H_
