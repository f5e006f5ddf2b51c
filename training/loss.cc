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

#include <cstddef>
#include <functional>

namespace deweather {

namespace {

// Mean over all but the first dimension.
at::Tensor MeanOfEach(const at::Tensor& values) { return values.flatten(1).mean(1); }

at::Tensor MeanOverLayers(const std::vector<Gates>& gates,
                          const std::function<at::Tensor(size_t layer)>& of_layer) {
  at::Tensor sum = at::zeros({}, at::kFloat);
  for (size_t layer = 0; layer < gates.size(); ++layer) sum = sum + of_layer(layer);
  return gates.empty() ? sum : sum / static_cast<double>(gates.size());
}

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

std::vector<at::Tensor> KeptCounts(const std::vector<Gates>& gates) {
  std::vector<at::Tensor> counts;
  for (const Gates& layer : gates) {
    counts.push_back(
        at::bincount(layer.kept.flatten(), {}, layer.logits.size(1)).to(at::kFloat));  // [E]
  }
  return counts;
}

at::Tensor BalanceLoss(BalanceKind kind, const std::vector<Gates>& gates,
                       const std::vector<at::Tensor>& counts) {
  const auto of_layer = [&](size_t layer) {
    const at::Tensor probability = at::softmax(gates[layer].logits, -1);  // r [N,E]
    const auto experts = static_cast<double>(probability.size(1));
    if (kind == BalanceKind::kPaper) {
      return experts * probability.gather(1, gates[layer].kept).sum(1).mean();
    }
    const at::Tensor share = counts[layer] / counts[layer].sum();  // f [E]
    return experts * (share * probability.mean(0)).sum();
  };
  return MeanOverLayers(gates, of_layer);
}

at::Tensor UncertaintyLoss(const std::vector<Gates>& gates) {
  const auto of_layer = [&](size_t layer) {
    const at::Tensor& variance = gates[layer].variance;  // [N,E]
    if (!variance.defined()) return at::zeros({}, gates[layer].logits.options());
    const at::Tensor kept = variance.gather(1, gates[layer].kept);  // [N,K]
    return static_cast<double>(variance.size(1)) * kept.sum(1).mean();
  };
  return MeanOverLayers(gates, of_layer);
}

}  // namespace deweather
