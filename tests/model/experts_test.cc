// Experts against their formulas, written out token by token.

#include "model/experts.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/network.h"
#include "tests/model/tiny.h"

namespace deweather {
namespace {

at::Tensor Tokens(int64_t count, int64_t width) {
  at::Generator generator = at::detail::createCPUGenerator(7);
  return at::empty({count, width}).uniform_(-1, 1, generator);
}

double MaxDifference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

// Eq. 4-6 for one token, expert by expert, over its kept ones.
at::Tensor FmeOfToken(const ModelConfig& config, const ExpertLayer& layer, const at::Tensor& x,
                      const at::Tensor& kept, const at::Tensor& weights) {
  const at::Tensor z = Apply(layer.norm, x);
  const at::Tensor s =
      config.stem == Stem::kNone ? z : at::gelu(Apply(layer.stem_a, z)) * Apply(layer.stem_b, z);
  const bool first_is_gelu = config.first_expert == FirstExpert::kGelu;
  at::Tensor mixed = at::zeros_like(s);
  for (int64_t k = 0; k < kept.size(0); ++k) {
    const int64_t expert = kept[k].item<int64_t>() - (first_is_gelu ? 1 : 0);
    if (expert < 0) {
      mixed += weights[k] * at::gelu(s);
      continue;
    }
    const at::Tensor both = Apply(
        Linear{layer.modulate.weight[expert], layer.modulate.bias[expert]}, s);  // gamma | beta
    const int64_t width = s.size(0);
    mixed += weights[k] * (both.narrow(0, 0, width) * s + both.narrow(0, width, width));
  }
  return Apply(layer.ffn.down, at::gelu(Apply(layer.ffn.up, mixed)));
}

struct Variant {
  Stem stem;
  FirstExpert first;
  Gate gate;
};

class FmeVariants : public testing::TestWithParam<Variant> {};
INSTANTIATE_TEST_SUITE_P(ExpertsTest, FmeVariants,
                         testing::Values(Variant{Stem::kStar, FirstExpert::kModulate,
                                                 Gate::kReleased},
                                         Variant{Stem::kStar, FirstExpert::kGelu, Gate::kReleased},
                                         Variant{Stem::kNone, FirstExpert::kModulate, Gate::kPaper},
                                         Variant{Stem::kNone, FirstExpert::kGelu, Gate::kPaper}));

TEST_P(FmeVariants, EqualTheFormulaTokenByToken) {
  ModelConfig config = TinyConfig();
  config.stem = GetParam().stem;
  config.first_expert = GetParam().first;
  config.gate = GetParam().gate;
  const Network network = BindNetwork(config, InitialParameters(config, 2));
  const ExpertLayer& layer = network.blocks[0].experts;
  const at::Tensor x = Tokens(40, config.embed_dim);
  const Gates gates = Route(config, layer.router, x, 0);
  std::vector<at::Tensor> expected;
  for (int64_t n = 0; n < x.size(0); ++n) {
    expected.push_back(FmeOfToken(config, layer, x[n], gates.kept[n], gates.weights[n]));
  }
  // The differentiable way and the fused kernel.
  EXPECT_LE(MaxDifference(ApplyExperts(config, layer, x, gates), at::stack(expected)), 1e-5);
  const at::NoGradGuard no_grad;
  EXPECT_LE(MaxDifference(ApplyExperts(config, layer, x, gates), at::stack(expected)), 1e-5);
}

// An expert that keeps no token costs nothing and must not be needed: its weights may be anything.
TEST(ExpertsTest, ExpertsThatAreNotKeptAreNotComputed) {
  for (const ExpertKind kind : {ExpertKind::kFme, ExpertKind::kFfn}) {
    const ModelConfig config = TinyConfig(kind);
    Parameters parameters = InitialParameters(config, 2);
    const at::Tensor x = Tokens(10, config.embed_dim);
    // A bias that no logit can beat keeps experts 1 and 2 for every token.
    parameters["blocks.0.router.bias"].fill_(0);
    parameters["blocks.0.router.bias"].narrow(0, 1, 2).fill_(100);
    for (auto& [name, tensor] : parameters) {
      if (name.find("blocks.0.experts.") == std::string::npos) continue;
      tensor[0].fill_(std::nanf(""));
      tensor[3].fill_(std::nanf(""));
    }
    const Network network = BindNetwork(config, parameters);
    const ExpertLayer& layer = network.blocks[0].experts;
    const Gates gates = Route(config, layer.router, x, 0);
    EXPECT_TRUE(ApplyExperts(config, layer, x, gates).isfinite().all().item<bool>());
  }
}

// Every parameter that takes part gets a gradient, and it is the slope of the loss.
TEST(ExpertsTest, GradientEqualsFiniteDifferences) {
  for (const ExpertKind kind : {ExpertKind::kDense, ExpertKind::kFfn, ExpertKind::kFme}) {
    const ModelConfig config = TinyConfig(kind);
    Parameters parameters = InitialParameters(config, 2);
    for (auto& [name, tensor] : parameters) tensor = tensor.to(at::kDouble).requires_grad_();
    const at::Tensor x = Tokens(12, config.embed_dim).to(at::kDouble);
    const auto loss = [&] {
      const Network network = BindNetwork(config, parameters);
      const ExpertLayer& layer = network.blocks[0].experts;
      Gates gates;
      if (config.routed()) {
        const Linear router{layer.router.weight.to(at::kFloat), layer.router.bias.to(at::kFloat)};
        gates = Route(config, router, x, 0);
      }
      return ApplyExperts(config, layer, x, gates).square().sum();
    };
    loss().backward();
    const std::string name = kind == ExpertKind::kFfn   ? "blocks.0.experts.up.weight"
                             : kind == ExpertKind::kFme ? "blocks.0.experts.modulate.weight"
                                                        : "blocks.0.ffn.up.weight";
    at::Tensor& weight = parameters.at(name);
    const at::Tensor slope = weight.grad().flatten();
    const int64_t at = slope.abs().argmax().item<int64_t>();
    const auto loss_at = [&](double shift) {
      const at::NoGradGuard no_grad;
      weight.flatten()[at] += shift;
      // The differentiable path in both: `weight` is a leaf, gradients are not recorded.
      const double value = loss().item<double>();
      weight.flatten()[at] -= shift;
      return value;
    };
    const double numeric = (loss_at(1e-3) - loss_at(-1e-3)) / 2e-3;
    EXPECT_NEAR(slope[at].item<double>(), numeric, 1e-3 * std::abs(numeric)) << name;
  }
}

}  // namespace
}  // namespace deweather
