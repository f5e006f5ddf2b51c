#include "model/layers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>

namespace deweather {

at::Tensor Apply(const Linear& linear, const at::Tensor& x) {
  return at::linear(x, linear.weight, linear.bias);
}

at::Tensor Apply(const Norm& norm, const at::Tensor& x) {
  return at::layer_norm(x, {x.size(-1)}, norm.weight, norm.bias, 1e-5);
}

at::Tensor Apply(const Conv& conv, const at::Tensor& x) {
  return at::conv2d(x, conv.weight, conv.bias, /*stride=*/1, /*padding=*/1);
}

at::Tensor Apply(const ResBlock& block, const at::Tensor& x) {
  at::Tensor inner = Apply(block.conv0, x);
  at::relu_(inner);  // in place: a fresh picture costs as much as the sum
  return Apply(block.conv1, inner).add_(x);
}

}  // namespace deweather
