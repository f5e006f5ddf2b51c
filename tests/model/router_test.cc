// The router against its formulas, written out token by token in double; what no company may change.

#include "model/router.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <ostream>
#include <string>
#include <vector>

#include "model/kernels/dropout.h"
#include "tests/kernels/numeric_gradient.h"

namespace deweather {
namespace {

constexpr int64_t kWidth = 16;

at::Tensor Uniform(at::IntArrayRef shape, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  return at::empty(shape).uniform_(-1, 1, generator);
}

at::Tensor Keys(const std::vector<int64_t>& keys) { return at::tensor(keys, at::kLong); }

double MaxDifference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

ModelConfig Config(int experts, int kept, Calibration calibration = Calibration::kNone) {
  ModelConfig config;
  config.embed_dim = kWidth;
  config.experts = experts;
  config.kept = kept;
  config.calibration = calibration;
  return config;
}

Linear Router(int64_t experts, uint64_t seed = 2) {
  return {2 * Uniform({experts, kWidth}, seed), Uniform({experts}, seed + 1)};
}

// --- the pass without dropout ---

TEST(RouterTest, GatesOfBothKinds) {
  const at::Tensor x = Uniform({30, kWidth}, 7);
  const Linear router = Router(5);
  ModelConfig config = Config(5, 3);
  const Gates released = Route(config, router, x, 0);
  config.gate = Gate::kPaper;
  const Gates paper = Route(config, router, x, 0);
  EXPECT_TRUE(at::equal(released.kept, paper.kept));
  EXPECT_FALSE(released.variance.defined());
  const at::Tensor all = at::softmax(released.logits, -1);
  EXPECT_LE(MaxDifference(paper.weights, all.gather(1, paper.kept)), 1e-6);
  const at::Tensor share = paper.weights / paper.weights.sum(1, true);
  EXPECT_LE(MaxDifference(released.weights, share), 1e-6);
}

// Passes are measured beside it and change no bit of it.
TEST(RouterTest, PassesDoNotChangeTheGates) {
  const at::Tensor x = Uniform({60, kWidth}, 7);
  const Linear router = Router(5);
  for (const Calibration calibration :
       {Calibration::kNone, Calibration::kPaper, Calibration::kConfidence}) {
    const ModelConfig config = Config(5, 3, calibration);
    const auto [largest, index] = at::topk(at::linear(x, router.weight, router.bias), 3, -1);
    const bool calibrate = calibration == Calibration::kNone;
    const Gates gates = Route(config, router, x, 0, {.keys = Keys({1, 2}), .calibrate = calibrate});
    EXPECT_TRUE(at::equal(gates.kept, index));
    EXPECT_TRUE(at::equal(gates.weights, at::softmax(largest, -1)));
    ASSERT_EQ(gates.variance.sizes(), (std::vector<int64_t>{60, 5}));
    EXPECT_GT(gates.variance.min().item<double>(), 0);
  }
}

// --- calibrations ---

using Vector = std::vector<double>;

Vector Softmax(Vector logits) {
  const double most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (double& value : logits) sum += value = std::exp(value - most);
  for (double& value : logits) value /= sum;
  return logits;
}

// Of one token, E values each.
struct TokenMoments {
  Vector r, mean, variance;
};

// W (x * mask) + b, summed in double.
Vector LogitsOf(const Linear& router, const at::Tensor& x, const at::Tensor& mask) {
  Vector logits;
  for (int64_t e = 0; e < router.weight.size(0); ++e) {
    double sum = router.bias[e].item<double>();
    for (int64_t d = 0; d < x.size(0); ++d) {
      sum += router.weight[e][d].item<double>() * x[d].item<double>() * mask[d].item<double>();
    }
    logits.push_back(sum);
  }
  return logits;
}

TokenMoments MomentsOf(const ModelConfig& config, const Linear& router, const at::Tensor& x,
                       const std::vector<at::Tensor>& masks) {
  const size_t experts = static_cast<size_t>(config.experts);
  TokenMoments moments{Softmax(LogitsOf(router, x, at::zeros({x.size(0)}) + 1)), Vector(experts),
                       Vector(experts)};
  std::vector<Vector> passes;
  for (const at::Tensor& mask : masks) passes.push_back(Softmax(LogitsOf(router, x, mask)));
  const double count = static_cast<double>(passes.size());
  for (size_t e = 0; e < experts; ++e) {
    for (const Vector& pass : passes) moments.mean[e] += pass[e] / count;
    for (const Vector& pass : passes) {
      moments.variance[e] += (pass[e] - moments.mean[e]) * (pass[e] - moments.mean[e]) / count;
    }
  }
  return moments;
}

// The K largest, the largest first.
std::vector<size_t> Largest(const Vector& values, int kept) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] > values[b]; });
  order.resize(static_cast<size_t>(kept));
  return order;
}

// The weights of all E experts, 0 of those that are not kept.
Vector WeightsByFormula(const ModelConfig& config, const TokenMoments& moments) {
  const bool paper = config.calibration == Calibration::kPaper;
  Vector score;
  for (size_t e = 0; e < moments.r.size(); ++e) {
    score.push_back(paper ? (moments.r[e] - moments.mean[e]) / moments.variance[e]
                          : moments.mean[e] / (std::sqrt(moments.variance[e]) + 1e-3));
  }
  double sum = 0, squares = 0;
  Vector weights(score.size());
  for (const size_t e : Largest(paper ? moments.r : score, config.kept)) {
    weights[e] = score[e];
    sum += score[e];
    squares += score[e] * score[e];
  }
  for (double& weight : weights) weight /= paper ? std::sqrt(squares) : sum;
  return weights;
}

struct Case {
  std::string name;
  int experts, kept;
  Calibration calibration;
};

void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const Calibration calibration :
       {Calibration::kNone, Calibration::kPaper, Calibration::kConfidence}) {
    const std::string name(Name(calibration));
    cases.push_back({name + "_some", 6, 3, calibration});
    cases.push_back({name + "_all", 5, 5, calibration});
    cases.push_back({name + "_one", 6, 1, calibration});
    cases.push_back({name + "_alone", 1, 1, calibration});
  }
  return cases;
}

class CalibrationTest : public testing::TestWithParam<Case> {
 protected:
  ModelConfig config() const {
    return Config(GetParam().experts, GetParam().kept, GetParam().calibration);
  }
  bool alone() const { return GetParam().experts == 1; }
};
INSTANTIATE_TEST_SUITE_P(RouterTest, CalibrationTest, testing::ValuesIn(Cases()),
                         [](const auto& test) { return test.param.name; });

constexpr int64_t kTokens = 20;  // a picture

TEST_P(CalibrationTest, ParityTokenByToken) {
  const ModelConfig config = this->config();
  const at::Tensor x = Uniform({2 * kTokens, kWidth}, 7);
  const Linear router = Router(config.experts);
  const at::Tensor keys = Keys({11, -12});
  const Gates gates = Route(config, router, x, 3, {.keys = keys, .calibrate = true});
  const at::Tensor plain = Route(config, router, x, 3).weights;
  std::vector<at::Tensor> masks;  // M of [2n,D]
  for (int pass = 0; pass < config.router_passes; ++pass) {
    masks.push_back(
        DropoutMask(keys, kTokens, kWidth, config.router_dropout, 3, pass).flatten(0, 1));
  }
  for (int64_t n = 0; n < x.size(0); ++n) {
    std::vector<at::Tensor> masks_of_token;
    for (const at::Tensor& mask : masks) masks_of_token.push_back(mask[n]);
    const TokenMoments moments = MomentsOf(config, router, x[n], masks_of_token);
    for (size_t e = 0; e < moments.variance.size(); ++e) {
      EXPECT_NEAR(gates.variance[n][e].item<double>(), moments.variance[e],
                  1e-8 + 1e-4 * moments.variance[e]);
    }
    if (alone()) {
      EXPECT_EQ(gates.weights[n][0].item<double>(), 1);
      continue;
    }
    if (config.calibration == Calibration::kNone) continue;
    const Vector weights = WeightsByFormula(config, moments);
    for (int64_t k = 0; k < config.kept; ++k) {
      const auto expert = static_cast<size_t>(gates.kept[n][k].item<int64_t>());
      EXPECT_NEAR(gates.weights[n][k].item<double>(), weights[expert], 2e-3) << n << " " << expert;
      EXPECT_NE(weights[expert], 0) << "expert " << expert << " is not to be kept";
    }
  }
  if (config.calibration == Calibration::kNone) {
    EXPECT_TRUE(at::equal(gates.weights, plain));
  }
}

// What each weighs of several: Eq. 7's have a norm of 1, the others' a sum of 1.
TEST_P(CalibrationTest, WeightsAreNormalised) {
  const ModelConfig config = this->config();
  const Gates gates = Route(config, Router(config.experts), Uniform({64, kWidth}, 7), 0,
                            {.keys = Keys({1, 2}), .calibrate = true});
  const at::Tensor size = config.calibration == Calibration::kPaper ? gates.weights.square().sum(1)
                                                                    : gates.weights.sum(1);
  EXPECT_LE(MaxDifference(size, at::zeros({64}) + 1), 1e-5);
}

// sigma = 0 to the bit, of no dropout, of one pass, of a router that does not look at its input.
TEST_P(CalibrationTest, NoVariance) {
  const at::Tensor x = Uniform({64, kWidth}, 7);
  const Linear sighted = Router(GetParam().experts);
  const Linear blind{at::zeros({GetParam().experts, kWidth}), sighted.bias};
  ModelConfig no_dropout = config(), one_pass = config();
  no_dropout.router_dropout = 0;
  one_pass.router_passes = 1;
  for (const auto& [config, router] :
       {std::pair{no_dropout, sighted}, {one_pass, sighted}, {config(), blind}}) {
    const Gates gates = Route(config, router, x, 0, {.keys = Keys({1, 2}), .calibrate = true});
    EXPECT_TRUE((gates.variance == 0).all().item<bool>());
    if (config.calibration != Calibration::kConfidence) {
      const Gates plain = Route(config, router, x, 0);
      EXPECT_TRUE(at::equal(gates.kept, plain.kept));
      EXPECT_TRUE(at::equal(gates.weights, plain.weights));
    } else {  // mu/eps: the plain gates of what every pass saw, but for rounding
      const at::Tensor mask =
          DropoutMask(Keys({1, 2}), 32, kWidth, config.router_dropout, 0, 0).flatten(0, 1);
      const Gates seen = Route(config, router, x * mask, 0);
      EXPECT_TRUE(at::equal(gates.kept, seen.kept));
      EXPECT_LE(MaxDifference(gates.weights, seen.weights), 1e-6);
    }
  }
}

// Probabilities that only rounding moves: Eq. 7 would weigh by 1/rounding^2, with signs of chance.
TEST(RouterTest, RoundingIsNoVariance) {
  const Linear given = Router(6);
  const Linear router{1e-7 * given.weight, given.bias};
  const at::Tensor x = Uniform({640, kWidth}, 7);
  for (const double bias : {0.0, 2.0, 8.0}) {  // one expert is ahead, and far ahead
    router.bias[2].fill_(bias);
    const ModelConfig config = Config(6, 3, Calibration::kPaper);
    const Gates gates = Route(config, router, x, 0, {.keys = Keys({1, 2}), .calibrate = true});
    EXPECT_GT(gates.variance.max().item<double>(), 0);
    EXPECT_TRUE(at::equal(gates.weights, Route(config, router, x, 0).weights)) << bias;
  }
}

// Of the weights and the variance, by input, weight and bias.
TEST_P(CalibrationTest, GradientOfWeightsAndVariance) {
  if (alone()) return;  // a softmax over one expert is 1: nothing has a slope
  at::Generator generator = at::detail::createCPUGenerator(4);
  const ModelConfig config = this->config();
  const Linear given = Router(config.experts);
  const Linear router{given.weight.to(at::kDouble).requires_grad_(),
                      given.bias.to(at::kDouble).requires_grad_()};
  const at::Tensor x = Uniform({14, kWidth}, 7).to(at::kDouble).requires_grad_();
  const at::Tensor slopes = Uniform({14, config.kept}, 8);
  const PassOptions options{.keys = Keys({1, 2}), .calibrate = true};
  const auto f = [&] {
    const Gates gates = Route(config, router, x, 0, options);
    return (gates.weights * slopes).sum() + 10 * gates.variance.sqrt().sum();
  };
  f().backward();
  ExpectGradient(f, x, "input", generator, 8);
  ExpectGradient(f, router.weight, "weight", generator, 8);
  ExpectGradient(f, router.bias, "bias", generator, 8);
}

// Slopes stay numbers where nothing varies, or hardly does.
TEST_P(CalibrationTest, GradientWithoutVarianceIsFinite) {
  for (const auto& [dropout, scale] : {std::pair{0.0, 1.0}, {0.1, 1e-7}, {0.1, 30.0}, {0.1, 1e3}}) {
    ModelConfig config = this->config();
    config.router_dropout = dropout;
    const Linear given = Router(config.experts);
    const Linear router{(scale * given.weight).requires_grad_(),
                        given.bias.clone().requires_grad_()};
    const at::Tensor x = Uniform({64, kWidth}, 7).requires_grad_();
    const Gates gates = Route(config, router, x, 0, {.keys = Keys({1, 2}), .calibrate = true});
    EXPECT_TRUE(gates.weights.isfinite().all().item<bool>());
    (gates.weights.square().sum() + gates.variance.sum()).backward();
    for (const at::Tensor& leaf : {x, router.weight, router.bias}) {
      EXPECT_TRUE(leaf.grad().isfinite().all().item<bool>()) << dropout << " " << scale;
    }
  }
}

// --- tasks ---

Linear TaskRouter(int64_t tasks, int64_t experts) {
  return {2 * Uniform({tasks, experts, kWidth}, 2), Uniform({tasks, experts}, 3)};
}

TEST(RouterTest, EachPictureUsesItsTask) {
  ModelConfig config = Config(5, 2);
  config.tasks = {"rain", "snow", "haze"};
  const Linear router = TaskRouter(3, 5);
  const at::Tensor x = Uniform({4 * kTokens, kWidth}, 7);
  const std::vector<int64_t> tasks = {2, 0, 2, 1};
  const Gates together = Route(config, router, x, 0, {.tasks = Keys(tasks)});
  for (int64_t b = 0; b < 4; ++b) {
    const Linear own{router.weight[tasks[b]], router.bias[tasks[b]]};
    const at::Tensor rows = x.narrow(0, b * kTokens, kTokens);
    const Gates alone = Route(Config(5, 2), own, rows, 0);
    EXPECT_LE(MaxDifference(together.logits.narrow(0, b * kTokens, kTokens), alone.logits), 1e-5);
  }
  EXPECT_ANY_THROW(Route(config, router, x, 0));
  EXPECT_ANY_THROW(Route(config, router, x, 0, {.tasks = Keys({0, 1, 2, 3})}));
}

// --- company ---

at::Tensor Rows(const at::Tensor& rows, int64_t picture) {
  return rows.narrow(0, picture * 64, 64);
}

// A picture's moments are its own: of any batch, in any place, on any number of threads.
TEST(RouterTest, CompanyChangesNoBit) {
  for (const bool tasks : {false, true}) {
    ModelConfig config = Config(16, 4, Calibration::kConfidence);
    if (tasks) config.tasks = {"rain", "snow"};
    const Linear router = tasks ? TaskRouter(2, 16) : Router(16);
    const at::Tensor x = Uniform({6 * 64, kWidth}, 7);
    const std::vector<int64_t> keys = {5, 6, 7, 8, 9, 10}, task = {1, 0, 0, 1, 1, 0};
    const auto route = [&](const at::Tensor& rows, std::vector<int64_t> key,
                           std::vector<int64_t> of) {
      return Route(
          config, router, rows, 1,
          {.tasks = tasks ? Keys(of) : at::Tensor(), .keys = Keys(key), .calibrate = true});
    };
    const Gates together = route(x, keys, task);
    for (int64_t b = 0; b < 6; ++b) {
      at::set_num_threads(1 + static_cast<int>(b % 2));
      const int64_t mate = (b + 2) % 6;
      const Gates alone = route(Rows(x, b), {keys[b]}, {task[b]});
      const Gates second =
          route(at::cat({Rows(x, mate), Rows(x, b)}), {keys[mate], keys[b]}, {task[mate], task[b]});
      EXPECT_TRUE(at::equal(alone.variance, Rows(together.variance, b))) << b;
      EXPECT_TRUE(at::equal(alone.variance, Rows(second.variance, 1))) << b;
      EXPECT_TRUE(at::equal(alone.weights, Rows(together.weights, b))) << b;
    }
    at::set_num_threads(1);
  }
}

TEST(RouterTest, KeysAndLayersVaryTheVariance) {
  const at::Tensor x = Uniform({64, kWidth}, 7);
  const Linear router = Router(5);
  const auto variance = [&](int64_t key, int layer) {
    return Route(Config(5, 2), router, x, layer, {.keys = Keys({key})}).variance;
  };
  EXPECT_TRUE(at::equal(variance(1, 0), variance(1, 0)));
  EXPECT_FALSE(at::equal(variance(1, 0), variance(2, 0)));
  EXPECT_FALSE(at::equal(variance(1, 0), variance(1, 1)));
}

}  // namespace
}  // namespace deweather
