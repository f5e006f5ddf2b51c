#include "model/kernels/token_sort.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/floor_divide.h>
#include <ATen/ops/sort.h>

#include <numeric>

namespace deweather {
namespace {

// A counting sort: one pass to count, one to place.
TokenOrder SortOnCpu(const at::Tensor& kept, int experts) {
  const int64_t rows = kept.numel();
  const int64_t kept_per_token = kept.size(1);
  const int64_t* expert_of = kept.const_data_ptr<int64_t>();
  TokenOrder order{at::empty({rows}, kept.options()), at::empty({rows}, kept.options()),
                   at::empty_like(kept), std::vector<int64_t>(experts + 1, 0)};
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

TokenOrder SortOnDevice(const at::Tensor& kept, int experts) {
  const at::Tensor flat = kept.flatten();
  const at::Tensor source = std::get<1>(at::sort(flat, /*stable=*/true, /*dim=*/0));  // [R]
  at::Tensor slot = at::empty_like(flat);
  slot.index_copy_(0, source, at::arange(flat.numel(), flat.options()));
  const at::Tensor counts = at::bincount(flat, {}, experts).cpu();
  TokenOrder order{source, at::floor_divide(source, kept.size(1)), slot.view_as(kept),
                   std::vector<int64_t>(experts + 1, 0)};
  std::partial_sum(counts.const_data_ptr<int64_t>(), counts.const_data_ptr<int64_t>() + experts,
                   order.begin.begin() + 1);
  return order;
}

}  // namespace

TokenOrder SortTokens(const at::Tensor& kept, int experts) {
  return kept.is_cpu() ? SortOnCpu(kept.contiguous(), experts) : SortOnDevice(kept, experts);
}

}  // namespace deweather
