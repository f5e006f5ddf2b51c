// The network against what the authors' code, and the paper's formulas, computed with the same weights:
// every *.safetensors of $DEWEATHER_FIXTURES, listed when the test runs.

#include <ATen/TensorOperators.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/base/file.h"
#include "model/checkpoint.h"
#include "model/import.h"
#include "model/network.h"
#include "model/safetensors.h"

namespace deweather {
namespace {

constexpr double kTolerance = 1e-5;

std::string FixtureFolder() {
  const char* given = std::getenv("DEWEATHER_FIXTURES");
  return given != nullptr ? given : DW_SOURCE_DIR "/tests/model/fixtures";
}

struct Fixture {
  std::string name;
  std::shared_ptr<const std::string> file;  // what `content` looks into
  Safetensors content;
};

// Other families' fixtures may lie in the same folder; they say so themselves.
bool OfThisFamily(const Fixture& fixture) {
  return !absl::StartsWith(fixture.content.metadata.at("family"), "moceir");
}

std::vector<Fixture> LoadFixtures() {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(FixtureFolder())) {
    if (entry.path().extension() == ".safetensors") paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<Fixture> fixtures;
  for (const std::string& path : paths) {
    auto file = std::make_shared<const std::string>(ReadFile(path).value());
    Fixture fixture{std::filesystem::path(path).filename().string(), file,
                    ParseSafetensors(*file).value()};
    if (OfThisFamily(fixture)) fixtures.push_back(std::move(fixture));
  }
  return fixtures;
}

at::Tensor Golden(const Fixture& fixture, const std::string& name) {
  return ToTensor(name, fixture.content.tensors.at(name)).value();
}

// Gates as the authors keep them: [B,n,E], zero for experts that were not kept.
at::Tensor Spread(const Gates& gates, at::IntArrayRef shape) {
  at::Tensor spread = at::zeros_like(gates.logits);
  spread.scatter_(1, gates.kept, gates.weights);
  return spread.view(shape);
}

double MaxDifference(const at::Tensor& a, const at::Tensor& b) {
  return at::abs(a - b).max().item<double>();
}

// The largest error over the output and every layer's router weights.
double Error(const Fixture& fixture, const Network& network) {
  const c10::InferenceMode inference;
  const NetworkOutput output = Forward(network, (Golden(fixture, "input") + 1) / 2);
  double error = MaxDifference(output.pictures, Golden(fixture, "output"));
  for (size_t layer = 0; layer < output.gates.size(); ++layer) {
    const at::Tensor golden = Golden(fixture, absl::StrCat("router_weights.", layer));
    error = std::max(error, MaxDifference(Spread(output.gates[layer], golden.sizes()), golden));
  }
  return error;
}

// The same, the larger of the network's as training computes it and as inference does.
double Error(const Fixture& fixture, const Imported& imported) {
  Network network = BindNetwork(imported.config, CastParameters(imported.parameters, at::kFloat));
  const double plain = Error(fixture, network);
  Pack(network);
  return std::max(plain, Error(fixture, network));
}

// A copy of the fixture in which one tensor is scaled.
class Scaled {
 public:
  Scaled(const Fixture& fixture, const std::string& name, float factor) : fixture_(fixture) {
    SafetensorView& view = fixture_.content.tensors.at(name);
    bytes_ = std::string(view.bytes);
    auto* values = reinterpret_cast<float*>(bytes_.data());
    for (size_t i = 0; i < bytes_.size() / sizeof(float); ++i) values[i] *= factor;
    view.bytes = bytes_;
  }
  double Error() const {
    return deweather::Error(fixture_, ImportAuthors(fixture_.content).value());
  }

 private:
  Fixture fixture_;
  std::string bytes_;
};

// Experts of a block that the fixture's input sends no token to, from its golden router weights.
std::set<int64_t> IdleExperts(const Fixture& fixture, int layer) {
  std::set<int64_t> idle;
  const at::Tensor weights =
      Golden(fixture, absl::StrCat("router_weights.", layer)).flatten(0, 1);  // [N,E]
  for (int64_t e = 0; e < weights.size(1); ++e) {
    if (weights.select(1, e).abs().sum().item<double>() == 0) idle.insert(e);
  }
  return idle;
}

// What no computation can depend on, told from the metadata: the normalisation of every fme expert,
// and with `gelu` the last fme expert, whose place expert 0 took.
std::set<std::string> UnusedByDesign(const Fixture& fixture) {
  const auto& metadata = fixture.content.metadata;
  std::set<std::string> unused;
  if (metadata.at("family") != "fme") return unused;
  const int experts = std::stoi(metadata.at("experts"));
  const int depth = std::stoi(metadata.at("depth"));
  const bool gelu = metadata.at("first_expert") == "gelu";
  for (int layer = 0; layer < depth; ++layer) {
    for (int e = 0; e < experts; ++e) {
      const std::string expert = absl::StrCat(
          "model.Img_Encoder.vision_transformer.transformer.layers.", layer, ".3.", 3 + e, ".");
      for (const char* leaf : {"weight", "bias"}) {
        unused.insert(absl::StrCat(expert, "norm.", leaf));
        if (!gelu || e != experts - 1) continue;
        unused.insert(absl::StrCat(expert, "expert.0.", leaf));
        unused.insert(absl::StrCat(expert, "expert.1.", leaf));
      }
    }
  }
  return unused;
}

// Tensors of experts that are computed for other inputs, but for no token of this one.
std::set<std::string> UnusedByInput(const Fixture& fixture) {
  const auto& metadata = fixture.content.metadata;
  std::set<std::string> unused;
  if (metadata.at("family") == "dense") return unused;
  const bool fme = metadata.at("family") == "fme";
  const int64_t first = !fme ? 0 : metadata.at("first_expert") == "gelu" ? 2 : 3;
  for (int layer = 0; layer < std::stoi(metadata.at("depth")); ++layer) {
    for (const int64_t e : IdleExperts(fixture, layer)) {
      const std::string expert =
          absl::StrCat("model.Img_Encoder.vision_transformer.transformer.layers.", layer,
                       fme ? ".3." : ".2.", first + e, ".");
      for (const auto& [name, view] : fixture.content.tensors) {
        if (absl::StartsWith(name, expert)) unused.insert(name);
      }
    }
  }
  return unused;
}

TEST(ParityTest, FixturesAreThere) {
  ASSERT_TRUE(std::filesystem::is_directory(FixtureFolder())) << FixtureFolder();
  EXPECT_FALSE(LoadFixtures().empty()) << "no fixture of this family in " << FixtureFolder();
}

TEST(ParityTest, OutputAndRouterWeightsEqualTheAuthors) {
  for (const Fixture& fixture : LoadFixtures()) {
    SCOPED_TRACE(fixture.name);
    const auto imported = ImportAuthors(fixture.content);
    ASSERT_TRUE(imported.ok()) << imported.status();
    const double error = Error(fixture, *imported);
    std::cout << fixture.name << ": largest error " << error << "\n";
    EXPECT_LE(error, kTolerance);
  }
}

TEST(ParityTest, EveryTensorThatTheInputUsesMatters) {
  for (const Fixture& fixture : LoadFixtures()) {
    SCOPED_TRACE(fixture.name);
    const std::set<std::string> by_design = UnusedByDesign(fixture);
    std::set<std::string> unused = UnusedByInput(fixture);
    unused.insert(by_design.begin(), by_design.end());
    for (const auto& [name, view] : fixture.content.tensors) {
      if (!absl::StartsWith(name, "model.")) continue;
      const double error = Scaled(fixture, name, 1.05f).Error();
      if (unused.contains(name)) {
        EXPECT_LE(error, kTolerance) << name << " is unused, and changes the output";
      } else {
        EXPECT_GT(error, kTolerance) << name << " is used, and changes nothing";
      }
    }
  }
}

TEST(ParityTest, FieldsThatTheAuthorsDoNotKnowAreRefused) {
  Fixture fixture = LoadFixtures().front();
  for (const auto& [field, value] : std::map<std::string, std::string>{{"experts_by_block", "4,4"},
                                                                       {"residual_ffn", "true"},
                                                                       {"tasks", "rain"},
                                                                       {"calibration", "paper"},
                                                                       {"router_passes", "7"},
                                                                       {"router_dropout", "0.2"}}) {
    Safetensors content = fixture.content;
    content.metadata[field] = value;
    const absl::Status status = ImportAuthors(content).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_THAT(std::string(status.message()),
                testing::HasSubstr("metadata has '" + field + "', which the authors'"));
  }
}

TEST(ParityTest, ImportListsWhatNothingUses) {
  for (const Fixture& fixture : LoadFixtures()) {
    SCOPED_TRACE(fixture.name);
    const Imported imported = ImportAuthors(fixture.content).value();
    for (const std::string& name : imported.unused) std::cout << "unused: " << name << "\n";
    EXPECT_THAT(imported.unused, testing::ElementsAreArray(UnusedByDesign(fixture)));
  }
}

}  // namespace
}  // namespace deweather
