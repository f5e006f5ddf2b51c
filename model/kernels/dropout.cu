#include <algorithm>

#include "model/kernels/dropout_cuda.h"

namespace deweather::cuda {
namespace {

// One block per token of a picture, threads stride over the calls of Philox that make its row.
__global__ void DropoutMaskKernel(const int64_t* keys, float* mask, DropoutShape shape) {
  const int64_t n = blockIdx.x;
  const uint64_t key = static_cast<uint64_t>(keys[n / shape.tokens]);
  for (int64_t first = threadIdx.x * kValuesPerCall; first < shape.width;
       first += blockDim.x * kValuesPerCall) {
    FillValues(shape, key, n % shape.tokens, first, mask + n * shape.width);
  }
}

}  // namespace

cudaError_t FillDropoutMask(const int64_t* keys, float* mask, DropoutShape shape,
                            cudaStream_t stream) {
  const int64_t rows = shape.pictures * shape.tokens;
  if (rows == 0 || shape.width == 0) return cudaSuccess;
  const int64_t calls = (shape.width + kValuesPerCall - 1) / kValuesPerCall;
  const int threads = static_cast<int>(std::min<int64_t>(256, (calls + 31) / 32 * 32));
  DropoutMaskKernel<<<static_cast<unsigned>(rows), threads, 0, stream>>>(keys, mask, shape);
  return cudaGetLastError();
}

}  // namespace deweather::cuda
