// A stable counting sort of kept experts, in the dialect of CUDA: three launches, no atomics.
// The entries are cut into chunks, one a block. In a chunk one thread looks after one expert: it alone
// counts and places that expert's entries, in their order.

#ifndef DEWEATHER_MODEL_KERNELS_TOKEN_SORT_KERNELS_H_
#define DEWEATHER_MODEL_KERNELS_TOKEN_SORT_KERNELS_H_

#include <cstdint>

namespace deweather::cuda {

constexpr int kSortThreads = 256;  // a block; more experts than threads cannot be sorted
constexpr int kSortChunk = 1024;   // entries of a block

struct SortShape {
  int64_t entries;  // R = N K
  int64_t kept;     // K
  int experts;      // E <= kSortThreads
  int chunks;       // ceil(R / kSortChunk)
};

// This block's entries of kept [R] into shared memory; their number.
__device__ inline int LoadChunk(const int64_t* kept, const SortShape& shape, uint16_t* chunk) {
  const int64_t first = int64_t{blockIdx.x} * kSortChunk;
  const int64_t left = shape.entries - first;
  const int count = left < kSortChunk ? static_cast<int>(left) : kSortChunk;
  for (int i = threadIdx.x; i < count; i += kSortThreads) {
    chunk[i] = static_cast<uint16_t>(kept[first + i]);
  }
  __syncthreads();
  return count;
}

// counts[chunk,e]: entries of the chunk that keep e. One block per chunk.
__global__ void CountKernel(const int64_t* kept, SortShape shape, int32_t* counts) {
  __shared__ uint16_t chunk[kSortChunk];
  const int count = LoadChunk(kept, shape, chunk);
  const int e = threadIdx.x;
  if (e >= shape.experts) return;
  int32_t found = 0;
  for (int i = 0; i < count; ++i) found += chunk[i] == e;
  counts[int64_t{blockIdx.x} * shape.experts + e] = found;
}

// counts[chunk,e] -> before[chunk,e]: entries of e in earlier chunks; end[e]: the row after e's last.
// One block.
__global__ void OffsetKernel(const int32_t* __restrict__ counts, SortShape shape,
                             int32_t* __restrict__ before, int32_t* __restrict__ end) {
  __shared__ int32_t totals[kSortThreads];
  const int e = threadIdx.x;
  int32_t total = 0;
  if (e < shape.experts) {
    for (int chunk = 0; chunk < shape.chunks; ++chunk) {
      before[int64_t{chunk} * shape.experts + e] = total;
      total += counts[int64_t{chunk} * shape.experts + e];
    }
  }
  totals[e] = total;
  __syncthreads();
  if (e >= shape.experts) return;
  int32_t last = 0;
  for (int i = 0; i <= e; ++i) last += totals[i];
  end[e] = last;
}

// source, token [R] and slot [R], as TokenOrder has them. One block per chunk.
__global__ void PlaceKernel(const int64_t* kept, const int32_t* before, const int32_t* end,
                            SortShape shape, int64_t* source, int64_t* token, int64_t* slot) {
  __shared__ uint16_t chunk[kSortChunk];
  const int count = LoadChunk(kept, shape, chunk);
  const int e = threadIdx.x;
  if (e >= shape.experts) return;
  const int32_t begin = e == 0 ? 0 : end[e - 1];
  int64_t row = begin + before[int64_t{blockIdx.x} * shape.experts + e];
  for (int i = 0; i < count; ++i) {
    if (chunk[i] != e) continue;
    const int64_t entry = int64_t{blockIdx.x} * kSortChunk + i;
    source[row] = entry;
    token[row] = entry / shape.kept;
    slot[entry] = row;
    ++row;
  }
}

}  // namespace deweather::cuda

#endif  // DEWEATHER_MODEL_KERNELS_TOKEN_SORT_KERNELS_H_
