// Sums over the threads of a warp and of a block, in the dialect of CUDA.
// A block's threads are a multiple of 32, and all of them call.

#ifndef DEWEATHER_MODEL_KERNELS_CUDA_SUM_H_
#define DEWEATHER_MODEL_KERNELS_CUDA_SUM_H_

namespace deweather::cuda {

constexpr int kLanes = 32;
constexpr unsigned kAllLanes = 0xffffffff;

// Every lane gets the sum.
__device__ inline float WarpSum(float value) {
  for (int step = kLanes / 2; step > 0; step /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, step);
  }
  return value;
}

// Every thread gets the sum.
__device__ inline float BlockSum(float value) {
  __shared__ float of_warp[32];
  const float sum = WarpSum(value);
  __syncthreads();  // what the call before left there has been read
  if (threadIdx.x % kLanes == 0) of_warp[threadIdx.x / kLanes] = sum;
  __syncthreads();
  float total = 0.0f;
  for (unsigned warp = 0; warp < blockDim.x / kLanes; ++warp) total += of_warp[warp];
  return total;
}

}  // namespace deweather::cuda

#endif  // DEWEATHER_MODEL_KERNELS_CUDA_SUM_H_
