#include "model/layers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>

#include "model/kernels/gpu_layers.h"

namespace deweather {
namespace {

at::Tensor ApplyPacked(const PackedConv3x3& conv, const at::Tensor& x, ConvEnd end) {
  const at::Tensor dense = x.contiguous(at::MemoryFormat::ChannelsLast);
  at::Tensor y = at::empty({x.size(0), conv.out, x.size(2), x.size(3)},
                           x.options().memory_format(at::MemoryFormat::ChannelsLast));
  Conv3x3(conv, dense, end, y);
  return y;
}

}  // namespace

at::Tensor Apply(const Linear& linear, const at::Tensor& x) {
  return at::linear(x, linear.weight, linear.bias);
}

at::Tensor Apply(const Norm& norm, const at::Tensor& x) {
  return at::layer_norm(x, {x.size(-1)}, norm.weight, norm.bias, 1e-5);
}

at::Tensor Apply(const Conv& conv, const at::Tensor& x) {
  if (conv.packed.defined()) return ApplyPacked(conv.packed, x, ConvEnd::kNone);
  return at::conv2d(x, conv.weight, conv.bias, /*stride=*/1, /*padding=*/1);
}

at::Tensor Apply(const ResBlock& block, at::Tensor x) {
  if (block.conv0.packed.defined()) {
    x = x.contiguous(at::MemoryFormat::ChannelsLast);
    Conv3x3(block.conv1.packed, ApplyPacked(block.conv0.packed, x, ConvEnd::kRelu), ConvEnd::kAdd,
            x);
    return x;
  }
  if (HasGpuResBlock(x)) {
    return GpuResBlock(
        x, {block.conv0.weight, block.conv0.bias, block.conv1.weight, block.conv1.bias});
  }
  at::Tensor inner = Apply(block.conv0, x);
  at::relu_(inner);  // in place: a fresh picture costs as much as the sum
  return Apply(block.conv1, inner).add_(x);
}

void Pack(Conv& conv) {
  if (HasCpuKernelsFor(conv.weight)) conv.packed = PackConv3x3(conv.weight, conv.bias);
}

void Pack(ResBlock& block) {
  Pack(block.conv0);
  Pack(block.conv1);
}

}  // namespace deweather
