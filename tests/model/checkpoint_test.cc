#include "model/checkpoint.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <limits>

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
