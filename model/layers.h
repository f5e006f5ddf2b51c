// The weights of the elementary layers, and the layers as functions of them.
// Plain tensors: the same structs hold training's leaves, their bf16 casts and a server's copy.

#ifndef DEWEATHER_MODEL_LAYERS_H_
#define DEWEATHER_MODEL_LAYERS_H_

#include <ATen/core/Tensor.h>

#include "model/kernels/conv3x3.h"
#include "model/kernels/packed_linear.h"

namespace deweather {

struct Linear {
  at::Tensor weight;         // [out,in]
  at::Tensor bias;           // [out], or undefined
  PackedLinear packed = {};  // the same for inference, of routers alone
};

struct Conv {
  at::Tensor weight;          // [out,in,h,w]
  at::Tensor bias;            // [out]
  PackedConv3x3 packed = {};  // the same for inference, once Pack() was called; 3x3 only
};

struct Norm {
  at::Tensor weight;  // [D]
  at::Tensor bias;    // [D]
};

struct ResBlock {
  Conv conv0, conv1;
};

at::Tensor Apply(const Linear& linear, const at::Tensor& x);  // [...,in] -> [...,out]
at::Tensor Apply(const Norm& norm, const at::Tensor& x);      // over the last dimension, eps 1e-5
at::Tensor Apply(const Conv& conv, const at::Tensor& x);      // 3x3, stride 1, same size
at::Tensor Apply(const ResBlock& block, at::Tensor x);        // x + conv1(ReLU(conv0(x)))

// Readies a 3x3 convolution for inference where this processor has a kernel for it: Apply then computes
// by that, without gradients, and of a ResBlock in x's own memory.
void Pack(Conv& conv);
void Pack(ResBlock& block);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_LAYERS_H_
