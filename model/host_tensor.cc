#include "model/host_tensor.h"

#include <ATen/ops/empty.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace deweather {
namespace {

// Returns when what this thread has given the device's current stream is done.
void WaitForStream(at::Device device) {
  c10::impl::VirtualGuardImpl(device.type()).getStream(device).synchronize();
}

}  // namespace

at::Tensor EmptyOnHost(at::IntArrayRef sizes, at::ScalarType type, bool pinned) {
  if (pinned) {
    try {
      return at::empty(sizes, at::TensorOptions(type).pinned_memory(true));
    } catch (const c10::Error&) {
      // Copies are slower then, and right all the same.
    }
  }
  return at::empty(sizes, type);
}

Restored CopyToHost(const Restored& restored) {
  Restored copy = restored;
  for (at::Tensor* const tensor : {&copy.tiles, &copy.tokens, &copy.gate, &copy.entropy,
                                   &copy.expert_map, &copy.uncertainty}) {
    if (!tensor->defined()) continue;
    const bool pinned = tensor->is_cuda();
    at::Tensor host = EmptyOnHost(tensor->sizes(), tensor->scalar_type(), pinned);
    *tensor = host.copy_(*tensor, /*non_blocking=*/pinned);
  }
  if (restored.tiles.is_cuda()) WaitForStream(restored.tiles.device());
  return copy;
}

}  // namespace deweather
