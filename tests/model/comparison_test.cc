// The paper's comparison networks: each block against its formula, written out token by token and expert by
// expert in f64, from the tensors by their names.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/checkpoint.h"
#include "model/network.h"
#include "tests/model/tiny.h"

namespace deweather {
namespace {

constexpr double kTolerance = 1e-12;
constexpr int64_t kTokens = 12;  // of a picture

struct Comparison {
  std::string name;
  ModelConfig config;
};

void PrintTo(const Comparison& one, std::ostream* out) { *out << one.name; }

Comparison Of(const std::string& name, void (*change)(ModelConfig&)) {
  ModelConfig config = TinyConfig(ExpertKind::kFfn);
  change(config);
  return {name, config};
}

const std::vector<Comparison>& Comparisons() {
  static const std::vector<Comparison> comparisons = {
      Of("moe_vit", [](ModelConfig&) {}),
      Of("mmoe_vit",
         [](ModelConfig& c) {
           c.kept = c.experts;
           c.tasks = {"rain", "drops", "snow"};
         }),
      Of("m3vit",
         [](ModelConfig& c) {
           c.tasks = {"rain", "drops", "snow"};
         }),
      Of("pr_moe",
         [](ModelConfig& c) {
           c.experts_by_block = {2, 4};
           c.residual_ffn = true;
           c.kept = 1;
           c.gate = Gate::kPaper;
         }),
      Of("pyramid_of_two",
         [](ModelConfig& c) {
           c.experts_by_block = {4, 2};
         }),
      Of("residual_of_two", [](ModelConfig& c) { c.residual_ffn = true; })};
  return comparisons;
}

at::Generator Seeded(uint64_t seed) { return at::detail::createCPUGenerator(seed); }

at::Tensor Uniform(at::IntArrayRef shape, at::Generator& generator) {
  return at::empty(shape, at::kDouble).uniform_(-1, 1, generator);
}

// f64; no norm is the identity.
Parameters RandomParameters(const ModelConfig& config) {
  at::Generator generator = Seeded(4);
  Parameters parameters = InitialParameters(config, 3);
  for (auto& [name, tensor] : parameters) {
    tensor = tensor.to(at::kDouble) + 0.2 * Uniform(tensor.sizes(), generator);
  }
  return parameters;
}

double MaxDifference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

// --- the formula, of one token x [D] ---

at::Tensor LayerNorm(const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& x) {
  const at::Tensor centred = x - x.mean();
  return centred / (centred.square().mean() + 1e-5).sqrt() * weight + bias;
}

// FFN(LN(x)); `of` gives the tensors.
at::Tensor FeedForward(const std::function<at::Tensor(const std::string&)>& of,
                       const std::string& norm, const std::string& ffn, const at::Tensor& x) {
  const at::Tensor z = LayerNorm(of(norm + ".weight"), of(norm + ".bias"), x);
  const at::Tensor hidden = at::gelu(of(ffn + ".up.weight").mv(z) + of(ffn + ".up.bias"));
  return of(ffn + ".down.weight").mv(hidden) + of(ffn + ".down.bias");
}

// Of all E experts, 0 where one is not kept.
std::vector<double> GateOf(const ModelConfig& config, const at::Tensor& logits) {
  const int64_t experts = logits.size(0);
  std::vector<double> gate(experts, 0.0);
  double kept = 0, all = 0;
  for (int64_t e = 0; e < experts; ++e) {
    const double own = logits[e].item<double>();
    const int64_t larger = (logits > own).sum().item<int64_t>();
    all += std::exp(own);
    if (larger >= config.kept) continue;
    gate[e] = std::exp(own);
    kept += gate[e];
  }
  for (double& weight : gate) weight /= config.gate == Gate::kPaper ? all : kept;
  return gate;
}

at::Tensor OfToken(const ModelConfig& config, const Parameters& parameters,
                   const std::string& block, int64_t task, const at::Tensor& x) {
  const auto of = [&](const std::string& name) { return parameters.at(block + name); };
  at::Tensor weight = of(".router.weight"), bias = of(".router.bias");
  if (!config.tasks.empty()) {
    weight = weight[task];
    bias = bias[task];
  }
  const std::vector<double> gate = GateOf(config, weight.mv(x) + bias);
  at::Tensor sum = at::zeros_like(x);
  if (config.residual_ffn) sum += FeedForward(of, ".ffn_norm", ".ffn", x);
  for (size_t e = 0; e < gate.size(); ++e) {
    const auto of_expert = [&](const std::string& name) { return of(name)[e]; };
    if (gate[e] == 0) continue;
    sum += gate[e] * FeedForward(of_expert, ".experts.norm", ".experts", x);
  }
  return sum;
}

// --- what is new in each ---

class ComparisonTest : public testing::TestWithParam<Comparison> {};
INSTANTIATE_TEST_SUITE_P(Networks, ComparisonTest, testing::ValuesIn(Comparisons()),
                         [](const auto& test) { return test.param.name; });

TEST_P(ComparisonTest, ParityOfEachBlockTokenByToken) {
  const at::NoGradGuard no_grad;
  const ModelConfig& config = GetParam().config;
  const Parameters parameters = RandomParameters(config);
  const Network network = BindNetwork(config, parameters);
  const std::vector<int64_t> tasks = {2, 0, 2, 1};  // of the pictures
  at::Generator generator = Seeded(5);
  const at::Tensor x = Uniform({std::ssize(tasks) * kTokens, config.embed_dim}, generator);
  for (int block = 0; block < config.depth; ++block) {
    const ExpertLayer& layer = network.blocks[block].experts;
    const Gates gates = Route(config, layer.router, x, block, {.tasks = at::tensor(tasks)});
    ASSERT_EQ(gates.logits.size(1), config.experts_of(block));
    const at::Tensor actual = ApplyExperts(config, layer, x, gates);
    for (int64_t n = 0; n < x.size(0); ++n) {
      const at::Tensor expected =
          OfToken(config, parameters, absl::StrCat("blocks.", block), tasks[n / kTokens], x[n]);
      ASSERT_LE(MaxDifference(actual[n], expected), kTolerance) << "block " << block << ", " << n;
    }
  }
}

// f32, as served; convolutions over fewer channels take kernels that add up by the size of the batch.
TEST_P(ComparisonTest, CompanyOfOtherTasksChangesNoBit) {
  const c10::InferenceMode inference;
  ModelConfig config = GetParam().config;
  config.channels = 16;
  const Network network =
      BindNetwork(config, CastParameters(InitialParameters(config, 3), at::kFloat));
  const std::vector<int64_t> tasks = {2, 0, 2, 1};
  const at::Tensor pictures = at::empty({4, 3, 64, 64}).uniform_(0, 1, Seeded(7));
  const at::Tensor together = Forward(network, pictures, {.tasks = at::tensor(tasks)}).pictures;
  for (int64_t i = 0; i < pictures.size(0); ++i) {
    const PassOptions own = {.tasks = at::tensor(std::vector<int64_t>{tasks[i]})};
    const at::Tensor alone = Forward(network, pictures.narrow(0, i, 1), own).pictures;
    EXPECT_TRUE(at::equal(alone[0], together[i])) << i;
  }
}

TEST_P(ComparisonTest, CheckpointHoldsAllOfIt) {
  const at::NoGradGuard no_grad;
  const ModelConfig& config = GetParam().config;
  const Parameters parameters = InitialParameters(config, 3);
  const std::string file = SerializeCheckpoint(config, parameters, {}).value();
  const absl::StatusOr<Checkpoint> loaded = ParseCheckpoint(file);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->config, config);
  const at::Tensor pictures = at::empty({2, 3, 16, 24}).fill_(0.5);
  const PassOptions options = {.tasks = at::tensor(std::vector<int64_t>{2, 1})};
  EXPECT_TRUE(at::equal(
      Forward(BindNetwork(loaded->config, loaded->parameters), pictures, options).pictures,
      Forward(BindNetwork(config, parameters), pictures, options).pictures));
}

// The network whose only gate is that of one task.
Network OfTask(ModelConfig config, Parameters parameters, int64_t task) {
  config.tasks.clear();
  for (auto& [name, tensor] : parameters) {
    if (name.find(".router.") != std::string::npos) tensor = tensor[task];
  }
  return BindNetwork(config, parameters);
}

TEST(ComparisonTest, PictureSeesTheGatesOfItsTaskAlone) {
  const at::NoGradGuard no_grad;
  ModelConfig config = TinyConfig(ExpertKind::kFfn);
  config.tasks = {"rain", "drops", "snow"};
  const Parameters parameters = RandomParameters(config);
  const Network network = BindNetwork(config, parameters);
  at::Generator generator = Seeded(6);
  const at::Tensor pictures = Uniform({3, 3, 16, 24}, generator).abs();
  const std::vector<int64_t> tasks = {1, 2, 1};
  const NetworkOutput output = Forward(network, pictures, {.tasks = at::tensor(tasks)});
  for (size_t i = 0; i < tasks.size(); ++i) {
    const at::Tensor alone = pictures.narrow(0, static_cast<int64_t>(i), 1);
    const at::Tensor own = Forward(OfTask(config, parameters, tasks[i]), alone).pictures[0];
    const at::Tensor other = Forward(OfTask(config, parameters, 0), alone).pictures[0];
    EXPECT_LE(MaxDifference(output.pictures[i], own), kTolerance);
    EXPECT_GT(MaxDifference(output.pictures[i], other), 1e-6);
  }
}

// What the loss, the metrics and the expert map go by.
TEST(ComparisonTest, GatesOfAPyramidAreOverEachBlocksOwnExperts) {
  const at::NoGradGuard no_grad;
  for (const ExpertKind kind : {ExpertKind::kFfn, ExpertKind::kFme}) {
    ModelConfig config = TinyConfig(kind);
    config.experts_by_block = {2, 4};
    const Network network = BindNetwork(config, InitialParameters(config, 3));
    const NetworkOutput output = Forward(network, at::empty({1, 3, 16, 24}).fill_(0.5));
    ASSERT_EQ(output.gates.size(), 2);
    EXPECT_EQ(output.gates[0].logits.size(1), 2);
    EXPECT_EQ(output.gates[1].logits.size(1), 4);
    EXPECT_LT(output.gates[0].kept.max().item<int64_t>(), 2);
  }
}

}  // namespace
}  // namespace deweather
