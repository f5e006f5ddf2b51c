#include "model/checkpoint.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "model/base/file.h"
#include "model/restorer.h"
#include "tests/model/tiny.h"

namespace deweather {
namespace {

using testing::HasSubstr;

std::string Path(const std::string& name) { return testing::TempDir() + "/" + name; }

// Saves the tiny network after `change` and expects loading it to fail.
void ExpectRefused(const std::function<void(Parameters&)>& change, const std::string& message) {
  Parameters parameters = InitialParameters(TinyConfig(), 1);
  change(parameters);
  const std::string path = Path("changed.safetensors");
  ASSERT_TRUE(SaveCheckpoint(path, TinyConfig(), parameters, {}).ok());
  const auto loaded = LoadCheckpoint(path);
  EXPECT_EQ(loaded.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(loaded.status().message()), HasSubstr(message));
  EXPECT_THAT(std::string(loaded.status().message()), HasSubstr(path));
}

TEST(CheckpointTest, WhatIsSavedIsLoaded) {
  ModelConfig config = TinyConfig();
  config.gate = Gate::kPaper;
  config.stem = Stem::kNone;
  const Parameters parameters = InitialParameters(config, 1);
  const std::string path = Path("saved.safetensors");
  ASSERT_TRUE(SaveCheckpoint(path, config, parameters, {{"steps", "12"}}).ok());
  const auto loaded = LoadCheckpoint(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->config, config);
  EXPECT_EQ(loaded->metadata.at("steps"), "12");
  EXPECT_EQ(loaded->version.size(), 12);
  ASSERT_EQ(loaded->parameters.size(), parameters.size());
  for (const auto& [name, tensor] : parameters) {
    EXPECT_TRUE(at::equal(loaded->parameters.at(name), tensor)) << name;
  }
}

// Every field that only some networks have, and its text.
struct LaterField {
  std::string name, text;
  std::function<void(ModelConfig&)> set;
};

std::vector<LaterField> LaterFields() {
  return {
      {"experts_by_block", "4,3",
       [](auto& c) {
         c.experts_by_block = {4, 3};
       }},
      {"residual_ffn", "true", [](auto& c) { c.kind = ExpertKind::kFfn, c.residual_ffn = true; }},
      {"tasks", "rain,snow",
       [](auto& c) {
         c.tasks = {"rain", "snow"};
       }},
      {"calibration", "confidence", [](auto& c) { c.calibration = Calibration::kConfidence; }},
      {"router_passes", "7", [](auto& c) { c.router_passes = 7; }},
      {"router_dropout", "0.3", [](auto& c) { c.router_dropout = 0.3; }}};
}

TEST(CheckpointTest, WhatOnlySomeNetworksHaveComesBack) {
  for (const LaterField& field : LaterFields()) {
    ModelConfig config = TinyConfig();
    field.set(config);
    const auto file = SerializeCheckpoint(config, InitialParameters(config, 1), {});
    ASSERT_TRUE(file.ok()) << file.status();
    const auto loaded = ParseCheckpoint(*file);
    ASSERT_TRUE(loaded.ok()) << field.name << ": " << loaded.status();
    EXPECT_EQ(loaded->config, config) << field.name;
    EXPECT_EQ(loaded->metadata.at(field.name), field.text);
  }
}

// So that programs from before read them, and versions stay what they are.
TEST(CheckpointTest, FilesOfPlainNetworksSayNothingOfIt) {
  const auto file = SerializeCheckpoint(TinyConfig(), InitialParameters(TinyConfig(), 1), {});
  const auto metadata = ParseCheckpoint(*file)->metadata;
  EXPECT_EQ(metadata.size(), 19);
  for (const LaterField& field : LaterFields()) EXPECT_FALSE(metadata.contains(field.name));
}

TEST(CheckpointTest, MetadataThatSaysNothingKnown) {
  const std::string file =
      SerializeCheckpoint(TinyConfig(), InitialParameters(TinyConfig(), 1), {}).value();
  const std::map<std::string, std::string> plain = ParseCheckpoint(file)->metadata;
  struct Mistake {
    std::string field, value, message;
  };
  const std::vector<Mistake> mistakes = {
      {"calibration", "bayes", "unknown calibration 'bayes'; known: none, paper, confidence"},
      {"experts_by_block", "4,x", "metadata 'experts_by_block' is '4,x'; it must be integers"},
      {"experts_by_block", "", "metadata 'experts_by_block' is ''; it must be integers"},
      {"experts_by_block", "4", "model.experts_by_block has 1 numbers"},
      {"experts_by_block", "4,5", "model.experts is 4; it must be the largest"},
      {"residual_ffn", "perhaps", "metadata 'residual_ffn' is 'perhaps'; it must be true or false"},
      {"residual_ffn", "true", "model.residual_ffn is true, which belongs to ffn experts"},
      {"tasks", "rain,rain", "model.tasks[1] is 'rain'; it must be named once"},
      {"tasks", "", "model.tasks[0] is 0 bytes long"},
      {"router_passes", "many", "metadata 'router_passes' is 'many'; it must be an integer"},
      {"router_passes", "1", "model.router_passes is 1; it must be in [2, 64]"},
      {"router_dropout", "half", "metadata 'router_dropout' is 'half'; it must be a number"},
      {"router_dropout", "nan", "model.router_dropout is nan; it must be in [0, 0.9]"}};
  for (const Mistake& mistake : mistakes) {
    std::map<std::string, std::string> metadata = plain;
    metadata[mistake.field] = mistake.value;
    const absl::Status status = ConfigFromMetadata(metadata).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << mistake.message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(mistake.message));
  }
}

// Texts as long as a hostile header: neither taken apart nor repeated.
TEST(CheckpointTest, LongMetadataIsToldInShort) {
  const std::string file =
      SerializeCheckpoint(TinyConfig(), InitialParameters(TinyConfig(), 1), {}).value();
  const std::map<std::string, std::string> plain = ParseCheckpoint(file)->metadata;
  const std::string commas(10 << 20, ','), digits(10 << 20, '7');
  struct Long {
    std::string field, value, message;
  };
  const std::vector<Long> cases = {
      {"tasks", commas, "metadata 'tasks' has 10485761 entries in 10485760 bytes; it may have 64"},
      {"tasks", digits, "metadata 'tasks' has 1 entries in 10485760 bytes"},
      {"experts_by_block", commas, "metadata 'experts_by_block' has 10485761 entries"},
      {"experts_by_block", digits, "metadata 'experts_by_block' has 1 entries"},
      {"experts_by_block", std::string(64, ','), "has 65 entries in 64 bytes"},
      {"residual_ffn", digits, "metadata 'residual_ffn' is '777"},
      {"calibration", digits, "unknown calibration '777"},
      {"router_passes", digits, "metadata 'router_passes' is '777"},
      {"router_dropout", commas, "metadata 'router_dropout' is ',,,"},
      {"experts", digits, "metadata 'experts' is '777"},
      {"gate", digits, "unknown gate '777"},
      {"family", digits, "unknown expert kind '777"},
      {"format", digits, "format is '777"}};
  for (const Long& one : cases) {
    std::map<std::string, std::string> metadata = plain;
    metadata[one.field] = one.value;
    const absl::Status status = ConfigFromMetadata(metadata).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << one.field;
    EXPECT_LE(status.message().size(), 300) << one.field;
    EXPECT_THAT(std::string(status.message().substr(0, 300)), HasSubstr(one.message));
  }
}

// Files of before: not a byte of them may change, as their digests are their versions.
TEST(CheckpointTest, ShippedModelsAreWrittenAsTheyAre) {
  for (const char* name : {"deweather-small", "deweather-rain"}) {
    const std::string file =
        ReadFile(std::string(DW_SOURCE_DIR "/model/weights/") + name + ".safetensors").value();
    const auto loaded = ParseCheckpoint(file);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    const auto again = SerializeCheckpoint(loaded->config, loaded->parameters, loaded->metadata);
    EXPECT_TRUE(*again == file) << name;
  }
}

TEST(CheckpointTest, VersionIsOfTheContent) {
  const std::string a = Path("a.safetensors"), b = Path("b.safetensors");
  ASSERT_TRUE(SaveCheckpoint(a, TinyConfig(), InitialParameters(TinyConfig(), 1), {}).ok());
  ASSERT_TRUE(SaveCheckpoint(b, TinyConfig(), InitialParameters(TinyConfig(), 2), {}).ok());
  EXPECT_NE(LoadCheckpoint(a)->version, LoadCheckpoint(b)->version);
  std::filesystem::copy_file(a, b, std::filesystem::copy_options::overwrite_existing);
  EXPECT_EQ(LoadCheckpoint(a)->version, LoadCheckpoint(b)->version);
}

TEST(CheckpointTest, TensorThatIsMissing) {
  ExpectRefused([](Parameters& p) { p.erase("embed.conv.weight"); },
                "tensor 'embed.conv.weight' is missing");
}

TEST(CheckpointTest, TensorThatIsExtra) {
  ExpectRefused([](Parameters& p) { p["stranger"] = at::ones({1}); },
                "tensor 'stranger' is not part of the configured network");
}

TEST(CheckpointTest, TensorThatIsMisshapen) {
  ExpectRefused([](Parameters& p) { p["head.conv.bias"] = at::ones({3}); },
                "tensor 'head.conv.bias' has shape [3]; the configuration needs [4]");
}

TEST(CheckpointTest, TensorThatIsNotFinite) {
  for (const double value :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    ExpectRefused([&](Parameters& p) { p["expand.bias"].select(0, 0).fill_(value); },
                  "tensor 'expand.bias' holds a value that is not finite");
  }
}

TEST(CheckpointTest, ConfigurationOutOfRange) {
  ModelConfig config = TinyConfig();
  const Parameters parameters = InitialParameters(config, 1);
  config.kept = 9;
  const std::string path = Path("kept.safetensors");
  ASSERT_TRUE(SaveCheckpoint(path, config, parameters, {}).ok());
  const auto loaded = LoadCheckpoint(path);
  EXPECT_THAT(std::string(loaded.status().message()),
              HasSubstr("model.kept is 9; it must be in [1, 4]"));
}

TEST(CheckpointTest, FileThatIsNotThere) {
  EXPECT_EQ(LoadCheckpoint(Path("absent")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(LoadCheckpoint(testing::TempDir()).ok());
}

TEST(CheckpointTest, TornAtEveryLength) {
  const std::string path = Path("torn.safetensors");
  ASSERT_TRUE(SaveCheckpoint(path, TinyConfig(), InitialParameters(TinyConfig(), 1), {}).ok());
  const std::string whole = ReadFile(path).value();
  for (size_t length = 0; length < whole.size(); length += 997) {
    ASSERT_TRUE(WriteFileAtomically(path, std::string_view(whole).substr(0, length)).ok());
    EXPECT_EQ(LoadCheckpoint(path).status().code(), absl::StatusCode::kDataLoss) << length;
  }
}

TEST(CheckpointTest, UnwritableOutputLeavesNothing) {
  const std::string path = Path("no/such/folder.safetensors");
  EXPECT_FALSE(SaveCheckpoint(path, TinyConfig(), InitialParameters(TinyConfig(), 1), {}).ok());
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace deweather
