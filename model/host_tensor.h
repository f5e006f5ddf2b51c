// Tensors on the CPU that a GPU copies to or from.

#ifndef DEWEATHER_MODEL_HOST_TENSOR_H_
#define DEWEATHER_MODEL_HOST_TENSOR_H_

#include <ATen/core/Tensor.h>

#include "model/restorer.h"

namespace deweather {

// A tensor with nothing in it yet. `pinned`: in memory that a GPU reaches by itself, so that copies run at the
// bus's speed and their caller does not wait; in ordinary memory if none can be had. Torch keeps what was pinned
// and gives it again: after the first of a size nothing is allocated. Throws c10::Error out of memory.
at::Tensor EmptyOnHost(at::IntArrayRef sizes, at::ScalarType type, bool pinned);

// Everything in tensors of its own, contiguous, on the CPU. Copies from a GPU are all begun, and then waited for
// once. Throws c10::Error.
Restored CopyToHost(const Restored& restored);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_HOST_TENSOR_H_
