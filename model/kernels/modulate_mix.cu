#include <cuda_bf16.h>

#include <algorithm>

#include "model/kernels/modulate_mix_cuda.h"
#include "model/kernels/modulate_mix_kernels.h"

namespace deweather::cuda {
namespace {

int Threads(const ModulateMixShape& shape) {
  return static_cast<int>(std::min<int64_t>(256, (shape.width + kLanes - 1) / kLanes * kLanes));
}

bool Empty(const ModulateMixShape& shape) { return shape.tokens == 0 || shape.width == 0; }

template <typename T>
cudaError_t LaunchMix(const MixInput& in, void* mixed, ModulateMixShape shape,
                      cudaStream_t stream) {
  if (Empty(shape)) return cudaSuccess;
  MixKernel<T><<<static_cast<unsigned>(shape.tokens), Threads(shape), 0, stream>>>(
      static_cast<const T*>(in.s), static_cast<const T*>(in.modulation), in.weights, in.slot,
      static_cast<T*>(mixed), shape.width, shape.kept);
  return cudaGetLastError();
}

template <typename T>
cudaError_t LaunchUnmix(const void* g, const MixInput& in, MixSlopes out, ModulateMixShape shape,
                        cudaStream_t stream) {
  if (Empty(shape)) return cudaSuccess;
  UnmixKernel<T><<<static_cast<unsigned>(shape.tokens), Threads(shape), 0, stream>>>(
      static_cast<const T*>(g), static_cast<const T*>(in.s), static_cast<const T*>(in.modulation),
      in.weights, in.slot, static_cast<T*>(out.s), static_cast<T*>(out.modulation), out.weights,
      shape.width, shape.kept);
  return cudaGetLastError();
}

}  // namespace

cudaError_t ModulateAndMix(const MixInput& in, void* mixed, ModulateMixShape shape,
                           cudaStream_t stream) {
  return in.bf16 ? LaunchMix<__nv_bfloat16>(in, mixed, shape, stream)
                 : LaunchMix<float>(in, mixed, shape, stream);
}

cudaError_t Unmix(const void* g, const MixInput& in, MixSlopes out, ModulateMixShape shape,
                  cudaStream_t stream) {
  return in.bf16 ? LaunchUnmix<__nv_bfloat16>(g, in, out, shape, stream)
                 : LaunchUnmix<float>(g, in, out, shape, stream);
}

}  // namespace deweather::cuda
