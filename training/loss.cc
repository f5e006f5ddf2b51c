#include "training/loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/l1_loss.h>
#include <ATen/ops/smooth_l1_loss.h>

namespace deweather {

at::Tensor TaskLoss(LossKind kind, const at::Tensor& restored, const at::Tensor& truth) {
  switch (kind) {
    case LossKind::kSmoothL1:
      return at::smooth_l1_loss(restored, truth);
    case LossKind::kL1:
      return at::l1_loss(restored, truth);
    case LossKind::kCharbonnier:
      return ((restored - truth).square() + 1e-6).sqrt().mean();
  }
  return {};
}

}  // namespace deweather
