#include "model/kernels/packed_attention.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "model/kernels/avx512.h"

namespace deweather {
namespace {

using avx512::kLanes;
using avx512::kPerWord;
using avx512::kTileColumns;
using avx512::kTileRows;
using avx512::LaneMask;
using avx512::StepsOf;

// Everything is computed transposed, a column a query, so that a softmax is over rows: no sum runs across a
// register.
constexpr int64_t kQueries = kTileColumns;
// Scores of so many keys and 32 queries stay in the first-level cache.
constexpr int64_t kKeys = 16 * kTileRows;

constexpr int64_t Blocks(int64_t count, int64_t size) { return (count + size - 1) / size; }

struct Shape {
  int64_t pictures, tokens, heads, width;  // n and d

  int64_t row() const { return 3 * heads * width; }
  // Words of one head's keys, [blocks of 12 keys][steps of d][16], and values, [blocks of 12 of d][steps of
  // n][16].
  template <typename T>
  int64_t key_words() const {
    return Blocks(tokens, kTileRows) * StepsOf<T>(width) * kLanes;
  }
  template <typename T>
  int64_t value_words() const {
    return Blocks(width, kTileRows) * StepsOf<T>(tokens) * kLanes;
  }
};

template <typename T>
DW_AVX512 void PackKeys(const Shape& shape, const T* keys, uint32_t* words) {
  for (int64_t first = 0; first < shape.tokens; first += kTileRows) {
    const auto count = static_cast<int>(std::min<int64_t>(kTileRows, shape.tokens - first));
    avx512::Interleave(count, keys + first * shape.row(), shape.row(), shape.width, words, kLanes);
    words += StepsOf<T>(shape.width) * kLanes;
  }
}

// Word r of step k in block b holds channel 12 b + r of keys kPerWord k and, of bf16, the next.
template <typename T>
void PackValues(const Shape& shape, const T* values, uint32_t* words) {
  const int64_t steps = StepsOf<T>(shape.tokens);
  auto* to = reinterpret_cast<T*>(words);
  for (int64_t key = 0; key < steps * kPerWord<T>; ++key) {
    const T* from = values + key * shape.row();
    for (int64_t d = 0; d < shape.width; ++d) {
      const int64_t word = (d / kTileRows * steps + key / kPerWord<T>)*kLanes + d % kTileRows;
      to[word * kPerWord<T> + key % kPerWord<T>] = key < shape.tokens ? from[d] : T(0);
    }
  }
}

// 32 queries on their way through the keys.
struct Running {
  __m512 largest[2];  // score so far
  __m512 total[2];    // of exp(score - largest)
};

// One more block of scores [count][32]: weights exp(score - largest) as a panel, and what the results so
// far are multiplied by.
template <typename T>
DW_AVX512 void Softmax(int64_t count, float scale, const float* scores, Running& running,
                       uint32_t* panel, __m512 (&shrink)[2]) {
  const __m512 scales = _mm512_set1_ps(scale);
  for (int half = 0; half < 2; ++half) {
    const float* column = scores + half * kLanes;
    __m512 largest = running.largest[half];
    for (int64_t key = 0; key < count; ++key) {
      largest = _mm512_max_ps(largest, _mm512_load_ps(column + key * kTileColumns));
    }
    const __m512 grown = _mm512_sub_ps(running.largest[half], largest);
    shrink[half] = avx512::Exp2(_mm512_mul_ps(grown, scales));
    running.largest[half] = largest;
    const auto weight = [&](int64_t key) DW_AVX512 {
      const __m512 score = _mm512_load_ps(column + key * kTileColumns);
      // Not score * scale - largest * scale, whose rounding grows with the scores.
      return avx512::Exp2(_mm512_mul_ps(_mm512_sub_ps(score, largest), scales));
    };
    __m512 total = _mm512_mul_ps(running.total[half], shrink[half]);
    for (int64_t key = 0; key < count; key += kPerWord<T>) {
      const __m512 first = weight(key);
      total = _mm512_add_ps(total, first);
      __m512i words = _mm512_castps_si512(first);
      if constexpr (kPerWord<T> == 2) {
        const __m512 second = key + 1 < count ? weight(key + 1) : _mm512_setzero_ps();
        total = _mm512_add_ps(total, second);
        const __m512i low = _mm512_cvtepu16_epi32(avx512::RoundToBf16(first));
        const __m512i high = _mm512_cvtepu16_epi32(avx512::RoundToBf16(second));
        words = _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
      }
      _mm512_storeu_si512(panel + key / kPerWord<T> * kTileColumns + half * kLanes, words);
    }
    running.total[half] = total;
  }
}

struct Scratch {
  std::vector<uint32_t> queries;  // a panel [steps of d][32]
  std::vector<float> results;     // [d][32]
};

// results = results * shrink + values' rows times the panel of weights.
template <typename T>
DW_AVX512 void AddWeighted(const Shape& shape, const uint32_t* values, const uint32_t* panel,
                           int64_t steps, const __m512 (&shrink)[2], float* results) {
  alignas(64) float sums[kTileRows * kTileColumns];
  for (int64_t d = 0; d < shape.width; d += kTileRows) {
    const auto count = static_cast<int>(std::min<int64_t>(kTileRows, shape.width - d));
    avx512::MultiplyTile<T>(count, values, panel, steps, sums);
    for (int i = 0; i < count * 2; ++i) {
      float* to = results + d * kTileColumns + i * kLanes;
      _mm512_storeu_ps(to, _mm512_fmadd_ps(_mm512_loadu_ps(to), shrink[i % 2],
                                           _mm512_load_ps(sums + i * kLanes)));
    }
    values += StepsOf<T>(shape.tokens) * kLanes;
  }
}

// results [d][32] / total to rows of the output.
template <typename T>
DW_AVX512 void StoreResults(const Shape& shape, int64_t count, const float* results,
                            const Running& running, T* out) {
  for (int half = 0; half < 2; ++half) {
    const __m512 share = _mm512_div_ps(_mm512_set1_ps(1.0f), running.total[half]);
    for (int64_t d = 0; d < shape.width; d += kLanes) {
      __m512i block[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) {
        const float* row = results + (d + i) * kTileColumns + half * kLanes;
        block[i] = d + i < shape.width
                       ? _mm512_castps_si512(_mm512_mul_ps(_mm512_loadu_ps(row), share))
                       : _mm512_setzero_si512();
      }
      avx512::Transpose(block);
      const int64_t rows = std::min<int64_t>(kLanes, count - half * kLanes);
      for (int64_t q = 0; q < rows; ++q) {
        avx512::StoreFloats(out + (half * kLanes + q) * shape.heads * shape.width + d,
                            _mm512_castsi512_ps(block[q]), LaneMask(shape.width - d));
      }
    }
  }
}

// `count` queries, at most 32, against all keys of their picture and head.
template <typename T>
DW_AVX512 void Attend(const Shape& shape, int64_t count, const T* queries, const uint32_t* keys,
                      const uint32_t* values, T* out, Scratch& scratch) {
  const int64_t steps = StepsOf<T>(shape.width);
  scratch.queries.resize(static_cast<size_t>(steps * kTileColumns));
  scratch.results.assign(static_cast<size_t>(shape.width * kTileColumns), 0.0f);
  for (int half = 0; half < 2; ++half) {
    const auto present = static_cast<int>(std::clamp<int64_t>(count - half * kLanes, 0, kLanes));
    avx512::Interleave(present, queries + half * kLanes * shape.row(), shape.row(), shape.width,
                       scratch.queries.data() + half * kLanes, kTileColumns);
  }
  const float scale = avx512::kLog2OfE / std::sqrt(static_cast<float>(shape.width));
  const __m512 none = _mm512_set1_ps(std::numeric_limits<float>::lowest());
  Running running{{none, none}, {_mm512_setzero_ps(), _mm512_setzero_ps()}};
  alignas(64) float scores[kKeys * kTileColumns];
  alignas(64) uint32_t panel[kKeys * kTileColumns];
  for (int64_t first = 0; first < shape.tokens; first += kKeys) {
    const int64_t block = std::min(kKeys, shape.tokens - first);
    for (int64_t key = 0; key < block; key += kTileRows) {
      avx512::MultiplyTile<T>(static_cast<int>(std::min<int64_t>(kTileRows, block - key)),
                              keys + (first + key) / kTileRows * steps * kLanes,
                              scratch.queries.data(), steps, scores + key * kTileColumns);
    }
    __m512 shrink[2];
    Softmax<T>(block, scale, scores, running, panel, shrink);
    AddWeighted<T>(shape, values + first / kPerWord<T> * kLanes, panel, StepsOf<T>(block), shrink,
                   scratch.results.data());
  }
  StoreResults(shape, count, scratch.results.data(), running, out);
}

template <typename T>
void Run(const Shape& shape, const T* qkv, T* out) {
  const int64_t inner = shape.heads * shape.width;
  const int64_t heads = shape.pictures * shape.heads;
  const int64_t key_words = shape.key_words<T>(), value_words = shape.value_words<T>();
  const at::Tensor packed = at::empty({heads * (key_words + value_words)}, at::kInt);
  auto* const words = reinterpret_cast<uint32_t*>(packed.mutable_data_ptr<int32_t>());
  const auto keys = [&](int64_t head) { return words + head * (key_words + value_words); };
  // Where picture and head begin in `rows` of so many values.
  const auto begin = [&](auto* rows, int64_t head, int64_t row) {
    return rows + head / shape.heads * shape.tokens * row + head % shape.heads * shape.width;
  };
  at::parallel_for(0, heads, 1, [&](int64_t first, int64_t last) {
    for (int64_t head = first; head < last; ++head) {
      const T* from = begin(qkv, head, shape.row());
      PackKeys(shape, from + inner, keys(head));
      PackValues(shape, from + 2 * inner, keys(head) + key_words);
    }
  });
  const int64_t blocks = Blocks(shape.tokens, kQueries);
  at::parallel_for(0, heads * blocks, 1, [&](int64_t first, int64_t last) {
    static thread_local Scratch scratch;
    for (int64_t i = first; i < last; ++i) {
      const int64_t head = i / blocks, query = i % blocks * kQueries;
      Attend(shape, std::min(kQueries, shape.tokens - query),
             begin(qkv, head, shape.row()) + query * shape.row(), keys(head),
             keys(head) + key_words, begin(out, head, inner) + query * inner, scratch);
    }
  });
}

}  // namespace

at::Tensor PackedAttention(const at::Tensor& qkv, int64_t pictures, int64_t heads) {
  TORCH_CHECK(qkv.dim() == 2 && pictures > 0 && heads > 0 && qkv.size(0) % pictures == 0 &&
                  qkv.size(1) % (3 * heads) == 0,
              "attention of ", qkv.sizes(), " in ", pictures, " pictures and ", heads, " heads");
  const Shape shape{pictures, qkv.size(0) / pictures, heads, qkv.size(1) / (3 * heads)};
  at::Tensor out = at::empty({qkv.size(0), heads * shape.width}, qkv.scalar_type());
  const at::Tensor rows = qkv.contiguous();
  if (qkv.scalar_type() == at::kFloat) {
    Run(shape, rows.const_data_ptr<float>(), out.mutable_data_ptr<float>());
  } else {
    Run(shape, rows.const_data_ptr<c10::BFloat16>(), out.mutable_data_ptr<c10::BFloat16>());
  }
  return out;
}

}  // namespace deweather
