// A gate's logits, its K largest and their weights, in the dialect of CUDA.
// Each block has kRouteTokens tokens: first each of its warps takes experts, whose rows of W it reads once
// for all of them, then each warp takes a token.

#ifndef DEWEATHER_MODEL_KERNELS_ROUTE_KERNELS_H_
#define DEWEATHER_MODEL_KERNELS_ROUTE_KERNELS_H_

#include <cstdint>

#include "model/kernels/cuda_sum.h"

namespace deweather::cuda {

constexpr int kRouteTokens = 8;  // of a block, and its warps
constexpr int kRouteThreads = kRouteTokens * kLanes;
constexpr int kRouteExperts = 256;  // at most: a lane remembers 8 of them in the bits of a word

struct RouteShape {
  int64_t tokens;  // N
  int64_t width;   // D
  int experts;     // E <= kRouteExperts
  int kept;        // K <= kLanes, K <= E
};

struct Candidate {
  float logit;
  int expert;  // -1: none
};

// Whether a is kept before b: a total order, in which what is no number is first, as at::topk has it, and
// of equals the expert of the lower number.
__device__ inline bool Outranks(Candidate a, Candidate b) {
  if (a.expert < 0 || b.expert < 0) return b.expert < 0 && a.expert >= 0;
  const bool a_is_number = a.logit == a.logit;
  const bool b_is_number = b.logit == b.logit;
  if (a_is_number != b_is_number) return b_is_number;
  if (a_is_number && a.logit != b.logit) return a.logit > b.logit;
  return a.expert < b.expert;
}

// Every lane gets the best of all lanes'.
__device__ inline Candidate WarpBest(Candidate best) {
  for (int step = kLanes / 2; step > 0; step /= 2) {
    const Candidate other = {__shfl_xor_sync(kAllLanes, best.logit, step),
                             __shfl_xor_sync(kAllLanes, best.expert, step)};
    if (Outranks(other, best)) best = other;
  }
  return best;
}

// One warp, one token: the K largest of its E logits, heaviest first, and their softmax, over the kept ones
// or over all.
__device__ inline void KeepLargest(const float* logits, const RouteShape& shape, bool over_all,
                                   int64_t* kept, float* weights) {
  const int lane = threadIdx.x % kLanes;
  unsigned taken = 0;  // bit i: expert lane + i * kLanes
  float largest = 0.0f, total = 0.0f;
  Candidate mine = {0.0f, -1};  // what lane k writes: the k-th
  for (int k = 0; k < shape.kept; ++k) {
    Candidate best = {0.0f, -1};
    for (int i = 0; lane + i * kLanes < shape.experts; ++i) {
      const Candidate next = {logits[lane + i * kLanes], lane + i * kLanes};
      if ((taken >> i & 1) == 0 && Outranks(next, best)) best = next;
    }
    best = WarpBest(best);
    if (best.expert % kLanes == lane) taken |= 1u << best.expert / kLanes;
    if (k == 0) largest = best.logit;
    total += expf(best.logit - largest);
    if (lane == k) mine = best;
  }
  if (over_all) {
    float share = 0.0f;
    for (int e = lane; e < shape.experts; e += kLanes) share += expf(logits[e] - largest);
    total = WarpSum(share);
  }
  if (lane < shape.kept) {
    kept[lane] = mine.expert;
    weights[lane] = expf(mine.logit - largest) / total;
  }
}

// x [N,D], weight [E,D], bias [E] -> all [N,E], kept and weights [N,K].
template <typename T>
__global__ void RouteKernel(const T* x, const float* weight, const float* bias, RouteShape shape,
                            bool over_all, float* all, int64_t* kept, float* weights) {
  __shared__ float logits[kRouteTokens][kRouteExperts];
  const int64_t first = int64_t{blockIdx.x} * kRouteTokens;
  const int64_t left = shape.tokens - first;
  const int count = left < kRouteTokens ? static_cast<int>(left) : kRouteTokens;
  const int lane = threadIdx.x % kLanes;
  const int warp = threadIdx.x / kLanes;
  for (int e = warp; e < shape.experts; e += kRouteTokens) {
    float sum[kRouteTokens] = {};
    for (int64_t d = lane; d < shape.width; d += kLanes) {
      const float w = weight[e * shape.width + d];
      for (int t = 0; t < kRouteTokens; ++t) {
        if (t < count) sum[t] += w * static_cast<float>(x[(first + t) * shape.width + d]);
      }
    }
    for (int t = 0; t < kRouteTokens; ++t) {
      const float logit = WarpSum(sum[t]) + bias[e];
      if (lane == 0) logits[t][e] = logit;
    }
  }
  __syncthreads();
  if (warp >= count) return;
  const int64_t n = first + warp;
  for (int e = lane; e < shape.experts; e += kLanes) all[n * shape.experts + e] = logits[warp][e];
  KeepLargest(logits[warp], shape, over_all, kept + n * shape.kept, weights + n * shape.kept);
}

}  // namespace deweather::cuda

#endif  // DEWEATHER_MODEL_KERNELS_ROUTE_KERNELS_H_
