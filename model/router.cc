#include "model/router.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <limits>
#include <vector>

#include "model/kernels/dropout.h"
#include "model/kernels/gpu_layers.h"
#include "model/kernels/top_k.h"

namespace deweather {
namespace {

// A variance counts as 0 under this: f32 holds the squares of 1/sigma^2, and of its slope, down to here.
constexpr double kLeastVariance = 1e-16;
// And where sigma is fewer than so many last bits of mu: equal passes, rounded, differ by as much.
constexpr double kRoundingBits = 4;
// Of a norm that is more than what rounding leaves of r - mu = 0.
constexpr double kLeastNormSquared = 1e-30;
constexpr double kConfidenceEpsilon = 1e-3;

// W x + b with each picture's task's W and b: [N,E]. All T tasks' logits are computed and one taken: a
// row's sum then depends on no other row, and nothing waits for a device to say who has which task.
at::Tensor Logits(const Linear& router, const at::Tensor& x, const at::Tensor& tasks) {
  const at::Tensor linear = router.packed.defined() ? Multiply(router.packed, x)
                                                    : at::linear(x, router.weight.flatten(0, -2),
                                                                 router.bias.flatten());  // [N,T E]
  if (router.weight.dim() == 2) return linear;
  TORCH_CHECK(tasks.defined(), "the network has a gate for each task, and no tasks are given");
  const int64_t experts = router.weight.size(1);
  const at::Tensor all = linear.view({tasks.size(0), -1, router.weight.size(0), experts});
  const at::Tensor index =
      tasks.view({-1, 1, 1, 1}).expand({-1, all.size(1), 1, experts});  // [B,n,1,E]
  return all.gather(2, index).view({x.size(0), experts});
}

Gates Keep(const ModelConfig& config, const at::Tensor& logits) {
  Gates gates;
  gates.logits = logits;
  if (config.gate == Gate::kPaper) {
    const Largest largest = KeepLargest(at::softmax(logits, -1), config.kept);  // of [N,E]
    gates.weights = largest.values;
    gates.kept = largest.index;
    return gates;
  }
  const Largest largest = KeepLargest(logits, config.kept);
  gates.kept = largest.index;
  gates.weights = at::softmax(largest.values, -1);
  return gates;
}

// Logits and gates in one kernel.
Gates KeepOnGpu(const ModelConfig& config, const Linear& router, const at::Tensor& x) {
  const GpuGates gates =
      GpuRoute(x, router.weight, router.bias, config.kept, config.gate == Gate::kPaper);
  return {.logits = gates.logits, .kept = gates.kept, .weights = gates.weights};
}

struct Moments {
  at::Tensor mean, variance;  // [N,E]
};

// Over what the M passes differ from the first by: passes that are equal have a variance of 0 to the bit.
Moments MomentsOf(const std::vector<at::Tensor>& passes) {
  const double share = 1.0 / static_cast<double>(passes.size());
  at::Tensor mean = passes.front();
  for (const at::Tensor& pass : passes) mean = mean + share * (pass - passes.front());
  at::Tensor variance = at::zeros_like(mean);
  for (const at::Tensor& pass : passes) variance = variance + share * (pass - mean).square();
  return {mean, variance};
}

Moments RunPasses(const ModelConfig& config, const Linear& router, const at::Tensor& x, int layer,
                  const PassOptions& options) {
  const int64_t tokens = x.size(0) / options.keys.size(0);
  std::vector<at::Tensor> passes;  // M of [N,E]
  for (int pass = 0; pass < config.router_passes; ++pass) {
    const at::Tensor mask =
        DropoutMask(options.keys, tokens, x.size(1), config.router_dropout, layer, pass);
    passes.push_back(at::softmax(Logits(router, x * mask.flatten(0, 1), options.tasks), -1));
  }
  return MomentsOf(passes);
}

// Eq. 7 as printed. Its weights have both signs and are near 0 in the mean, for r scatters about mu; an
// expert weighs much for being seldom off its mean, not for being wanted; alone (K = 1) it weighs +1 or
// -1. The authors' release computes it without dropout, where every variance is 0.
at::Tensor PaperWeights(const Gates& gates, const Moments& moments) {
  const at::Tensor r = at::softmax(gates.logits, -1).gather(1, gates.kept);  // [N,K]
  const at::Tensor mean = moments.mean.gather(1, gates.kept);
  const at::Tensor variance = moments.variance.gather(1, gates.kept);
  // What is divided by or rooted is replaced before, not after: a slope of infinity times 0 is no number.
  const double epsilon = r.scalar_type() == at::kDouble ? std::numeric_limits<double>::epsilon()
                                                        : std::numeric_limits<float>::epsilon();
  const at::Tensor rounding = (kRoundingBits * epsilon * mean).square();
  const at::Tensor varies = (variance > rounding) & (variance > kLeastVariance);
  const at::Tensor divisor = at::where(varies, variance, at::ones_like(variance));
  const at::Tensor mixed = at::where(varies, (r - mean) / divisor, at::zeros_like(r));
  const at::Tensor squared = mixed.square().sum(1, /*keepdim=*/true);  // [N,1]
  const at::Tensor normed = squared > kLeastNormSquared;
  const at::Tensor norm = at::where(normed, squared, at::ones_like(squared)).sqrt();
  return at::where(normed, mixed / norm, gates.weights);
}

void KeepConfident(const Moments& moments, Gates& gates) {
  const at::Tensor& variance = moments.variance;  // [N,E]
  const at::Tensor varies = variance > 0;
  const at::Tensor root = at::where(varies, variance, at::ones_like(variance)).sqrt();
  const at::Tensor sigma = at::where(varies, root, at::zeros_like(root));
  const Largest largest =
      KeepLargest(moments.mean / (sigma + kConfidenceEpsilon), gates.kept.size(1));  // [N,K]
  gates.kept = largest.index;
  gates.weights = largest.values / largest.values.sum(1, /*keepdim=*/true);
}

void Calibrate(Calibration calibration, const Moments& moments, Gates& gates) {
  switch (calibration) {
    case Calibration::kNone:
      return;
    case Calibration::kPaper:
      gates.weights = PaperWeights(gates, moments);
      return;
    case Calibration::kConfidence:
      KeepConfident(moments, gates);
      return;
  }
}

}  // namespace

// at::topk took 1 to 5 ms a layer of 8 tiles.
Largest KeepLargest(const at::Tensor& values, int64_t kept) {
  const bool plain = values.is_cpu() && values.scalar_type() == at::kFloat;
  if (plain && !values.requires_grad()) return TopK(values, kept);
  auto [largest, index] = at::topk(values, kept, -1);
  return {largest, index};
}

Gates Route(const ModelConfig& config, const Linear& router, const at::Tensor& x, int layer,
            const PassOptions& options) {
  const at::ScalarType dtype = router.weight.scalar_type();
  Gates gates = HasGpuRoute(x, router.weight, config.kept)
                    ? KeepOnGpu(config, router, x)
                    : Keep(config, Logits(router, x.to(dtype), options.tasks));
  if (!options.keys.defined()) return gates;
  const Moments moments = RunPasses(config, router, x.to(dtype), layer, options);
  gates.variance = moments.variance;
  if (options.calibrate) Calibrate(config.calibration, moments, gates);
  return gates;
}

}  // namespace deweather
