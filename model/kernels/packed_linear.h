// The network's linear layers on the CPU, for inference: weights laid out once for AVX-512, what comes
// before a product computed while its rows are read and what comes after while they are written.
//
// Shapes   N tokens, K kept, R = N K rows grouped by expert (token_sort.h); `T` is the weights' dtype, f32
//          or bf16. The tokens x themselves are f32 always.
// Company  a row's result has the same bits whatever rows come with it
// Cost     weights are read once per few hundred rows; no product is larger than its rows need

#ifndef DEWEATHER_MODEL_KERNELS_PACKED_LINEAR_H_
#define DEWEATHER_MODEL_KERNELS_PACKED_LINEAR_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/kernels/token_sort.h"

namespace deweather {

// Whether this processor runs what is declared below: AVX-512 with bf16.
bool HasCpuKernels();

// The same, and whether they know these weights: on the CPU, f32 or bf16.
bool HasCpuKernelsFor(const at::Tensor& weight);

// E linear layers of one shape; a plain one is E = 1.
struct PackedLinear {
  at::Tensor panels;  // [E,P,steps,32] words as avx512.h reads them
  at::Tensor bias;    // [E,P,32] f32
  int64_t in = 0;
  int64_t out = 0;
  at::ScalarType dtype = at::kFloat;

  bool defined() const { return panels.defined(); }
};

// weight [out,in] or [E,out,in], bias [out], [E,out] or undefined.
PackedLinear Pack(const at::Tensor& weight, const at::Tensor& bias);

// Of layers whose outputs come in two halves, [E,2D,in]: 16 of the first and the same 16 of the second half lie
// in one panel, for kernels that use them together. `out` is 2D.
PackedLinear PackHalves(const at::Tensor& weight, const at::Tensor& bias);

enum class Activation { kNone, kGelu };

// The scale and shift of a layer norm, [D] f32.
struct RowNorm {
  at::Tensor weight, bias;
};

// rows [R,in] f32 or T -> activation(rows W^T + b), [R,out] T
at::Tensor Multiply(const PackedLinear& layer, const at::Tensor& rows,
                    Activation activation = Activation::kNone);

// The same, rows [begin[e], begin[e+1]) by the layer of expert e.
at::Tensor MultiplyGroups(const PackedLinear& layer, const at::Tensor& rows,
                          const std::vector<int64_t>& begin,
                          Activation activation = Activation::kNone);

// activation(LN(x) W^T + b): x [N,in] f32 -> [N,out] T
at::Tensor MultiplyNormed(const RowNorm& norm, const PackedLinear& layer, const at::Tensor& x,
                          Activation activation = Activation::kNone);

// x += rows W^T + b: rows [N,in] T, x [N,out] f32
void AddProduct(const PackedLinear& layer, const at::Tensor& rows, at::Tensor& x);

// The star stem, GELU(A z) * (B z) with z = LN(x), A | B the halves: x [N,D] f32 -> [N,D] T
at::Tensor StarStem(const RowNorm& norm, const PackedLinear& halves, const at::Tensor& x);

// w (gamma * s + beta) of every row, with gamma | beta = s W_e^T + b_e: s [N,D] T, weights [N,K] f32 ->
// [R,D] T                                                                    [Paper, Eq. 4 and 5]
// Experts `first`.. have the layers 0.. ; rows of experts before it are left as they are.
at::Tensor Modulate(const PackedLinear& halves, const at::Tensor& s, const at::Tensor& weights,
                    const TokenOrder& order, int first = 0);

// GELU(m W^T + b), m the sum of a token's K rows: [R,in] T -> [N,out] T
at::Tensor MultiplySums(const PackedLinear& layer, const at::Tensor& rows, const at::Tensor& slot);

// p x p patches of features [B,C,H,W] T, channels-last, to tokens: -> [B n,out] f32. The weight's inputs lie
// as a patch's values do: (p1,p2,c).
at::Tensor MultiplyPatches(const PackedLinear& layer, const at::Tensor& features, int64_t patch);

// Tokens to patches: output (p1,p2,c) of token (h,w) is channel c of pixel (h p + p1, w p + p2).
// x [B rows columns,in] f32 -> [B,out/p^2,rows p,columns p] T, channels-last
at::Tensor ExpandPatches(const PackedLinear& layer, const at::Tensor& x, int64_t rows,
                         int64_t columns, int64_t patch);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_KERNELS_PACKED_LINEAR_H_
