#include "training/learn.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <cmath>

#include "model/network.h"
#include "training/loss.h"

namespace deweather {
namespace {

// The vector's own memory.
at::Tensor Pictures(const std::vector<float>& values, const TrainOptions& options) {
  const int64_t side = options.data.crop_px;
  return at::from_blob(const_cast<float*>(values.data()), {options.batch, 3, side, side},
                       at::kFloat);
}

at::Tensor Weights(const Batch& batch) {
  const at::Tensor weights = at::empty({std::ssize(batch.notes)}, at::kFloat);
  float* value = weights.mutable_data_ptr<float>();
  for (const CropNote& note : batch.notes) *value++ = static_cast<float>(note.loss_weight);
  return weights;
}

std::vector<double> ToVector(const at::Tensor& values) {
  const at::Tensor exact = values.detach().to(at::kDouble).contiguous();
  const double* begin = exact.const_data_ptr<double>();
  return {begin, begin + exact.numel()};
}

}  // namespace

PassLoss LearnFrom(const TrainOptions& options, const Batch& batch, TrainState& state) {
  const at::ScalarType dtype =
      options.precision == TrainPrecision::kBf16 ? at::kBFloat16 : at::kFloat;
  const Network network = BindNetwork(options.model, CastParameters(state.weights, dtype));
  const NetworkOutput output = Forward(network, Pictures(batch.input, options));
  const at::Tensor truth = Pictures(batch.truth, options);
  at::Tensor losses = TaskLoss(options.loss, output.pictures, truth);  // [B]
  if (options.frequency_weight > 0) {
    losses = losses + options.frequency_weight * FrequencyLoss(output.pictures, truth);
  }
  const at::Tensor weighted = (Weights(batch) * losses).mean();
  const at::Tensor balance = BalanceLoss(options.balance, output.gates, KeptCounts(output.gates));
  const at::Tensor total = weighted + options.balance_weight * balance;
  PassLoss loss{total.item<double>(), weighted.item<double>(), balance.item<double>(),
                ToVector(losses)};
  if (std::isfinite(loss.total)) (total / options.accumulate).backward();
  return loss;
}

}  // namespace deweather
