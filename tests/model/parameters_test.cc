#include "model/parameters.h"

#include <gtest/gtest.h>

#include <set>

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
