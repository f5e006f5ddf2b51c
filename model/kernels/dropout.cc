#include "model/kernels/dropout.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "model/kernels/dropout_mask.h"

#ifdef DEWEATHER_CUDA
#include <c10/core/DeviceGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "model/kernels/dropout_cuda.h"
#endif

namespace deweather {
namespace {

void FillOnCpu(const at::Tensor& keys, const DropoutShape& shape, at::Tensor& mask) {
  const int64_t* key_data = keys.const_data_ptr<int64_t>();
  float* mask_data = mask.mutable_data_ptr<float>();
  at::parallel_for(0, shape.pictures * shape.tokens, 64, [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
      const auto key = static_cast<uint64_t>(key_data[n / shape.tokens]);
      for (int64_t d = 0; d < shape.width; d += kValuesPerCall) {
        FillValues(shape, key, n % shape.tokens, d, mask_data + n * shape.width);
      }
    }
  });
}

#ifdef DEWEATHER_CUDA
void FillOnCuda(const at::Tensor& keys, const DropoutShape& shape, at::Tensor& mask) {
  const c10::DeviceGuard guard(keys.device());  // a launch goes to the current device
  const cudaError_t error =
      cuda::FillDropoutMask(keys.const_data_ptr<int64_t>(), mask.mutable_data_ptr<float>(), shape,
                            c10::cuda::getCurrentCUDAStream(keys.device().index()));
  TORCH_CHECK(error == cudaSuccess, "FillDropoutMask: ", cudaGetErrorString(error));
}
#endif

}  // namespace

at::Tensor DropoutMask(const at::Tensor& keys, int64_t tokens, int64_t width, double p, int layer,
                       int pass) {
  TORCH_CHECK(p >= 0 && p < 1, "dropout is ", p, "; it must be in [0, 1)");
  const long dropped = std::min(std::lround(p * 65536), 65535L);
  const DropoutShape shape{.pictures = keys.size(0),
                           .tokens = tokens,
                           .width = width,
                           .layer = static_cast<uint32_t>(layer),
                           .pass = static_cast<uint32_t>(pass),
                           .dropped = static_cast<uint32_t>(dropped),
                           .kept = 65536.0f / static_cast<float>(65536 - dropped)};
  const at::Tensor dense = keys.contiguous();
  at::Tensor mask = at::empty({shape.pictures, tokens, width}, keys.options().dtype(at::kFloat));
#ifdef DEWEATHER_CUDA
  if (keys.is_cuda()) {
    FillOnCuda(dense, shape, mask);
    return mask;
  }
#endif
  FillOnCpu(dense, shape, mask);
  return mask;
}

}  // namespace deweather
