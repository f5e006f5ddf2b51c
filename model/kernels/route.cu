#include <cuda_bf16.h>

#include "model/kernels/route_cuda.h"
#include "model/kernels/route_kernels.h"

namespace deweather::cuda {
namespace {

template <typename T>
cudaError_t Launch(const RouteInput& in, RouteOutput out, cudaStream_t stream) {
  const int64_t blocks = (in.tokens + kRouteTokens - 1) / kRouteTokens;
  if (blocks == 0) return cudaSuccess;
  const RouteShape shape = {in.tokens, in.width, in.experts, in.kept};
  RouteKernel<T><<<static_cast<unsigned>(blocks), kRouteThreads, 0, stream>>>(
      static_cast<const T*>(in.x), in.weight, in.bias, shape, in.over_all, out.logits, out.kept,
      out.weights);
  return cudaGetLastError();
}

}  // namespace

cudaError_t Route(const RouteInput& in, RouteOutput out, cudaStream_t stream) {
  return in.bf16 ? Launch<__nv_bfloat16>(in, out, stream) : Launch<float>(in, out, stream);
}

}  // namespace deweather::cuda
