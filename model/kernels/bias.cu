#include <cuda_bf16.h>

#include <algorithm>

#include "model/kernels/bias_cuda.h"
#include "model/kernels/bias_kernels.h"

namespace deweather::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks =
    4096;  // more than any device runs at a time; the rest is strided over

template <typename T>
cudaError_t LaunchAddBias(void* rows, const void* bias, const int32_t* end, BiasOfRows shape,
                          cudaStream_t stream) {
  const int64_t words = shape.width / Bytes16<T>::kValues;
  if (shape.count == 0 || words == 0) return cudaSuccess;
  const int threads = static_cast<int>(std::min<int64_t>(kThreads, (words + 31) / 32 * 32));
  AddBiasKernel<T><<<static_cast<unsigned>(shape.count), threads, 0, stream>>>(
      static_cast<Bytes16<T>*>(rows), static_cast<const Bytes16<T>*>(bias), end, shape.experts,
      words);
  return cudaGetLastError();
}

template <typename T>
cudaError_t LaunchEndConv(void* y, const void* bias, const void* x, int64_t pixels,
                          int64_t channels, cudaStream_t stream) {
  const int64_t words = channels / Bytes16<T>::kValues;
  const int64_t count = pixels * words;
  if (count == 0) return cudaSuccess;
  const int64_t blocks = std::min(kMostBlocks, (count + kThreads - 1) / kThreads);
  EndConvKernel<T><<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(
      static_cast<Bytes16<T>*>(y), static_cast<const Bytes16<T>*>(bias),
      static_cast<const Bytes16<T>*>(x), static_cast<uint32_t>(words),
      static_cast<uint32_t>(count));
  return cudaGetLastError();
}

}  // namespace

cudaError_t AddBias(void* rows, const void* bias, const int32_t* end, bool bf16, BiasOfRows shape,
                    cudaStream_t stream) {
  return bf16 ? LaunchAddBias<__nv_bfloat16>(rows, bias, end, shape, stream)
              : LaunchAddBias<float>(rows, bias, end, shape, stream);
}

cudaError_t EndConv(void* y, const void* bias, const void* x, bool bf16, int64_t pixels,
                    int64_t channels, cudaStream_t stream) {
  return bf16 ? LaunchEndConv<__nv_bfloat16>(y, bias, x, pixels, channels, stream)
              : LaunchEndConv<float>(y, bias, x, pixels, channels, stream);
}

}  // namespace deweather::cuda
