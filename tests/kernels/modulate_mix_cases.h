// Random problems for the modulate-and-mix kernels, over shapes, dtypes, K and E.

#ifndef DEWEATHER_TESTS_KERNELS_MODULATE_MIX_CASES_H_
#define DEWEATHER_TESTS_KERNELS_MODULATE_MIX_CASES_H_

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/OpMathType.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/softmax.h>

#include <ostream>
#include <tuple>

#include "model/kernels/token_sort.h"

namespace deweather {

struct MixCase {
  int64_t tokens, width, kept, experts;
  at::ScalarType dtype;
};

inline void PrintTo(const MixCase& mix, std::ostream* out) {
  *out << "N" << mix.tokens << " D" << mix.width << " K" << mix.kept << " E" << mix.experts << " "
       << c10::toString(mix.dtype);
}

inline const MixCase kMixCases[] = {
    {1, 1, 1, 1, at::kFloat},      {5, 7, 2, 3, at::kFloat},         {64, 32, 2, 4, at::kFloat},
    {257, 192, 4, 16, at::kFloat}, {300, 384, 4, 128, at::kFloat},   {1, 1, 1, 1, at::kBFloat16},
    {65, 33, 3, 5, at::kBFloat16}, {257, 192, 4, 16, at::kBFloat16}, {0, 16, 2, 4, at::kFloat}};

inline const MixCase kMixGradientCases[] = {{1, 1, 1, 1, at::kDouble},
                                            {5, 7, 1, 3, at::kDouble},
                                            {5, 7, 3, 3, at::kDouble},
                                            {70, 9, 2, 4, at::kDouble},
                                            {130, 17, 4, 16, at::kDouble}};

struct MixProblem {
  at::Tensor s, modulation, weights;
  TokenOrder order;
};

inline MixProblem MakeProblem(const MixCase& mix) {
  at::Generator generator = at::detail::createCPUGenerator(17);
  const auto uniform = [&](at::IntArrayRef shape) {
    return at::empty(shape).uniform_(-1, 1, generator);
  };
  const at::Tensor kept = std::get<1>(uniform({mix.tokens, mix.experts}).topk(mix.kept, 1));
  return {uniform({mix.tokens, mix.width}).to(mix.dtype),
          uniform({mix.tokens * mix.kept, 2 * mix.width}).to(mix.dtype),
          at::softmax(uniform({mix.tokens, mix.kept}), 1).to(at::toOpMathType(mix.dtype)),
          SortTokens(kept, static_cast<int>(mix.experts))};
}

// Sums are taken in f32; the reference rounds its products to bf16 first.
inline double Tolerance(const MixCase& mix) { return mix.dtype == at::kFloat ? 1e-5 : 3e-2; }

}  // namespace deweather

#endif  // DEWEATHER_TESTS_KERNELS_MODULATE_MIX_CASES_H_
