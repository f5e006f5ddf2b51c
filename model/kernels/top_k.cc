#include "model/kernels/top_k.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <cmath>

namespace deweather {
namespace {

bool IsLarger(float a, float b) { return a > b || (std::isnan(a) && !std::isnan(b)); }

// An insertion into the few that are kept, which most values do not reach.
void KeepLargest(const float* row, int64_t count, int64_t kept, float* values, int64_t* index) {
  int64_t found = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (found == kept && !IsLarger(row[i], values[kept - 1])) continue;
    int64_t place = found < kept ? found++ : kept - 1;
    for (; place > 0 && IsLarger(row[i], values[place - 1]); --place) {
      values[place] = values[place - 1];
      index[place] = index[place - 1];
    }
    values[place] = row[i];
    index[place] = i;
  }
}

}  // namespace

Largest TopK(const at::Tensor& values, int64_t kept) {
  const int64_t rows = values.size(0), count = values.size(1);
  TORCH_CHECK(kept > 0 && kept <= count, "cannot keep ", kept, " of ", count);
  const at::Tensor dense = values.contiguous();
  Largest largest{at::empty({rows, kept}, dense.options()), at::empty({rows, kept}, at::kLong)};
  const float* from = dense.const_data_ptr<float>();
  float* to = largest.values.mutable_data_ptr<float>();
  int64_t* index = largest.index.mutable_data_ptr<int64_t>();
  at::parallel_for(0, rows, 64, [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
      KeepLargest(from + n * count, count, kept, to + n * kept, index + n * kept);
    }
  });
  return largest;
}

}  // namespace deweather
