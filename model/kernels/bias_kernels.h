// What follows a matrix product or a convolution that adds no bias, in place, in the dialect of CUDA.
// Memory is read and written by 16 bytes: widths are multiples of Bytes16<T>::kValues.

#ifndef DEWEATHER_MODEL_KERNELS_BIAS_KERNELS_H_
#define DEWEATHER_MODEL_KERNELS_BIAS_KERNELS_H_

#include <cstdint>

namespace deweather::cuda {

template <typename T>
struct alignas(16) Bytes16 {
  static constexpr int kValues = 16 / sizeof(T);
  T value[kValues];
};

// The expert whose rows hold `row`: the first that ends after it. end[experts-1] > row.
__device__ inline int ExpertOfRow(const int32_t* end, int experts, int64_t row) {
  int first = 0, last = experts - 1;
  while (first < last) {
    const int middle = (first + last) / 2;
    if (end[middle] > row) {
      last = middle;
    } else {
      first = middle + 1;
    }
  }
  return first;
}

// rows[r,:] += bias[expert of r,:], for rows [R,W], bias [E,W] and `words` = W / kValues. One block per row.
template <typename T>
__global__ void AddBiasKernel(Bytes16<T>* rows, const Bytes16<T>* bias, const int32_t* end,
                              int experts, int64_t words) {
  const int64_t row = blockIdx.x;
  const Bytes16<T>* addend = bias + ExpertOfRow(end, experts, row) * words;
  for (int64_t word = threadIdx.x; word < words; word += blockDim.x) {
    Bytes16<T> sum = rows[row * words + word];
    const Bytes16<T> other = addend[word];
    for (int i = 0; i < Bytes16<T>::kValues; ++i) {
      sum.value[i] =
          static_cast<T>(static_cast<float>(sum.value[i]) + static_cast<float>(other.value[i]));
    }
    rows[row * words + word] = sum;
  }
}

// y = ReLU(y + bias) or, with x, y + bias + x, for channels-last pictures whose pixels have `words` words
// each, `count` in all. A ReLU leaves what is no number as it is. Threads stride over the words.
template <typename T>
__global__ void EndConvKernel(Bytes16<T>* y, const Bytes16<T>* bias, const Bytes16<T>* x,
                              uint32_t words, uint32_t count) {
  const uint32_t stride = gridDim.x * blockDim.x;
  for (uint32_t word = blockIdx.x * blockDim.x + threadIdx.x; word < count; word += stride) {
    Bytes16<T> out = y[word];
    const Bytes16<T> addend = bias[word % words];
    const Bytes16<T> other = x == nullptr ? out : x[word];
    for (int i = 0; i < Bytes16<T>::kValues; ++i) {
      float sum = static_cast<float>(out.value[i]) + static_cast<float>(addend.value[i]);
      if (x != nullptr) {
        sum += static_cast<float>(other.value[i]);
      } else if (sum < 0.0f) {
        sum = 0.0f;
      }
      out.value[i] = static_cast<T>(sum);
    }
    y[word] = out;
  }
}

}  // namespace deweather::cuda

#endif  // DEWEATHER_MODEL_KERNELS_BIAS_KERNELS_H_
