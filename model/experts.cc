#include "model/experts.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/split_with_sizes.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <ATen/record_function.h>

#include <vector>

#include "model/kernels/gpu_layers.h"
#include "model/kernels/modulate_mix.h"
#include "model/kernels/token_sort.h"

namespace deweather {
namespace {

at::Tensor Apply(const FeedForward& ffn, const at::Tensor& x) {
  RECORD_USER_SCOPE("ffn");
  return deweather::Apply(ffn.down, at::gelu(deweather::Apply(ffn.up, x)));
}

// FFN(LN(x))
at::Tensor ApplyDense(const ExpertLayer& layer, const at::Tensor& x) {
  return Apply(layer.ffn, Apply(layer.norm, x));
}

// By expert of the block, of which there are as many as logits.
TokenOrder Sort(const Gates& gates) {
  return SortTokens(gates.kept, static_cast<int>(gates.logits.size(1)));
}

// Fewer rows than this take other kernels of the BLAS, which add up in another order.
constexpr int64_t kLeastRows = 32;

// A row's result does not depend on how many others come with it: what a tile becomes must not depend
// on its company in the batch.
at::Tensor LinearOfRows(const at::Tensor& rows, const at::Tensor& weight, const at::Tensor& bias) {
  const int64_t count = rows.size(0);
  if (count >= kLeastRows) return at::linear(rows, weight, bias);
  const at::Tensor padding = at::zeros({kLeastRows - count, rows.size(1)}, rows.options());
  return at::linear(at::cat({rows, padding}), weight, bias).narrow(0, 0, count);
}

// Each expert's linear layer on its own block of rows: [R,in] -> [R,out]. `first` is the expert that
// weight[0] belongs to; rows of experts before it are left out.
// Stack and rows are taken apart at once: selecting one expert at a time would make the backward pass
// as large as all of them for every expert.
at::Tensor GroupedLinear(const StackedLinear& layer, const at::Tensor& rows,
                         const std::vector<int64_t>& begin, int first = 0) {
  const std::vector<at::Tensor> weights = layer.weight.unbind(0);
  const std::vector<at::Tensor> biases = layer.bias.unbind(0);
  std::vector<int64_t> counts;
  for (size_t e = 0; e + 1 < begin.size(); ++e) counts.push_back(begin[e + 1] - begin[e]);
  const std::vector<at::Tensor> groups = at::split_with_sizes(rows, counts);
  std::vector<at::Tensor> blocks;
  for (size_t e = 0; e < weights.size(); ++e) {
    const at::Tensor& group = groups[e + first];
    if (group.size(0) > 0) blocks.push_back(LinearOfRows(group, weights[e], biases[e]));
  }
  if (blocks.empty()) return at::zeros({0, layer.weight.size(1)}, rows.options());
  return at::cat(blocks);
}

// In one product where a GPU has such, else expert by expert.
at::Tensor LinearByExpert(const StackedLinear& layer, const at::Tensor& rows,
                          const TokenOrder& order) {
  if (HasGpuGroupedLinear(rows, layer.weight)) {
    return GpuGroupedLinear(rows, layer.weight, layer.bias, order);
  }
  return GroupedLinear(layer, rows, RowsBegin(order));
}

// s = GELU(A z) * (B z), or z itself.
at::Tensor ApplyStem(const ModelConfig& config, const ExpertLayer& layer, const at::Tensor& z) {
  RECORD_USER_SCOPE("stem");
  if (config.stem == Stem::kNone) return z;
  return at::gelu(Apply(layer.stem_a, z)) * Apply(layer.stem_b, z);
}

// (gamma | beta) of every row, [R,2D].
at::Tensor Modulation(const ModelConfig& config, const ExpertLayer& layer, const at::Tensor& s,
                      const TokenOrder& order) {
  const at::Tensor rows = s.index_select(0, order.token);  // [R,D]
  if (config.first_expert == FirstExpert::kModulate) {
    return LinearByExpert(layer.modulate, rows, order);
  }
  const std::vector<int64_t> begin = RowsBegin(order);
  // The released expert 0 is GELU(s): gamma = 0, beta = GELU(s).
  const at::Tensor first = at::gelu(rows.narrow(0, 0, begin[1]));  // [R_0,D]
  return at::cat({at::cat({at::zeros_like(first), first}, 1),
                  GroupedLinear(layer.modulate, rows, begin, /*first=*/1)});
}

at::Tensor ApplyFme(const ModelConfig& config, const ExpertLayer& layer, const at::Tensor& x,
                    const Gates& gates) {
  const TokenOrder order = Sort(gates);
  const at::Tensor s = ApplyStem(config, layer, Apply(layer.norm, x));  // [N,D]
  const at::Tensor modulation = Modulation(config, layer, s, order);    // [R,2D]
  return Apply(layer.ffn, ModulateAndMix(s, modulation, gates.weights, order));
}

// LN_e(x) of every row: one normalisation, then each expert's own scale and shift.
at::Tensor NormaliseRows(const Norm& norm, const at::Tensor& rows,
                         const at::Tensor& expert_of_row) {
  const at::Tensor unit = at::layer_norm(rows, {rows.size(1)}, {}, {}, 1e-5);
  return unit * norm.weight.index_select(0, expert_of_row) +
         norm.bias.index_select(0, expert_of_row);
}

at::Tensor ApplyFfn(const ExpertLayer& layer, const at::Tensor& x, const Gates& gates) {
  const TokenOrder order = Sort(gates);
  const at::Tensor expert = gates.kept.flatten().index_select(0, order.source);  // [R]
  at::Tensor rows = NormaliseRows(layer.expert_norms, x.index_select(0, order.token), expert);
  rows = at::gelu(LinearByExpert(layer.up, rows, order));                            // [R,4D]
  rows = LinearByExpert(layer.down, rows, order);                                    // [R,D]
  const at::Tensor weights = gates.weights.flatten().index_select(0, order.source);  // [R]
  rows = rows.to(weights.scalar_type()) * weights.unsqueeze(1);
  return at::zeros(x.sizes(), rows.options()).index_add(0, order.token, rows).to(x.scalar_type());
}

}  // namespace

at::Tensor ApplyExperts(const ModelConfig& config, const ExpertLayer& layer, const at::Tensor& x,
                        const Gates& gates) {
  RECORD_USER_SCOPE("experts");
  switch (config.kind) {
    case ExpertKind::kDense:
      return ApplyDense(layer, x);
    case ExpertKind::kFfn:
      return config.residual_ffn ? ApplyDense(layer, x) + ApplyFfn(layer, x, gates)
                                 : ApplyFfn(layer, x, gates);
    case ExpertKind::kFme:
      return ApplyFme(config, layer, x, gates);
  }
  return x;
}

bool WaitsForRows(const ModelConfig& config, const ExpertLayer& layer) {
  // Rows come in the type of the weights.
  const auto waits = [](const StackedLinear& linear) {
    return !HasGpuGroupedLinear(linear.weight, linear.weight);
  };
  switch (config.kind) {
    case ExpertKind::kDense:
      return false;
    case ExpertKind::kFfn:
      return waits(layer.up) || waits(layer.down);
    case ExpertKind::kFme:
      return config.first_expert != FirstExpert::kModulate || waits(layer.modulate);
  }
  return true;
}

}  // namespace deweather
