// Links against every kernel. Run, it asks for no tokens, which is fine with and without a GPU.

#include <cuda_runtime_api.h>

#include "model/kernels/modulate_mix_cuda.h"
#include "model/kernels/token_sort_cuda.h"

int main() {
  namespace cuda = deweather::cuda;
  const cuda::ModulateMixShape none = {.tokens = 0, .width = 8, .kept = 1};
  cudaError_t error = cuda::ModulateAndMix({}, nullptr, none, nullptr);
  if (error == cudaSuccess) error = cuda::Unmix(nullptr, {}, {}, none, nullptr);
  return error == cudaSuccess && cuda::SortScratch(0, 1, 8) == 0 ? 0 : 1;
}
