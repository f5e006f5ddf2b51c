#include "model/kernels/gpu_layers.h"

#ifdef DEWEATHER_CUDA
#include <ATen/core/grad_mode.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/_grouped_mm.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <c10/core/DeviceGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdint>

#include "model/kernels/bias_cuda.h"
#include "model/kernels/route_cuda.h"
#endif

namespace deweather {

#ifdef DEWEATHER_CUDA
namespace {

constexpr int64_t kMultiple = 8;  // values of bf16 in 16 bytes

bool IsBf16(const at::Tensor& tensor) { return tensor.scalar_type() == at::kBFloat16; }

cudaStream_t StreamOf(const at::Tensor& tensor) {
  return c10::cuda::getCurrentCUDAStream(tensor.device().index());
}

// The kernels read and write by 16 bytes.
const void* Aligned(const void* data) {
  TORCH_CHECK(reinterpret_cast<uintptr_t>(data) % 16 == 0, "memory that is not aligned");
  return data;
}
void* Aligned(void* data) { return const_cast<void*>(Aligned(static_cast<const void*>(data))); }

// y = ReLU(y + bias) or, with x, y + bias + x. Both [B,C,H,W], channels-last.
void EndConv(const at::Tensor& bias, const at::Tensor& x, at::Tensor& y) {
  const c10::DeviceGuard guard(y.device());  // a launch goes to the current device
  const int64_t channels = y.size(1);
  TORCH_CHECK(y.numel() / kMultiple < INT32_MAX / 2, "cannot end a convolution of ", y.numel(),
              " values in one launch");
  const cudaError_t error =
      cuda::EndConv(Aligned(y.mutable_data_ptr()), Aligned(bias.const_data_ptr()),
                    x.defined() ? Aligned(x.const_data_ptr()) : nullptr, IsBf16(y),
                    y.numel() / channels, channels, StreamOf(y));
  TORCH_CHECK(error == cudaSuccess, "EndConv: ", cudaGetErrorString(error));
}

at::Tensor ConvWithoutBias(const at::Tensor& x, const at::Tensor& weight) {
  return at::conv2d(x, weight, /*bias=*/{}, /*stride=*/1, /*padding=*/1)
      .contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace

bool HasGpuGroupedLinear(const at::Tensor& rows, const at::Tensor& weight) {
  if (!rows.is_cuda() || at::GradMode::is_enabled() || !IsBf16(rows) || !IsBf16(weight)) {
    return false;
  }
  const int major = at::cuda::getDeviceProperties(rows.device().index())->major;
  return (major == 9 || major == 10) && weight.size(1) % kMultiple == 0 &&
         weight.size(2) % kMultiple == 0;
}

at::Tensor GpuGroupedLinear(const at::Tensor& rows, const at::Tensor& weight,
                            const at::Tensor& bias, const TokenOrder& order) {
  const c10::DeviceGuard guard(rows.device());
  const int64_t count = rows.size(0), width = weight.size(1);
  if (count == 0) return at::empty({0, width}, rows.options());
  // The layout that at::_grouped_mm wants: [E,in,out] whose columns are dense.
  at::Tensor out = at::_grouped_mm(rows.contiguous(), weight.contiguous().transpose(1, 2),
                                   order.end);  // [R,out]
  const at::Tensor dense = bias.contiguous();
  const cudaError_t error = cuda::AddBias(
      Aligned(out.mutable_data_ptr()), Aligned(dense.const_data_ptr()),
      order.end.const_data_ptr<int32_t>(),
      /*bf16=*/true, {count, width, static_cast<int>(order.end.size(0))}, StreamOf(rows));
  TORCH_CHECK(error == cudaSuccess, "AddBias: ", cudaGetErrorString(error));
  return out;
}

bool HasGpuResBlock(const at::Tensor& u) {
  return u.is_cuda() && !at::GradMode::is_enabled() && u.size(1) % kMultiple == 0 &&
         (IsBf16(u) || u.scalar_type() == at::kFloat);
}

at::Tensor GpuResBlock(const at::Tensor& u, const ResBlockWeights& weights) {
  const at::Tensor x = u.contiguous(at::MemoryFormat::ChannelsLast);
  at::Tensor inner = ConvWithoutBias(x, weights.weight0);
  EndConv(weights.bias0, {}, inner);
  at::Tensor y = ConvWithoutBias(inner, weights.weight1);
  EndConv(weights.bias1, x, y);
  return y;
}

bool HasGpuRoute(const at::Tensor& x, const at::Tensor& weight, int64_t kept) {
  return x.is_cuda() && !at::GradMode::is_enabled() && weight.dim() == 2 &&
         weight.scalar_type() == at::kFloat && (IsBf16(x) || x.scalar_type() == at::kFloat) &&
         weight.size(0) <= 256 && kept <= 32;
}

GpuGates GpuRoute(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                  int64_t kept, bool over_all) {
  const c10::DeviceGuard guard(x.device());
  const int64_t tokens = x.size(0), experts = weight.size(0);
  TORCH_CHECK(kept <= experts, "cannot keep ", kept, " of ", experts, " experts");
  const at::Tensor rows = x.contiguous(), dense = weight.contiguous(), shift = bias.contiguous();
  GpuGates gates{at::empty({tokens, experts}, weight.options()),
                 at::empty({tokens, kept}, weight.options().dtype(at::kLong)),
                 at::empty({tokens, kept}, weight.options())};
  const cuda::RouteInput in{.x = rows.const_data_ptr(),
                            .weight = dense.const_data_ptr<float>(),
                            .bias = shift.const_data_ptr<float>(),
                            .bf16 = IsBf16(rows),
                            .tokens = tokens,
                            .width = rows.size(1),
                            .experts = static_cast<int>(experts),
                            .kept = static_cast<int>(kept),
                            .over_all = over_all};
  const cudaError_t error =
      cuda::Route(in,
                  {gates.logits.mutable_data_ptr<float>(), gates.kept.mutable_data_ptr<int64_t>(),
                   gates.weights.mutable_data_ptr<float>()},
                  StreamOf(rows));
  TORCH_CHECK(error == cudaSuccess, "Route: ", cudaGetErrorString(error));
  return gates;
}

#else

bool HasGpuGroupedLinear(const at::Tensor& /*rows*/, const at::Tensor& /*weight*/) { return false; }

at::Tensor GpuGroupedLinear(const at::Tensor& /*rows*/, const at::Tensor& /*weight*/,
                            const at::Tensor& /*bias*/, const TokenOrder& /*order*/) {
  TORCH_CHECK(false, "built without the CUDA kernels");
}

bool HasGpuResBlock(const at::Tensor& /*u*/) { return false; }

at::Tensor GpuResBlock(const at::Tensor& /*u*/, const ResBlockWeights& /*weights*/) {
  TORCH_CHECK(false, "built without the CUDA kernels");
}

bool HasGpuRoute(const at::Tensor& /*x*/, const at::Tensor& /*weight*/, int64_t /*kept*/) {
  return false;
}

GpuGates GpuRoute(const at::Tensor& /*x*/, const at::Tensor& /*weight*/, const at::Tensor& /*bias*/,
                  int64_t /*kept*/, bool /*over_all*/) {
  TORCH_CHECK(false, "built without the CUDA kernels");
}
#endif

}  // namespace deweather
