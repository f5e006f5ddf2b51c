// The CUDA side of dropout.h, free of Torch so that it compiles wherever nvcc is.

#ifndef DEWEATHER_MODEL_KERNELS_DROPOUT_CUDA_H_
#define DEWEATHER_MODEL_KERNELS_DROPOUT_CUDA_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "model/kernels/dropout_mask.h"

namespace deweather::cuda {

// keys [B], mask [B, tokens, width]: device memory, dense. Enqueues on `stream` and does not wait;
// returns the launch's error.
cudaError_t FillDropoutMask(const int64_t* keys, float* mask, DropoutShape shape,
                            cudaStream_t stream);

}  // namespace deweather::cuda

#endif  // DEWEATHER_MODEL_KERNELS_DROPOUT_CUDA_H_
