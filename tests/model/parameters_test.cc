#include "model/parameters.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

namespace deweather {
namespace {

ModelConfig PaperSize(ExpertKind kind, int experts) {
  ModelConfig config;
  config.kind = kind;
  config.experts = experts;
  config.kept = experts == 0 ? 0 : 4;
  return config;
}

// The counts of the structure in arXiv 2312.16610 at D 384, depth 2, p 8, Ch 32.
TEST(ParametersTest, CountsOfThePaperSize) {
  EXPECT_EQ(CountParameters(PaperSize(ExpertKind::kDense, 0)), 8'363'779);
  EXPECT_EQ(CountParameters(PaperSize(ExpertKind::kFfn, 16)), 43'846'179);
  EXPECT_EQ(CountParameters(PaperSize(ExpertKind::kFfn, 64)), 157'387'395);
  EXPECT_EQ(CountParameters(PaperSize(ExpertKind::kFfn, 128)), 308'775'683);
  EXPECT_EQ(CountParameters(PaperSize(ExpertKind::kFme, 16)), 18'429'219);
  EXPECT_EQ(CountParameters(PaperSize(ExpertKind::kFme, 64)), 46'851'459);
  EXPECT_EQ(CountParameters(PaperSize(ExpertKind::kFme, 128)), 84'747'779);
}

// The paper's Table: 34.93 GMAC dense at 240x240; ours leaves its unused parts out, 34.8.
TEST(ParametersTest, MacsOfTheDensePaperSize) {
  const Macs macs = CountMacs(PaperSize(ExpertKind::kDense, 0), 240, 240);
  EXPECT_NEAR(static_cast<double>(macs.layers) * 1e-9, 34.8, 0.05);
  EXPECT_NEAR(static_cast<double>(macs.attention) * 1e-9, 1.66, 0.005);
}

TEST(ParametersTest, MacsGrowWithKeptExpertsAndHardlyWithExperts) {
  const auto macs = [](int experts, int kept) {
    ModelConfig config = PaperSize(ExpertKind::kFme, experts);
    config.kept = kept;
    return CountMacs(config, 240, 240).layers;
  };
  EXPECT_LT(macs(128, 4), macs(16, 4) * 1.01);  // the router alone grows
  EXPECT_NEAR(static_cast<double>(macs(16, 4) - macs(16, 2)) * 1e-9, 1.06, 0.01);
}

// --- the comparison networks, at the paper's size with four tasks ---

const std::vector<std::string> kTasks = {"rain", "drops", "snow", "haze"};

ModelConfig PrMoe() {
  ModelConfig config = PaperSize(ExpertKind::kFfn, 16);
  config.experts_by_block = {8, 16};
  config.residual_ffn = true;
  config.kept = 1;
  return config;
}

// D = 384, hidden 1536.
constexpr int64_t kAround =
    5'999'107;  // all but experts and routers: dense, less two of the next line
constexpr int64_t kFfn = 384 * 1536 + 1536 + 1536 * 384 + 384 + 2 * 384;  // with its norm
constexpr int64_t kGate = 384 + 1;                                        // of one expert

TEST(ParametersTest, CountsOfTheComparisonNetworks) {
  ModelConfig config = PaperSize(ExpertKind::kFfn, 16);
  EXPECT_EQ(CountParameters(config), kAround + 2 * 16 * (kFfn + kGate));  // moe-vit
  config.tasks = kTasks;
  EXPECT_EQ(CountParameters(config), kAround + 2 * 16 * (kFfn + 4 * kGate));  // m3vit, mmoe-vit
  EXPECT_EQ(CountParameters(PrMoe()), kAround + (8 + 16) * (kFfn + kGate) + 2 * kFfn);
  EXPECT_EQ(CountParameters(PrMoe()), 36'749'083);
}

TEST(ParametersTest, MacsOfTheComparisonNetworks) {
  constexpr int64_t kTokens = 30 * 30;  // of 240 x 240 px
  constexpr int64_t kAroundMacs = 32'707'584'000;
  constexpr int64_t kFfnMacs = 2 * 384 * 1536 * kTokens;
  constexpr int64_t kGateMacs = 384 * kTokens;
  const auto macs = [](const ModelConfig& config) { return CountMacs(config, 240, 240).layers; };
  EXPECT_EQ(macs(PaperSize(ExpertKind::kDense, 0)), kAroundMacs + 2 * kFfnMacs);
  ModelConfig config = PaperSize(ExpertKind::kFfn, 16);
  EXPECT_EQ(macs(config), kAroundMacs + 2 * (4 * kFfnMacs + 16 * kGateMacs));
  config.tasks = kTasks;  // a token sees one gate
  EXPECT_EQ(macs(config), kAroundMacs + 2 * (4 * kFfnMacs + 16 * kGateMacs));
  config.kept = 16;  // mmoe-vit
  EXPECT_EQ(macs(config), kAroundMacs + 2 * (16 * kFfnMacs + 16 * kGateMacs));
  EXPECT_EQ(macs(PrMoe()), kAroundMacs + 2 * 2 * kFfnMacs + (8 + 16) * kGateMacs);
  EXPECT_EQ(macs(PrMoe()), 36'962'611'200);
}

// E = 1 and all of it the GELU: nothing is stacked.
TEST(ParametersTest, MacsOfABlockWithoutModulations) {
  ModelConfig config = PaperSize(ExpertKind::kFme, 16);
  config.kept = 1;
  config.experts_by_block = {16, 1};
  const int64_t of_both = CountMacs(config, 240, 240).layers;
  config.first_expert = FirstExpert::kGelu;
  EXPECT_EQ(of_both - CountMacs(config, 240, 240).layers, 2 * 384 * 384 * 900);
}

TEST(ParametersTest, NetworkBesideTheExpertsIsNamedAsInADenseBlock) {
  const auto names = [](const ModelConfig& config) {
    std::set<std::string> all;
    for (const ParameterSpec& spec : ListParameters(config)) all.insert(spec.name);
    return all;
  };
  const std::set<std::string> of_both = names(PrMoe());
  for (const std::string& name : names(PaperSize(ExpertKind::kDense, 0))) {
    EXPECT_TRUE(of_both.contains(name)) << name;
  }
}

TEST(ParametersTest, GatesOfTasksAreDrawnAsOneIs) {
  ModelConfig config = PaperSize(ExpertKind::kFme, 16);
  config.tasks = kTasks;
  for (const ParameterSpec& spec : ListParameters(config)) {
    if (spec.name.find(".router.") == std::string::npos) continue;
    EXPECT_EQ(spec.shape.front(), 4) << spec.name;
    EXPECT_EQ(spec.fan_in, 384) << spec.name;
  }
}

TEST(ParametersTest, NamesAreUniqueAndEveryOptionChangesTheList) {
  ModelConfig config = PaperSize(ExpertKind::kFme, 16);
  std::set<std::string> names;
  for (const ParameterSpec& spec : ListParameters(config)) {
    EXPECT_TRUE(names.insert(spec.name).second) << spec.name;
    EXPECT_GT(spec.elements(), 0) << spec.name;
  }
  const int64_t all = CountParameters(config);
  config.stem = Stem::kNone;
  EXPECT_LT(CountParameters(config), all);
  config.stem = Stem::kStar;
  config.first_expert = FirstExpert::kGelu;
  EXPECT_LT(CountParameters(config), all);
}

TEST(ParametersTest, ResidualNetworkStartsAsTheIdentity) {
  ModelConfig config = PaperSize(ExpertKind::kDense, 0);
  config.residual = true;
  const std::vector<ParameterSpec> specs = ListParameters(config);
  EXPECT_EQ(specs[specs.size() - 2].name, "tail.conv1.weight");
  EXPECT_EQ(specs[specs.size() - 2].initial, Initial::kZeros);
  EXPECT_EQ(specs[specs.size() - 1].initial, Initial::kZeros);
}

}  // namespace
}  // namespace deweather
