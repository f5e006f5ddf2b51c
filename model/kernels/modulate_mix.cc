#include "model/kernels/modulate_mix.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <vector>

#ifdef DEWEATHER_CUDA
#include <c10/cuda/CUDAStream.h>

#include "model/kernels/modulate_mix_cuda.h"
#endif

namespace deweather {
namespace {

// m[d] += w (gamma[d] s[d] + beta[d]) for one token and one of its experts.
template <typename T>
void AddModulated(const T* s, const T* modulation, float weight, int64_t width, float* sum) {
  const T* gamma = modulation;
  const T* beta = modulation + width;
  for (int64_t d = 0; d < width; ++d) {
    sum[d] += weight * (static_cast<float>(gamma[d]) * static_cast<float>(s[d]) +
                        static_cast<float>(beta[d]));
  }
}

template <typename T>
void MixOnCpu(const at::Tensor& s, const at::Tensor& modulation, const at::Tensor& weights,
              const at::Tensor& slot, at::Tensor& mixed) {
  const int64_t width = s.size(1);
  const int64_t kept = slot.size(1);
  const T* s_data = s.const_data_ptr<T>();
  const T* modulation_data = modulation.const_data_ptr<T>();
  const float* weight_data = weights.const_data_ptr<float>();
  const int64_t* slot_data = slot.const_data_ptr<int64_t>();
  T* mixed_data = mixed.mutable_data_ptr<T>();
  at::parallel_for(0, s.size(0), 64, [&](int64_t first, int64_t last) {
    std::vector<float> sum(width);
    for (int64_t n = first; n < last; ++n) {
      std::fill(sum.begin(), sum.end(), 0.0f);
      for (int64_t k = 0; k < kept; ++k) {
        // seek to the row that expert k of token n wrote: modulation[slot[n,k],:]
        AddModulated(s_data + n * width, modulation_data + slot_data[n * kept + k] * 2 * width,
                     weight_data[n * kept + k], width, sum.data());
      }
      std::transform(sum.begin(), sum.end(), mixed_data + n * width,
                     [](float value) { return static_cast<T>(value); });
    }
  });
}

#ifdef DEWEATHER_CUDA
void MixOnCuda(const at::Tensor& s, const at::Tensor& modulation, const at::Tensor& weights,
               const at::Tensor& slot, at::Tensor& mixed) {
  const bool bf16 = s.scalar_type() == at::kBFloat16;
  const cuda::ModulateMixShape shape{s.size(0), s.size(1), slot.size(1)};
  const cudaError_t error = cuda::ModulateAndMix(
      s.const_data_ptr(), modulation.const_data_ptr(), weights.const_data_ptr<float>(),
      slot.const_data_ptr<int64_t>(), mixed.mutable_data_ptr(), bf16, shape,
      c10::cuda::getCurrentCUDAStream(s.device().index()));
  TORCH_CHECK(error == cudaSuccess, "ModulateAndMix: ", cudaGetErrorString(error));
}
#endif

}  // namespace

at::Tensor ModulateAndMix(const at::Tensor& s, const at::Tensor& modulation,
                          const at::Tensor& weights, const TokenOrder& order) {
  const at::Tensor s_rows = s.contiguous();
  const at::Tensor modulation_rows = modulation.contiguous();
  const at::Tensor weight_rows = weights.contiguous();
  at::Tensor mixed = at::empty_like(s_rows);  // [N,D]
#ifdef DEWEATHER_CUDA
  if (s.is_cuda()) {
    MixOnCuda(s_rows, modulation_rows, weight_rows, order.slot, mixed);
    return mixed;
  }
#endif
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, s.scalar_type(), "ModulateAndMix", [&] {
    MixOnCpu<scalar_t>(s_rows, modulation_rows, weight_rows, order.slot, mixed);
  });
  return mixed;
}

at::Tensor ModulateAndMixReference(const at::Tensor& s, const at::Tensor& modulation,
                                   const at::Tensor& weights, const TokenOrder& order) {
  const int64_t width = s.size(1);
  const at::Tensor gamma = modulation.narrow(1, 0, width);                    // [R,D]
  const at::Tensor beta = modulation.narrow(1, width, width);                 // [R,D]
  const at::Tensor s_rows = s.index_select(0, order.token);                   // [R,D]
  const at::Tensor w_rows = weights.flatten().index_select(0, order.source);  // [R]
  const at::Tensor rows = (gamma * s_rows + beta).to(at::kFloat) * w_rows.unsqueeze(1);
  return at::zeros(s.sizes(), rows.options()).index_add(0, order.token, rows).to(s.scalar_type());
}

}  // namespace deweather
