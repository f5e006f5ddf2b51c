// Gradients against central differences, in f64.
//
// Math     slope of f at x along v: (8 (f(x+hv) - f(x-hv)) - (f(x+2hv) - f(x-2hv))) / 12 h, error O(h^4)
// A step must not carry a ReLU, an |e| or a kept expert over its edge, where f has no slope or jumps.
// Steps shrink until one agrees: of a true gradient a short enough one does, of a wrong one none.

#ifndef DEWEATHER_TESTS_KERNELS_NUMERIC_GRADIENT_H_
#define DEWEATHER_TESTS_KERNELS_NUMERIC_GRADIENT_H_

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

namespace deweather {

inline at::Tensor UniformLike(const at::Tensor& tensor, at::Generator& generator) {
  return at::empty_like(tensor, at::MemoryFormat::Contiguous).uniform_(-1, 1, generator);
}

// f's slope; `point` is what f reads, and unchanged afterwards. f runs as in training, recording.
inline double NumericSlope(const std::function<at::Tensor()>& f, const at::Tensor& point,
                           const at::Tensor& direction, double step) {
  const at::Tensor saved = point.detach().clone();
  const auto at = [&](double shift) {
    point.detach().copy_(saved + shift * direction);
    return f().item<double>();
  };
  const double slope = (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step);
  point.detach().copy_(saved);
  return slope;
}

// The least error over the steps, as a share of the slope or, where that is small, of `floor`.
inline double SlopeError(const std::function<at::Tensor()>& f, const at::Tensor& point,
                         const at::Tensor& direction, double analytic, double floor,
                         double tolerance) {
  double least = HUGE_VAL;
  for (double step = 1e-3; step > 1e-6 && least > tolerance; step /= 8) {
    const double numeric = NumericSlope(f, point, direction, step);
    const double scale = std::max({std::abs(analytic), std::abs(numeric), floor});
    least = std::min(least, scale > 0 ? std::abs(analytic - numeric) / scale : 0);
  }
  return least;
}

// Of the scalar f, which reads the f64 leaf `point` and whose backward pass has run: the gradient
// along a random direction and at `entries` random entries. An entry under a thousandth of the
// greatest is held to that.
inline void ExpectGradient(const std::function<at::Tensor()>& f, const at::Tensor& point,
                           const std::string& name, at::Generator& generator, int entries = 3) {
  constexpr double kTolerance = 1e-6;
  ASSERT_EQ(point.scalar_type(), at::kDouble) << name;
  ASSERT_TRUE(point.grad().defined()) << name << " has no gradient";
  const at::Tensor gradient = point.grad();
  const double floor = 1e-3 * gradient.abs().max().item<double>();
  ASSERT_GT(floor, 0) << name << ": the gradient is zero";

  const at::Tensor random = UniformLike(point, generator);
  const double along = (gradient * random).sum().item<double>();
  EXPECT_LE(SlopeError(f, point, random, along, floor, kTolerance), kTolerance) << name;
  for (int i = 0; i < entries; ++i) {
    at::Tensor one = at::zeros_like(random);
    const int64_t entry = static_cast<int64_t>(generator.get<at::CPUGeneratorImpl>()->random() %
                                               static_cast<uint64_t>(one.numel()));
    one.view({-1})[entry] = 1;
    const double analytic = (gradient * one).sum().item<double>();
    EXPECT_LE(SlopeError(f, point, one, analytic, floor, kTolerance), kTolerance)
        << name << ", entry " << entry;
  }
}

}  // namespace deweather

#endif  // DEWEATHER_TESTS_KERNELS_NUMERIC_GRADIENT_H_
