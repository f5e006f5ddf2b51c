// Links against every kernel. Run, it asks for no tokens, which is fine with and without a GPU.

#include <cuda_runtime_api.h>

#include "model/kernels/modulate_mix_cuda.h"

int main() {
  const deweather::cuda::ModulateMixShape none = {.tokens = 0, .width = 8, .kept = 1};
  const cudaError_t error = deweather::cuda::ModulateAndMix(nullptr, nullptr, nullptr, nullptr,
                                                            nullptr, false, none, nullptr);
  return error == cudaSuccess ? 0 : 1;
}
