// One row of a dropout mask, as dropout.h defines it: what the CPU and CUDA loops over rows share.
// Free of Torch, one text for host and device.

#ifndef DEWEATHER_MODEL_KERNELS_DROPOUT_MASK_H_
#define DEWEATHER_MODEL_KERNELS_DROPOUT_MASK_H_

#include <cstdint>

#include "model/kernels/philox.h"

namespace deweather {

// [B, tokens, width] masks of one pass in one layer.
struct DropoutShape {
  int64_t pictures;  // B
  int64_t tokens;
  int64_t width;
  uint32_t layer, pass;
  uint32_t dropped;  // a value whose 16 bits are below it is 0
  float kept;        // what the others are
};

constexpr int64_t kValuesPerCall = 8;  // 4 words of 2 x 16 bits

// Values [first, first + 8) of a token's row; those past the width are left out. `first` is a multiple of 8.
DW_HOST_DEVICE inline void FillValues(const DropoutShape& shape, uint64_t key, int64_t token,
                                      int64_t first, float* row) {
  const PhiloxWords bits = Philox(key, {{static_cast<uint32_t>(first / kValuesPerCall),
                                         static_cast<uint32_t>(token), shape.pass, shape.layer}});
  const int64_t count = shape.width - first < kValuesPerCall ? shape.width - first : kValuesPerCall;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t value = bits.word[i / 2] >> (i % 2 * 16) & 0xFFFF;
    row[first + i] = value < shape.dropped ? 0.0f : shape.kept;
  }
}

}  // namespace deweather

#endif  // DEWEATHER_MODEL_KERNELS_DROPOUT_MASK_H_
