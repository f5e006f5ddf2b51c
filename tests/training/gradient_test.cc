// Analytic gradients in f64 against numeric ones: of every loss, and of every kind of network by every
// tensor of it and by its input.

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

#include "model/network.h"
#include "tests/kernels/numeric_gradient.h"
#include "tests/model/tiny.h"
#include "training/loss.h"

namespace deweather {
namespace {

at::Generator Seeded(uint64_t seed) { return at::detail::createCPUGenerator(seed); }

at::Tensor Uniform(at::IntArrayRef shape, double low, double high, at::Generator& generator) {
  return at::empty(shape, at::kDouble).uniform_(low, high, generator);
}

// --- losses ---

// A loss of a batch of two, each picture with a weight of its own.
void ExpectLossGradient(const std::function<at::Tensor(const at::Tensor&, const at::Tensor&)>& loss,
                        const std::string& name) {
  at::Generator generator = Seeded(5);
  const at::Tensor weights = Uniform({2}, 0.5, 2, generator);
  // Errors on both sides of SmoothL1's knee at 1.
  const at::Tensor restored = Uniform({2, 3, 8, 6}, -1.5, 1.5, generator).requires_grad_();
  const at::Tensor truth = Uniform({2, 3, 8, 6}, -1, 1, generator).requires_grad_();
  const auto f = [&] { return (weights * loss(restored, truth)).sum(); };
  f().backward();
  ExpectGradient(f, restored, name + " by what was restored", generator, 8);
  ExpectGradient(f, truth, name + " by the truth", generator, 8);
}

TEST(GradientTest, TaskLosses) {
  for (const auto& [kind, name] : {std::pair{LossKind::kSmoothL1, "smooth_l1"},
                                   {LossKind::kL1, "l1"},
                                   {LossKind::kCharbonnier, "charbonnier"},
                                   {LossKind::kLogMse, "log_mse"}}) {
    ExpectLossGradient([kind = kind](const auto& a, const auto& b) { return TaskLoss(kind, a, b); },
                       name);
  }
}

TEST(GradientTest, FrequencyLoss) { ExpectLossGradient(FrequencyLoss, "frequency"); }

TEST(GradientTest, BalanceLoss) {
  at::Generator generator = Seeded(6);
  std::vector<Gates> gates(2);
  for (Gates& layer : gates) {
    layer.logits = Uniform({12, 5}, -2, 2, generator).requires_grad_();
    layer.kept = std::get<1>(layer.logits.detach().topk(2, -1));
  }
  for (const BalanceKind kind : {BalanceKind::kGshard, BalanceKind::kPaper}) {
    const auto f = [&] { return BalanceLoss(kind, gates, KeptCounts(gates)); };
    for (Gates& layer : gates) layer.logits.mutable_grad() = at::Tensor();
    f().backward();
    for (const Gates& layer : gates) ExpectGradient(f, layer.logits, "logits", generator, 8);
  }
}

// --- networks ---

struct Case {
  std::string name;
  ModelConfig config;
};

void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

// What each differs in from TinyConfig, made tinier: 2 blocks of 2 heads on 2 x 3 tokens a picture.
Case Of(const std::string& name, ExpertKind kind, void (*change)(ModelConfig&)) {
  ModelConfig config = TinyConfig(kind);
  config.embed_dim = 6;
  config.head_dim = 4;
  config.patch = 4;
  config.channels = 2;
  config.mlp_ratio = 2;
  change(config);
  return {name, config};
}

const std::vector<Case>& Cases() {
  static const std::vector<Case> cases = {
      Of("dense", ExpertKind::kDense, [](ModelConfig&) {}),
      Of("dense_residual", ExpertKind::kDense, [](ModelConfig& c) { c.residual = true; }),
      Of("ffn", ExpertKind::kFfn, [](ModelConfig&) {}),
      Of("ffn_paper_gate", ExpertKind::kFfn, [](ModelConfig& c) { c.gate = Gate::kPaper; }),
      Of("ffn_residual_ffn", ExpertKind::kFfn, [](ModelConfig& c) { c.residual_ffn = true; }),
      Of("ffn_pyramid", ExpertKind::kFfn,
         [](ModelConfig& c) {
           c.experts_by_block = {2, 4};
         }),
      Of("ffn_tasks", ExpertKind::kFfn,
         [](ModelConfig& c) {
           c.tasks = {"rain", "snow", "haze"};
         }),
      Of("pr_moe", ExpertKind::kFfn,
         [](ModelConfig& c) {
           c.experts_by_block = {2, 4};
           c.residual_ffn = true;
           c.kept = 1;
           c.gate = Gate::kPaper;
         }),
      Of("fme_star", ExpertKind::kFme, [](ModelConfig&) {}),
      Of("fme_residual", ExpertKind::kFme, [](ModelConfig& c) { c.residual = true; }),
      Of("fme_no_stem", ExpertKind::kFme, [](ModelConfig& c) { c.stem = Stem::kNone; }),
      Of("fme_gelu_first", ExpertKind::kFme,
         [](ModelConfig& c) { c.first_expert = FirstExpert::kGelu; }),
      Of("fme_pyramid_gelu_first", ExpertKind::kFme,
         [](ModelConfig& c) {
           c.experts_by_block = {4, 2};
           c.first_expert = FirstExpert::kGelu;
         }),
      Of("fme_tasks", ExpertKind::kFme,
         [](ModelConfig& c) {
           c.tasks = {"rain", "snow", "haze"};
         }),
      Of("fme_calibrated_as_printed", ExpertKind::kFme,
         [](ModelConfig& c) {
           c.calibration = Calibration::kPaper;
           c.router_dropout = 0.3;
         }),
      Of("fme_calibrated_by_confidence", ExpertKind::kFme,
         [](ModelConfig& c) { c.calibration = Calibration::kConfidence; }),
      Of("ffn_tasks_calibrated_by_confidence", ExpertKind::kFfn,
         [](ModelConfig& c) {
           c.tasks = {"rain", "snow", "haze"};
           c.calibration = Calibration::kConfidence;
         }),
      Of("fme_paper_gate", ExpertKind::kFme, [](ModelConfig& c) { c.gate = Gate::kPaper; }),
      Of("fme_paper_no_stem_gelu_residual", ExpertKind::kFme, [](ModelConfig& c) {
        c.gate = Gate::kPaper;
        c.stem = Stem::kNone;
        c.first_expert = FirstExpert::kGelu;
        c.residual = true;
      })};
  return cases;
}

// Nothing is one or zero: the gradient of a norm's scale and of what the last convolution hides shows.
Parameters RandomParameters(const ModelConfig& config, at::Generator& generator) {
  Parameters parameters = InitialParameters(config, 3);
  for (auto& [name, tensor] : parameters) {
    tensor = tensor.to(at::kDouble);
    tensor = (tensor + 0.2 * UniformLike(tensor, generator)).requires_grad_();
  }
  return parameters;
}

class NetworkGradientTest : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Kinds, NetworkGradientTest, testing::ValuesIn(Cases()),
                         [](const auto& test) { return test.param.name; });

// Where each task has its gate: of the two pictures' tasks.
const std::vector<int64_t> kTasks = {2, 0};

// The gate of a task that is not in the batch learns nothing of it, those of the others do.
void ExpectGatesLearnOfTheirTask(const ModelConfig& config, const Parameters& parameters) {
  for (const auto& [name, tensor] : parameters) {
    if (config.tasks.empty() || name.find(".router.") == std::string::npos) continue;
    for (int64_t task = 0; task < std::ssize(config.tasks); ++task) {
      const bool present = std::find(kTasks.begin(), kTasks.end(), task) != kTasks.end();
      EXPECT_EQ(tensor.grad()[task].abs().max().item<double>() > 0, present) << name << " " << task;
    }
  }
}

// The whole objective of training, with M passes of the routers.
TEST_P(NetworkGradientTest, OfEveryTensor) {
  at::set_num_threads(1);
  const ModelConfig& config = GetParam().config;
  at::Generator generator = Seeded(8);
  const Parameters parameters = RandomParameters(config, generator);
  const Network network = BindNetwork(config, parameters);
  const at::Tensor pictures = Uniform({2, 3, 8, 12}, 0, 1, generator).requires_grad_();
  const at::Tensor truth = Uniform({2, 3, 8, 12}, 0, 1, generator);
  const PassOptions options{
      .tasks = at::tensor(kTasks), .keys = at::tensor({5, 6}, at::kLong), .calibrate = true};
  const auto f = [&] {
    const NetworkOutput output = Forward(network, pictures, options);
    return TaskLoss(LossKind::kSmoothL1, output.pictures, truth).sum() +
           0.1 * BalanceLoss(BalanceKind::kGshard, output.gates, KeptCounts(output.gates)) +
           UncertaintyLoss(output.gates);
  };
  const at::Tensor loss = f();
  ASSERT_EQ(loss.scalar_type(), at::kDouble);
  loss.backward();
  ExpectGradient(f, pictures, "input", generator);
  for (const auto& [name, tensor] : parameters) ExpectGradient(f, tensor, name, generator);
  ExpectGatesLearnOfTheirTask(config, parameters);
}

}  // namespace
}  // namespace deweather
