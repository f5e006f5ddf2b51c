#include "model/kernels/token_sort.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <numeric>

#ifdef DEWEATHER_CUDA
#include <c10/core/DeviceGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "model/kernels/token_sort_cuda.h"
#endif

namespace deweather {
namespace {

// A counting sort: one pass to count, one to place.
TokenOrder SortOnCpu(const at::Tensor& kept, int experts) {
  const int64_t rows = kept.numel();
  const int64_t kept_per_token = kept.size(1);
  const int64_t* expert_of = kept.const_data_ptr<int64_t>();
  TokenOrder order{at::empty({rows}, kept.options()),
                   at::empty({rows}, kept.options()),
                   at::empty_like(kept),
                   std::vector<int64_t>(experts + 1, 0),
                   {}};
  for (int64_t entry = 0; entry < rows; ++entry) ++order.begin[expert_of[entry] + 1];
  std::partial_sum(order.begin.begin(), order.begin.end(), order.begin.begin());

  std::vector<int64_t> next(order.begin.begin(), order.begin.end() - 1);
  int64_t* source = order.source.mutable_data_ptr<int64_t>();
  int64_t* token = order.token.mutable_data_ptr<int64_t>();
  int64_t* slot = order.slot.mutable_data_ptr<int64_t>();
  for (int64_t entry = 0; entry < rows; ++entry) {
    const int64_t row = next[expert_of[entry]]++;
    source[row] = entry;
    token[row] = entry / kept_per_token;
    slot[entry] = row;
  }
  return order;
}

#ifdef DEWEATHER_CUDA
TokenOrder SortOnCuda(const at::Tensor& kept, int experts) {
  const int64_t tokens = kept.size(0), kept_per_token = kept.size(1), rows = kept.numel();
  TORCH_CHECK(experts <= 256 && rows < INT32_MAX, "cannot sort ", rows, " rows of ", experts,
              " experts on a GPU; at most 256 experts and 2^31 - 2 rows");
  const c10::DeviceGuard guard(kept.device());  // a launch goes to the current device
  const auto words = kept.options().dtype(at::kInt);
  TokenOrder order{at::empty({rows}, kept.options()),
                   at::empty({rows}, kept.options()),
                   at::empty_like(kept),
                   {},
                   at::empty({experts}, words)};
  at::Tensor scratch = at::empty({cuda::SortScratch(tokens, kept_per_token, experts)}, words);
  const cuda::SortedRows out{
      order.source.mutable_data_ptr<int64_t>(), order.token.mutable_data_ptr<int64_t>(),
      order.slot.mutable_data_ptr<int64_t>(), order.end.mutable_data_ptr<int32_t>()};
  const cudaError_t error =
      cuda::SortTokens(kept.const_data_ptr<int64_t>(), tokens, kept_per_token, experts,
                       scratch.mutable_data_ptr<int32_t>(), out,
                       c10::cuda::getCurrentCUDAStream(kept.device().index()));
  TORCH_CHECK(error == cudaSuccess, "SortTokens: ", cudaGetErrorString(error));
  return order;
}
#endif

}  // namespace

TokenOrder SortTokens(const at::Tensor& kept, int experts) {
#ifdef DEWEATHER_CUDA
  if (kept.is_cuda()) return SortOnCuda(kept.contiguous(), experts);
#endif
  return SortOnCpu(kept.contiguous(), experts);
}

std::vector<int64_t> RowsBegin(const TokenOrder& order) {
  if (!order.end.defined()) return order.begin;
  const at::Tensor end = order.end.cpu();
  const int32_t* values = end.const_data_ptr<int32_t>();
  std::vector<int64_t> begin = {0};
  begin.insert(begin.end(), values, values + end.numel());
  return begin;
}

}  // namespace deweather
