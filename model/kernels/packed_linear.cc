#include "model/kernels/packed_linear.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "model/kernels/avx512.h"

namespace deweather {
namespace {

using avx512::kLanes;
using avx512::kTileColumns;
using avx512::kTileRows;
using avx512::LaneMask;
using avx512::LoadFloats;
using avx512::StoreFloats;

// Of interleaved rows, as much as the second-level cache keeps beside the panels that it lets through and the
// rows that they came from and become.
constexpr int64_t kRowWords = 48 * 1024;

// Rows of one expert, as many as a tile takes.
struct RowBlock {
  int64_t expert;
  int64_t first;
  int count;
};

std::vector<RowBlock> BlocksOf(const std::vector<int64_t>& begin, int64_t first_expert = 0) {
  std::vector<RowBlock> blocks;
  for (size_t e = static_cast<size_t>(first_expert); e + 1 < begin.size(); ++e) {
    for (int64_t row = begin[e]; row < begin[e + 1]; row += kTileRows) {
      const auto count = static_cast<int>(std::min<int64_t>(kTileRows, begin[e + 1] - row));
      blocks.push_back({static_cast<int64_t>(e) - first_expert, row, count});
    }
  }
  return blocks;
}

// What one thread works in: kept between calls.
template <typename T>
struct Scratch {
  std::vector<uint32_t> words;  // interleaved rows of several blocks
  std::vector<T> rows;          // one block's rows as they were loaded

  static Scratch& Get(int64_t words, int64_t values) {
    static thread_local Scratch scratch;
    if (scratch.words.size() < static_cast<size_t>(words)) scratch.words.resize(words);
    if (scratch.rows.size() < static_cast<size_t>(values)) scratch.rows.resize(values);
    return scratch;
  }
};

// One expert's blocks [begin, end) by all of its panels.
template <typename T, typename Load, typename Store>
DW_AVX512 void MultiplyBlocks(const PackedLinear& layer, const RowBlock* begin, const RowBlock* end,
                              const Load& load, const Store& store, Scratch<T>& scratch) {
  const int64_t steps = layer.panels.size(2);
  const int64_t panels = layer.panels.size(1);
  const uint32_t* panel =
      reinterpret_cast<const uint32_t*>(layer.panels.const_data_ptr<int32_t>()) +
      begin->expert * panels * steps * kTileColumns;
  const float* bias = layer.bias.const_data_ptr<float>() + begin->expert * panels * kTileColumns;
  uint32_t* words = scratch.words.data();
  for (const RowBlock* block = begin; block < end; ++block) {
    for (int r = 0; r < block->count; ++r)
      load(block->first + r, scratch.rows.data() + r * layer.in);
    avx512::Interleave(block->count, scratch.rows.data(), layer.in, layer.in,
                       words + (block - begin) * steps * kLanes, kLanes);
  }
  for (int64_t p = 0; p < panels; ++p) {
    const __m512 bias0 = _mm512_loadu_ps(bias), bias1 = _mm512_loadu_ps(bias + kLanes);
    for (const RowBlock* block = begin; block < end; ++block) {
      alignas(64) float sums[kTileRows * kTileColumns];
      avx512::MultiplyTile<T>(block->count, words + (block - begin) * steps * kLanes, panel, steps,
                              sums);
      for (int r = 0; r < block->count; ++r) {
        const float* row = sums + r * kTileColumns;
        store(block->first + r, p, _mm512_add_ps(_mm512_load_ps(row), bias0),
              _mm512_add_ps(_mm512_load_ps(row + kLanes), bias1));
      }
    }
    panel += steps * kTileColumns;
    bias += kTileColumns;
  }
}

// load(row, to) writes the `in` values of a row; store(row, panel, first, second) takes the 2 x 16 sums of a
// row and a panel, bias added.
template <typename T, typename Load, typename Store>
void Run(const PackedLinear& layer, const std::vector<RowBlock>& blocks, const Load& load,
         const Store& store) {
  const int64_t steps = layer.panels.size(2);
  const int64_t most = std::max<int64_t>(kRowWords / (steps * kLanes), 1);  // blocks at a time
  const auto count = static_cast<int64_t>(blocks.size());
  at::parallel_for(0, count, 2, [&](int64_t first, int64_t last) {
    Scratch<T>& scratch =
        Scratch<T>::Get(std::min(most, last - first) * steps * kLanes, kTileRows * layer.in);
    const RowBlock* begin = blocks.data() + first;
    while (begin < blocks.data() + last) {
      const RowBlock* const limit = std::min(begin + most, blocks.data() + last);
      const RowBlock* end = begin + 1;
      while (end < limit && end->expert == begin->expert) ++end;
      MultiplyBlocks<T>(layer, begin, end, load, store, scratch);
      begin = end;
    }
  });
}

template <typename Function>
auto Dispatch(at::ScalarType dtype, const Function& function) {
  TORCH_CHECK(dtype == at::kFloat || dtype == at::kBFloat16,
              "the CPU's kernels know f32 and bf16, not ", c10::toString(dtype));
  return dtype == at::kFloat ? function(float{}) : function(c10::BFloat16{});
}

// ---- what a row is read from

template <typename From, typename T>
DW_AVX512 inline void Convert(const From* from, int64_t count, T* to) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const uint32_t mask = LaneMask(count - i);
    StoreFloats(to + i, LoadFloats(from + i, mask), mask);
  }
}

template <typename From>
struct LoadRow {
  const From* rows;
  int64_t width;

  template <typename T>
  DW_AVX512 void operator()(int64_t row, T* to) const {
    Convert(rows + row * width, width, to);
  }
};

// LN(x): mean and variance in f32, in 16 lanes.
struct LoadNormed {
  const float* x;
  const float* weight;
  const float* bias;
  int64_t width;

  template <typename T>
  DW_AVX512 void operator()(int64_t row, T* to) const {
    const float* from = x + row * width;
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < width; i += kLanes) {
      sum = _mm512_add_ps(sum, LoadFloats(from + i, LaneMask(width - i)));
    }
    const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / static_cast<float>(width));
    __m512 squares = _mm512_setzero_ps();
    for (int64_t i = 0; i < width; i += kLanes) {
      const auto mask = static_cast<__mmask16>(LaneMask(width - i));
      const __m512 off = _mm512_maskz_sub_ps(mask, LoadFloats(from + i, mask), mean);
      squares = _mm512_fmadd_ps(off, off, squares);
    }
    const float variance = _mm512_reduce_add_ps(squares) / static_cast<float>(width);
    const __m512 scale = _mm512_set1_ps(1.0f / std::sqrt(variance + 1e-5f));
    for (int64_t i = 0; i < width; i += kLanes) {
      const uint32_t mask = LaneMask(width - i);
      const __m512 unit = _mm512_mul_ps(_mm512_sub_ps(LoadFloats(from + i, mask), mean), scale);
      StoreFloats(to + i,
                  _mm512_fmadd_ps(unit, LoadFloats(weight + i, mask), LoadFloats(bias + i, mask)),
                  mask);
    }
  }
};

template <typename T>
struct LoadGathered {
  const T* rows;
  const int64_t* token;
  int64_t width;

  DW_AVX512 void operator()(int64_t row, T* to) const {
    std::memcpy(to, rows + token[row] * width, static_cast<size_t>(width) * sizeof(T));
  }
};

// The sum of a token's K rows. They lie apart: the next token's are fetched meanwhile.
template <typename T>
struct LoadSum {
  const T* rows;
  const int64_t* slot;
  int64_t tokens, kept, width;

  DW_AVX512 void operator()(int64_t token, T* to) const {
    if (token + 1 < tokens) Fetch(token + 1);
    const int64_t* slots = slot + token * kept;
    for (int64_t i = 0; i < width; i += kLanes) {
      const uint32_t mask = LaneMask(width - i);
      __m512 sum = _mm512_setzero_ps();
      for (int64_t k = 0; k < kept; ++k) {
        sum = _mm512_add_ps(sum, LoadFloats(rows + slots[k] * width + i, mask));
      }
      StoreFloats(to + i, sum, mask);
    }
  }

  DW_AVX512 void Fetch(int64_t token) const {
    constexpr int64_t kLine = 64 / sizeof(T);
    for (int64_t k = 0; k < kept; ++k) {
      const T* row = rows + slot[token * kept + k] * width;
      for (int64_t i = 0; i < width; i += kLine) _mm_prefetch(row + i, _MM_HINT_T0);
    }
  }
};

// Where patches lie in pictures [B,H,W,C]: p lines of p C values each.
struct PatchGrid {
  int64_t rows, columns, patch, channels;

  int64_t line() const { return patch * channels; }
  int64_t stride() const { return columns * patch * channels; }  // from one line to the next
  int64_t begin(int64_t token) const {
    const int64_t row = token / columns;  // of all pictures'
    return row * patch * stride() + token % columns * line();
  }
};

template <typename T>
struct LoadPatch {
  const T* features;
  PatchGrid grid;

  DW_AVX512 void operator()(int64_t token, T* to) const {
    const T* from = features + grid.begin(token);
    for (int64_t p = 0; p < grid.patch; ++p) {
      std::memcpy(to + p * grid.line(), from + p * grid.stride(),
                  static_cast<size_t>(grid.line()) * sizeof(T));
    }
  }
};

// ---- what becomes of 2 x 16 sums

template <typename T, Activation kActivation>
struct StoreRow {
  T* rows;
  int64_t width;

  DW_AVX512 void operator()(int64_t row, int64_t panel, __m512 first, __m512 second) const {
    if constexpr (kActivation == Activation::kGelu) {
      first = avx512::Gelu(first);
      second = avx512::Gelu(second);
    }
    const int64_t column = panel * kTileColumns;
    T* to = rows + row * width + column;
    StoreFloats(to, first, LaneMask(width - column));
    if (column + kLanes < width)
      StoreFloats(to + kLanes, second, LaneMask(width - column - kLanes));
  }
};

struct StoreAdded {
  float* x;
  int64_t width;

  DW_AVX512 void operator()(int64_t row, int64_t panel, __m512 first, __m512 second) const {
    const int64_t column = panel * kTileColumns;
    Add(x + row * width + column, first, width - column);
    if (column + kLanes < width)
      Add(x + row * width + column + kLanes, second, width - column - kLanes);
  }

  DW_AVX512 static void Add(float* to, __m512 sums, int64_t count) {
    const uint32_t mask = LaneMask(count);
    StoreFloats(to, _mm512_add_ps(LoadFloats(to, mask), sums), mask);
  }
};

// Of halves: GELU(first) * second.
template <typename T>
struct StoreStar {
  T* rows;
  int64_t width;

  DW_AVX512 void operator()(int64_t row, int64_t panel, __m512 first, __m512 second) const {
    const int64_t column = panel * kLanes;
    StoreFloats(rows + row * width + column, _mm512_mul_ps(avx512::Gelu(first), second),
                LaneMask(width - column));
  }
};

// Of halves: w (first * s + second).
template <typename T>
struct StoreModulated {
  const T* s;
  const float* weights;
  const int64_t* source;
  const int64_t* token;
  T* rows;
  int64_t width;

  DW_AVX512 void operator()(int64_t row, int64_t panel, __m512 gamma, __m512 beta) const {
    const int64_t column = panel * kLanes;
    const uint32_t mask = LaneMask(width - column);
    const __m512 values = LoadFloats(s + token[row] * width + column, mask);
    const __m512 weight = _mm512_set1_ps(weights[source[row]]);
    StoreFloats(rows + row * width + column,
                _mm512_mul_ps(weight, _mm512_fmadd_ps(gamma, values, beta)), mask);
  }
};

// A panel lies within one pixel: channels are a multiple of 32.
template <typename T>
struct StorePatch {
  T* features;
  PatchGrid grid;

  DW_AVX512 void operator()(int64_t token, int64_t panel, __m512 first, __m512 second) const {
    const int64_t column = panel * kTileColumns;
    T* to =
        features + grid.begin(token) + column / grid.line() * grid.stride() + column % grid.line();
    StoreFloats(to, first);
    StoreFloats(to + kLanes, second);
  }
};

// ---- packing

// Column c of panel p is output Column(p, c), or none.
template <typename T, typename Column>
void FillPanels(const at::Tensor& weight, const at::Tensor& bias, const Column& column,
                PackedLinear& packed) {
  const int64_t experts = weight.size(0), out = weight.size(1), in = weight.size(2);
  const int64_t panels = packed.panels.size(1), steps = packed.panels.size(2);
  const T* from = weight.const_data_ptr<T>();
  const float* from_bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr;
  auto* to = reinterpret_cast<T*>(packed.panels.mutable_data_ptr<int32_t>());
  auto* to_bias = packed.bias.mutable_data_ptr<float>();
  at::parallel_for(0, experts * panels, 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      for (int64_t c = 0; c < kTileColumns; ++c) {
        const int64_t output = column(i % panels, c);
        if (output < 0) continue;
        const int64_t row = i / panels * out + output;
        if (from_bias != nullptr) to_bias[i * kTileColumns + c] = from_bias[row];
        for (int64_t d = 0; d < in; ++d) {
          // seek to word[expert, panel, d / per word, c]
          constexpr int64_t kPer = avx512::kPerWord<T>;
          to[((i * steps + d / kPer) * kTileColumns + c) * kPer + d % kPer] = from[row * in + d];
        }
      }
    }
  });
}

template <typename Column>
PackedLinear PackBy(const at::Tensor& given, const at::Tensor& given_bias, int64_t panels,
                    const Column& column) {
  const at::Tensor weight = (given.dim() == 2 ? given.unsqueeze(0) : given).contiguous();
  const at::Tensor bias =
      given_bias.defined() ? given_bias.to(at::kFloat).contiguous() : given_bias;
  PackedLinear packed;
  packed.in = weight.size(2);
  packed.out = weight.size(1);
  packed.dtype = weight.scalar_type();
  Dispatch(packed.dtype, [&](auto t) {
    using T = decltype(t);
    packed.panels =
        at::zeros({weight.size(0), panels, avx512::StepsOf<T>(packed.in), kTileColumns}, at::kInt);
    packed.bias = at::zeros({weight.size(0), panels, kTileColumns}, at::kFloat);
    FillPanels<T>(weight, bias, column, packed);
  });
  return packed;
}

void CheckRows(const at::Tensor& rows, int64_t width, at::ScalarType dtype) {
  TORCH_CHECK(rows.dim() == 2 && rows.size(1) == width && rows.scalar_type() == dtype, "rows are ",
              rows.sizes(), " ", rows.scalar_type(), "; a packed layer takes [R,", width, "] ",
              dtype);
  TORCH_CHECK(rows.is_contiguous(), "rows of a packed layer must be contiguous");
}

// Blocks of rows that all have the one layer.
std::vector<RowBlock> BlocksOf(int64_t rows) { return BlocksOf(std::vector<int64_t>{0, rows}); }

template <typename T, typename Load>
at::Tensor RunToRows(const PackedLinear& layer, const std::vector<RowBlock>& blocks, int64_t rows,
                     const Load& load, Activation activation) {
  at::Tensor result = at::empty({rows, layer.out}, layer.dtype);
  T* to = result.mutable_data_ptr<T>();
  if (activation == Activation::kGelu) {
    Run<T>(layer, blocks, load, StoreRow<T, Activation::kGelu>{to, layer.out});
  } else {
    Run<T>(layer, blocks, load, StoreRow<T, Activation::kNone>{to, layer.out});
  }
  return result;
}

}  // namespace

bool HasCpuKernels() {
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("fma");
  return has;
}

bool HasCpuKernelsFor(const at::Tensor& weight) {
  const at::ScalarType dtype = weight.scalar_type();
  return HasCpuKernels() && weight.is_cpu() && (dtype == at::kFloat || dtype == at::kBFloat16);
}

PackedLinear Pack(const at::Tensor& weight, const at::Tensor& bias) {
  const int64_t out = weight.size(-2);
  return PackBy(weight, bias, (out + kTileColumns - 1) / kTileColumns, [=](int64_t p, int64_t c) {
    const int64_t output = p * kTileColumns + c;
    return output < out ? output : -1;
  });
}

PackedLinear PackHalves(const at::Tensor& weight, const at::Tensor& bias) {
  const int64_t half = weight.size(-2) / 2;
  return PackBy(weight, bias, (half + kLanes - 1) / kLanes, [=](int64_t p, int64_t c) {
    const int64_t within = p * kLanes + c % kLanes;
    return within < half ? within + c / kLanes * half : -1;
  });
}

at::Tensor MultiplyGroups(const PackedLinear& layer, const at::Tensor& rows,
                          const std::vector<int64_t>& begin, Activation activation) {
  const at::Tensor dense = rows.contiguous();
  CheckRows(dense, layer.in, rows.scalar_type());
  return Dispatch(layer.dtype, [&](auto t) {
    using T = decltype(t);
    return Dispatch(rows.scalar_type(), [&](auto from) {
      using From = decltype(from);
      return RunToRows<T>(layer, BlocksOf(begin), rows.size(0),
                          LoadRow<From>{dense.const_data_ptr<From>(), layer.in}, activation);
    });
  });
}

at::Tensor Multiply(const PackedLinear& layer, const at::Tensor& rows, Activation activation) {
  return MultiplyGroups(layer, rows, {0, rows.size(0)}, activation);
}

at::Tensor MultiplyNormed(const RowNorm& norm, const PackedLinear& layer, const at::Tensor& x,
                          Activation activation) {
  CheckRows(x, layer.in, at::kFloat);
  const LoadNormed load{x.const_data_ptr<float>(), norm.weight.const_data_ptr<float>(),
                        norm.bias.const_data_ptr<float>(), layer.in};
  return Dispatch(layer.dtype, [&](auto t) {
    return RunToRows<decltype(t)>(layer, BlocksOf(x.size(0)), x.size(0), load, activation);
  });
}

void AddProduct(const PackedLinear& layer, const at::Tensor& rows, at::Tensor& x) {
  CheckRows(rows, layer.in, layer.dtype);
  CheckRows(x, layer.out, at::kFloat);
  const StoreAdded store{x.mutable_data_ptr<float>(), layer.out};
  Dispatch(layer.dtype, [&](auto t) {
    using T = decltype(t);
    Run<T>(layer, BlocksOf(rows.size(0)), LoadRow<T>{rows.const_data_ptr<T>(), layer.in}, store);
  });
}

at::Tensor StarStem(const RowNorm& norm, const PackedLinear& halves, const at::Tensor& x) {
  CheckRows(x, halves.in, at::kFloat);
  const LoadNormed load{x.const_data_ptr<float>(), norm.weight.const_data_ptr<float>(),
                        norm.bias.const_data_ptr<float>(), halves.in};
  at::Tensor s = at::empty({x.size(0), halves.out / 2}, halves.dtype);
  Dispatch(halves.dtype, [&](auto t) {
    using T = decltype(t);
    Run<T>(halves, BlocksOf(x.size(0)), load, StoreStar<T>{s.mutable_data_ptr<T>(), s.size(1)});
  });
  return s;
}

at::Tensor Modulate(const PackedLinear& halves, const at::Tensor& s, const at::Tensor& weights,
                    const TokenOrder& order, int first) {
  CheckRows(s, halves.in, halves.dtype);
  CheckRows(weights, order.slot.size(1), at::kFloat);
  at::Tensor rows = at::empty({order.token.size(0), halves.in}, halves.dtype);
  const int64_t* token = order.token.const_data_ptr<int64_t>();
  const float* weight = weights.const_data_ptr<float>();
  const int64_t* source = order.source.const_data_ptr<int64_t>();
  Dispatch(halves.dtype, [&](auto t) {
    using T = decltype(t);
    const T* from = s.const_data_ptr<T>();
    Run<T>(halves, BlocksOf(order.begin, first), LoadGathered<T>{from, token, halves.in},
           StoreModulated<T>{from, weight, source, token, rows.mutable_data_ptr<T>(), halves.in});
  });
  return rows;
}

at::Tensor MultiplySums(const PackedLinear& layer, const at::Tensor& rows, const at::Tensor& slot) {
  CheckRows(rows, layer.in, layer.dtype);
  CheckRows(slot, slot.size(-1), at::kLong);
  return Dispatch(layer.dtype, [&](auto t) {
    using T = decltype(t);
    const LoadSum<T> load{rows.const_data_ptr<T>(), slot.const_data_ptr<int64_t>(), slot.size(0),
                          slot.size(1), layer.in};
    return RunToRows<T>(layer, BlocksOf(slot.size(0)), slot.size(0), load, Activation::kGelu);
  });
}

at::Tensor MultiplyPatches(const PackedLinear& layer, const at::Tensor& features, int64_t patch) {
  const PatchGrid grid{features.size(2) / patch, features.size(3) / patch, patch, features.size(1)};
  const at::Tensor dense = features.contiguous(at::MemoryFormat::ChannelsLast);
  const int64_t tokens = features.size(0) * grid.rows * grid.columns;
  at::Tensor x = at::empty({tokens, layer.out}, at::kFloat);
  Dispatch(layer.dtype, [&](auto t) {
    using T = decltype(t);
    Run<T>(layer, BlocksOf(tokens), LoadPatch<T>{dense.const_data_ptr<T>(), grid},
           StoreRow<float, Activation::kNone>{x.mutable_data_ptr<float>(), layer.out});
  });
  return x;
}

at::Tensor ExpandPatches(const PackedLinear& layer, const at::Tensor& x, int64_t rows,
                         int64_t columns, int64_t patch) {
  CheckRows(x, layer.in, at::kFloat);
  const PatchGrid grid{rows, columns, patch, layer.out / (patch * patch)};
  const int64_t batch = x.size(0) / (rows * columns);
  if (grid.channels % kTileColumns != 0) {
    return Multiply(layer, x)
        .view({batch, rows, columns, patch, patch, grid.channels})
        .permute({0, 5, 1, 3, 2, 4})  // [B,C,h,p1,w,p2]
        .reshape({batch, grid.channels, rows * patch, columns * patch})
        .contiguous(at::MemoryFormat::ChannelsLast);
  }
  at::Tensor features =
      at::empty({batch, grid.channels, rows * patch, columns * patch},
                at::TensorOptions(layer.dtype).memory_format(at::MemoryFormat::ChannelsLast));
  Dispatch(layer.dtype, [&](auto t) {
    using T = decltype(t);
    Run<T>(layer, BlocksOf(x.size(0)), LoadRow<float>{x.const_data_ptr<float>(), layer.in},
           StorePatch<T>{features.mutable_data_ptr<T>(), grid});
  });
  return features;
}

}  // namespace deweather
