#include "model/kernels/modulate_mix.h"

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

#ifdef DEWEATHER_CUDA
#include <c10/core/DeviceGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "model/kernels/modulate_mix_cuda.h"
#endif

namespace deweather {
namespace {

// m[d] += w (gamma[d] s[d] + beta[d]) for one token and one of its experts.
template <typename T, typename Sum>
void AddModulated(const T* s, const T* modulation, Sum weight, int64_t width, Sum* sum) {
  const T* gamma = modulation;
  const T* beta = modulation + width;
  for (int64_t d = 0; d < width; ++d) {
    sum[d] +=
        weight * (static_cast<Sum>(gamma[d]) * static_cast<Sum>(s[d]) + static_cast<Sum>(beta[d]));
  }
}

// In lanes, for no compiler may reorder a plain sum.
template <typename Sum>
Sum Total(const Sum* values, int64_t count) {
  constexpr int64_t kLanes = 8;
  Sum lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += values[i + lane];
  }
  Sum total = 0;
  for (; i < count; ++i) total += values[i];
  for (const Sum lane : lanes) total += lane;
  return total;
}

// What reaches one token and one of its experts of g = dL/dm:
//   dgamma = w g s, dbeta = w g, ds += w g gamma, dw = sum_d g (gamma s + beta).
// What the token's experts share is of the sums' type already; `products` get the terms of dw. No two
// pointers meet: said so, the loop is vectorised.
template <typename T, typename Sum>
void AddSlopes(const Sum* s, const Sum* g, const T* modulation, Sum weight, int64_t width,
               Sum* __restrict ds, T* __restrict dmodulation, Sum* __restrict products) {
  const T* gamma = modulation;
  const T* beta = modulation + width;
  T* __restrict dbeta = dmodulation + width;
  for (int64_t d = 0; d < width; ++d) {
    const Sum slope = weight * g[d];
    const Sum scale = static_cast<Sum>(gamma[d]);
    ds[d] += slope * scale;
    products[d] = g[d] * (scale * s[d] + static_cast<Sum>(beta[d]));
    dmodulation[d] = static_cast<T>(slope * s[d]);
    dbeta[d] = static_cast<T>(slope);
  }
}

template <typename T>
void MixOnCpu(const at::Tensor& s, const at::Tensor& modulation, const at::Tensor& weights,
              const at::Tensor& slot, at::Tensor& mixed) {
  using Sum = at::opmath_type<T>;
  const int64_t width = s.size(1);
  const int64_t kept = slot.size(1);
  const T* s_data = s.const_data_ptr<T>();
  const T* modulation_data = modulation.const_data_ptr<T>();
  const Sum* weight_data = weights.const_data_ptr<Sum>();
  const int64_t* slot_data = slot.const_data_ptr<int64_t>();
  T* mixed_data = mixed.mutable_data_ptr<T>();
  at::parallel_for(0, s.size(0), 64, [&](int64_t first, int64_t last) {
    std::vector<Sum> sum(width);
    for (int64_t n = first; n < last; ++n) {
      std::fill(sum.begin(), sum.end(), Sum{0});
      for (int64_t k = 0; k < kept; ++k) {
        // seek to the row that expert k of token n wrote: modulation[slot[n,k],:]
        AddModulated(s_data + n * width, modulation_data + slot_data[n * kept + k] * 2 * width,
                     weight_data[n * kept + k], width, sum.data());
      }
      std::transform(sum.begin(), sum.end(), mixed_data + n * width,
                     [](Sum value) { return static_cast<T>(value); });
    }
  });
}

// Gradients have the shapes of what they are the gradients of.
struct MixGradients {
  at::Tensor s, modulation, weights;
};

template <typename T>
void UnmixOnCpu(const at::Tensor& g, const at::Tensor& s, const at::Tensor& modulation,
                const at::Tensor& weights, const at::Tensor& slot, MixGradients& out) {
  using Sum = at::opmath_type<T>;
  const int64_t width = s.size(1);
  const int64_t kept = slot.size(1);
  const T* g_data = g.const_data_ptr<T>();
  const T* s_data = s.const_data_ptr<T>();
  const T* modulation_data = modulation.const_data_ptr<T>();
  const Sum* weight_data = weights.const_data_ptr<Sum>();
  const int64_t* slot_data = slot.const_data_ptr<int64_t>();
  T* ds_data = out.s.mutable_data_ptr<T>();
  T* dmodulation_data = out.modulation.mutable_data_ptr<T>();
  Sum* dweight_data = out.weights.mutable_data_ptr<Sum>();
  at::parallel_for(0, s.size(0), 64, [&](int64_t first, int64_t last) {
    std::vector<Sum> s_row(width), g_row(width), ds_row(width), products(width);
    for (int64_t n = first; n < last; ++n) {
      std::copy_n(s_data + n * width, width, s_row.begin());
      std::copy_n(g_data + n * width, width, g_row.begin());
      std::fill(ds_row.begin(), ds_row.end(), Sum{0});
      for (int64_t entry = n * kept; entry < (n + 1) * kept; ++entry) {
        // Every row of `modulation` is of one token and one expert: no two threads write to one.
        const int64_t row = slot_data[entry] * 2 * width;
        AddSlopes(s_row.data(), g_row.data(), modulation_data + row, weight_data[entry], width,
                  ds_row.data(), dmodulation_data + row, products.data());
        dweight_data[entry] = Total(products.data(), width);
      }
      std::transform(ds_row.begin(), ds_row.end(), ds_data + n * width,
                     [](Sum value) { return static_cast<T>(value); });
    }
  });
}

#ifdef DEWEATHER_CUDA
cuda::MixInput InputOf(const at::Tensor& s, const at::Tensor& modulation, const at::Tensor& weights,
                       const at::Tensor& slot) {
  return {s.const_data_ptr(), modulation.const_data_ptr(), weights.const_data_ptr<float>(),
          slot.const_data_ptr<int64_t>(), s.scalar_type() == at::kBFloat16};
}

void MixOnCuda(const at::Tensor& s, const at::Tensor& modulation, const at::Tensor& weights,
               const at::Tensor& slot, at::Tensor& mixed) {
  const c10::DeviceGuard guard(s.device());  // a launch goes to the current device
  const cudaError_t error = cuda::ModulateAndMix(
      InputOf(s, modulation, weights, slot), mixed.mutable_data_ptr(),
      {s.size(0), s.size(1), slot.size(1)}, c10::cuda::getCurrentCUDAStream(s.device().index()));
  TORCH_CHECK(error == cudaSuccess, "ModulateAndMix: ", cudaGetErrorString(error));
}

void UnmixOnCuda(const at::Tensor& g, const at::Tensor& s, const at::Tensor& modulation,
                 const at::Tensor& weights, const at::Tensor& slot, MixGradients& out) {
  const c10::DeviceGuard guard(s.device());
  const cudaError_t error = cuda::Unmix(
      g.const_data_ptr(), InputOf(s, modulation, weights, slot),
      {out.s.mutable_data_ptr(), out.modulation.mutable_data_ptr(),
       out.weights.mutable_data_ptr<float>()},
      {s.size(0), s.size(1), slot.size(1)}, c10::cuda::getCurrentCUDAStream(s.device().index()));
  TORCH_CHECK(error == cudaSuccess, "Unmix: ", cudaGetErrorString(error));
}
#endif

// All contiguous.
at::Tensor Mix(const at::Tensor& s, const at::Tensor& modulation, const at::Tensor& weights,
               const at::Tensor& slot) {
  at::Tensor mixed = at::empty_like(s);  // [N,D]
#ifdef DEWEATHER_CUDA
  if (s.is_cuda()) {
    MixOnCuda(s, modulation, weights, slot, mixed);
    return mixed;
  }
#endif
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, s.scalar_type(), "ModulateAndMix",
                                 [&] { MixOnCpu<scalar_t>(s, modulation, weights, slot, mixed); });
  return mixed;
}

void Unmix(const at::Tensor& g, const at::Tensor& s, const at::Tensor& modulation,
           const at::Tensor& weights, const at::Tensor& slot, MixGradients& out) {
#ifdef DEWEATHER_CUDA
  if (s.is_cuda()) {
    UnmixOnCuda(g, s, modulation, weights, slot, out);
    return;
  }
#endif
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, s.scalar_type(), "ModulateAndMix", [&] {
    UnmixOnCpu<scalar_t>(g, s, modulation, weights, slot, out);
  });
}

// How Torch differentiates the kernels.
struct MixFunction : torch::autograd::Function<MixFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& s,
                            const at::Tensor& modulation, const at::Tensor& weights,
                            const at::Tensor& slot) {
    context->save_for_backward({s, modulation, weights, slot});
    return Mix(s, modulation, weights, slot);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& slopes) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &s = saved[0], &modulation = saved[1], &weights = saved[2], &slot = saved[3];
    MixGradients out{at::empty_like(s), at::empty_like(modulation), at::empty_like(weights)};
    Unmix(slopes[0].contiguous(), s, modulation, weights, slot, out);
    return {out.s, out.modulation, out.weights, at::Tensor()};
  }
};

}  // namespace

at::Tensor ModulateAndMix(const at::Tensor& s, const at::Tensor& modulation,
                          const at::Tensor& weights, const TokenOrder& order) {
  TORCH_CHECK(
      s.scalar_type() == modulation.scalar_type() && (s.is_cpu() || s.scalar_type() != at::kDouble),
      "cannot mix ", s.scalar_type(), " by ", modulation.scalar_type(), " on ", s.device());
  const at::Tensor s_rows = s.contiguous();
  const at::Tensor modulation_rows = modulation.contiguous();
  const at::Tensor weight_rows = weights.to(at::toOpMathType(s.scalar_type())).contiguous();
  if (!at::GradMode::is_enabled()) return Mix(s_rows, modulation_rows, weight_rows, order.slot);
  return MixFunction::apply(s_rows, modulation_rows, weight_rows, order.slot);
}

at::Tensor ModulateAndMixReference(const at::Tensor& s, const at::Tensor& modulation,
                                   const at::Tensor& weights, const TokenOrder& order) {
  const int64_t width = s.size(1);
  const at::Tensor gamma = modulation.narrow(1, 0, width);                    // [R,D]
  const at::Tensor beta = modulation.narrow(1, width, width);                 // [R,D]
  const at::Tensor s_rows = s.index_select(0, order.token);                   // [R,D]
  const at::Tensor w_rows = weights.flatten().index_select(0, order.source);  // [R]
  const at::Tensor rows = (gamma * s_rows + beta).to(w_rows.scalar_type()) * w_rows.unsqueeze(1);
  return at::zeros(s.sizes(), rows.options()).index_add(0, order.token, rows).to(s.scalar_type());
}

}  // namespace deweather
