#include "model/kernels/token_sort_cuda.h"
#include "model/kernels/token_sort_kernels.h"

namespace deweather::cuda {
namespace {

SortShape ShapeOf(int64_t tokens, int64_t kept_per_token, int experts) {
  const int64_t entries = tokens * kept_per_token;
  const int chunks = static_cast<int>((entries + kSortChunk - 1) / kSortChunk);
  return {entries, kept_per_token, experts, chunks};
}

}  // namespace

int64_t SortScratch(int64_t tokens, int64_t kept_per_token, int experts) {
  return int64_t{2} * ShapeOf(tokens, kept_per_token, experts).chunks * experts;
}

cudaError_t SortTokens(const int64_t* kept, int64_t tokens, int64_t kept_per_token, int experts,
                       int32_t* scratch, SortedRows out, cudaStream_t stream) {
  const SortShape shape = ShapeOf(tokens, kept_per_token, experts);
  int32_t* counts = scratch;
  int32_t* before = scratch + int64_t{shape.chunks} * experts;
  if (shape.chunks > 0) {
    CountKernel<<<shape.chunks, kSortThreads, 0, stream>>>(kept, shape, counts);
  }
  OffsetKernel<<<1, kSortThreads, 0, stream>>>(counts, shape, before, out.end);
  if (shape.chunks > 0) {
    PlaceKernel<<<shape.chunks, kSortThreads, 0, stream>>>(kept, before, out.end, shape, out.source,
                                                           out.token, out.slot);
  }
  return cudaGetLastError();
}

}  // namespace deweather::cuda
