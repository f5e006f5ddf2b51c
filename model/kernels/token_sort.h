// Groups routed tokens by expert, so that each expert works on one contiguous block of rows.

#ifndef DEWEATHER_MODEL_KERNELS_TOKEN_SORT_H_
#define DEWEATHER_MODEL_KERNELS_TOKEN_SORT_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace deweather {

// N tokens keep K of E experts each: R = N * K rows, grouped by expert, by token within a group.
struct TokenOrder {
  at::Tensor source;           // [R] i64: row r is entry source[r] of the flattened `kept`
  at::Tensor token;            // [R] i64: the token of row r, source[r] / K
  at::Tensor slot;             // [N,K] i64: the row of each entry of `kept`; the inverse of source
  std::vector<int64_t> begin;  // [E+1]: expert e owns rows begin[e] .. begin[e+1]-1; empty on a GPU
  at::Tensor end = {};         // on a GPU alone, [E] i32: the row after the last of expert e
};

// Shapes   kept [N,K] i64 with values in [0,E); on a GPU E <= 256
// Cost     on a GPU waits for nothing
TokenOrder SortTokens(const at::Tensor& kept, int experts);

// `begin` of any order. Of one on a GPU it is read back: that waits for what the GPU has in hand.
std::vector<int64_t> RowsBegin(const TokenOrder& order);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_KERNELS_TOKEN_SORT_H_
