#include "training/loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/l1_loss.h>
#include <ATen/ops/smooth_l1_loss.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

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

at::Tensor BalanceLoss(const std::vector<Gates>& gates) {
  at::Tensor sum = at::zeros({}, at::kFloat);
  for (const Gates& layer : gates) {
    const int64_t experts = layer.logits.size(1);
    const at::Tensor share = at::bincount(layer.kept.flatten(), {}, experts).to(at::kFloat) /
                             static_cast<double>(layer.kept.numel());      // f [E]
    const at::Tensor probability = at::softmax(layer.logits, -1).mean(0);  // P [E]
    sum = sum + static_cast<double>(experts) * (share * probability).sum();
  }
  return gates.empty() ? sum : sum / static_cast<double>(gates.size());
}

}  // namespace deweather
