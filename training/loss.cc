#include "training/loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Reduction.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/fft_rfft2.h>
#include <ATen/ops/l1_loss.h>
#include <ATen/ops/smooth_l1_loss.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/view_as_real.h>
#include <ATen/ops/zeros.h>

namespace deweather {

namespace {

// Mean over all but the first dimension.
at::Tensor MeanOfEach(const at::Tensor& values) { return values.flatten(1).mean(1); }

}  // namespace

at::Tensor TaskLoss(LossKind kind, const at::Tensor& restored, const at::Tensor& truth) {
  switch (kind) {
    case LossKind::kSmoothL1:
      return MeanOfEach(at::smooth_l1_loss(restored, truth, at::Reduction::None));
    case LossKind::kL1:
      return MeanOfEach(at::l1_loss(restored, truth, at::Reduction::None));
    case LossKind::kCharbonnier:
      return MeanOfEach(((restored - truth).square() + 1e-6).sqrt());
    case LossKind::kLogMse:
      return (MeanOfEach((restored - truth).square()) + 2e-3).log();
  }
  return {};
}

at::Tensor FrequencyLoss(const at::Tensor& restored, const at::Tensor& truth) {
  const at::Tensor spectrum =
      at::fft_rfft2(restored - truth, /*s=*/at::OptionalIntArrayRef(), {-2, -1}, "ortho");
  return MeanOfEach(at::view_as_real(spectrum).abs()) * 2;  // the real and the imaginary part
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
