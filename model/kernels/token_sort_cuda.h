// The CUDA side of token_sort.h, free of Torch so that it compiles wherever nvcc is.

#ifndef DEWEATHER_MODEL_KERNELS_TOKEN_SORT_CUDA_H_
#define DEWEATHER_MODEL_KERNELS_TOKEN_SORT_CUDA_H_

#include <cuda_runtime_api.h>

#include <cstdint>

namespace deweather::cuda {

// What a TokenOrder holds, R = tokens * kept.
struct SortedRows {
  int64_t* source;  // [R]
  int64_t* token;   // [R]
  int64_t* slot;    // [R]
  int32_t* end;     // [experts]
};

// Of how many 32-bit words SortTokens needs the use while it works.
int64_t SortScratch(int64_t tokens, int64_t kept_per_token, int experts);

// kept [tokens, kept_per_token] with values in [0, experts); all pointers are device memory, dense.
// REQUIRES: experts <= 256, fewer than 2^31 rows. Enqueues on `stream` and does not wait; returns the
// launches' error.
cudaError_t SortTokens(const int64_t* kept, int64_t tokens, int64_t kept_per_token, int experts,
                       int32_t* scratch, SortedRows out, cudaStream_t stream);

}  // namespace deweather::cuda

#endif  // DEWEATHER_MODEL_KERNELS_TOKEN_SORT_CUDA_H_
