// Every configuration in training/configs is one that deweather-train takes, and those of the comparison
// networks are the networks that they are named after.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "proto/config/config.h"

namespace deweather {
namespace {

constexpr char kConfigs[] = DW_SOURCE_DIR "/training/configs";
constexpr char kComparison[] = DW_SOURCE_DIR "/training/configs/comparison";

std::vector<std::filesystem::path> ConfigsIn(const char* folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".textproto") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

TEST(ShippedConfigsTest, EachIsValid) {
  for (const char* folder : {kConfigs, kComparison}) {
    const std::vector<std::filesystem::path> paths = ConfigsIn(folder);
    EXPECT_GE(paths.size(), 3u) << folder;
    for (const auto& path : paths) {
      const auto options = LoadTrainConfig(path.string());
      EXPECT_TRUE(options.ok()) << options.status();
    }
  }
}

TEST(ShippedConfigsTest, ComparisonNetworksAreWhatTheirNamesSay) {
  using Check = std::function<bool(const TrainOptions&)>;
  const std::map<std::string, Check> networks = {
      {"moe-vit", [](auto& o) { return o.model.kept == 4 && o.model.tasks.empty(); }},
      {"mmoe-vit", [](auto& o) { return o.model.kept == 16 && o.model.tasks.size() == 4; }},
      {"m3vit", [](auto& o) { return o.model.kept == 4 && o.model.tasks.size() == 4; }},
      {"pr-moe", [](auto& o) { return o.model.residual_ffn && o.model.experts_of(0) < 16; }},
      {"ones", [](auto& o) { return !o.distill.teacher.empty() && !o.model.routed(); }}};
  EXPECT_EQ(ConfigsIn(kComparison).size(), networks.size());
  for (const auto& [name, check] : networks) {
    const auto options = LoadTrainConfig(std::string(kComparison) + "/" + name + ".textproto");
    ASSERT_TRUE(options.ok()) << options.status();
    EXPECT_EQ(options->name, name);
    EXPECT_TRUE(check(*options)) << name;
    const ModelConfig& model = options->model;
    EXPECT_EQ(model.kind, name == "ones" ? ExpertKind::kDense : ExpertKind::kFfn) << name;
    EXPECT_EQ(model.experts, name == "ones" ? 0 : 16) << name;
    EXPECT_EQ(model.embed_dim, 384) << name;
    EXPECT_EQ(model.depth, 2) << name;
  }
}

}  // namespace
}  // namespace deweather
