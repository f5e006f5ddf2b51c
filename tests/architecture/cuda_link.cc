// Links against every kernel. Run, it asks for no tokens, which is fine with and without a GPU.

#include <cuda_runtime_api.h>

#include "model/kernels/bias_cuda.h"
#include "model/kernels/dropout_cuda.h"
#include "model/kernels/modulate_mix_cuda.h"
#include "model/kernels/route_cuda.h"
#include "model/kernels/token_sort_cuda.h"

int main() {
  namespace cuda = deweather::cuda;
  const cuda::ModulateMixShape none = {.tokens = 0, .width = 8, .kept = 1};
  cudaError_t errors[] = {cuda::ModulateAndMix({}, nullptr, none, nullptr),
                          cuda::Unmix(nullptr, {}, {}, none, nullptr),
                          cuda::FillDropoutMask(nullptr, nullptr, {}, nullptr),
                          cuda::AddBias(nullptr, nullptr, nullptr, true, {}, nullptr),
                          cuda::EndConv(nullptr, nullptr, nullptr, true, 0, 8, nullptr),
                          cuda::Route({}, {}, nullptr)};
  for (const cudaError_t error : errors) {
    if (error != cudaSuccess) return 1;
  }
  return cuda::SortScratch(0, 1, 8) == 0 ? 0 : 1;
}
