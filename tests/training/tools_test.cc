#include "training/tools.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "model/parameters.h"
#include "tests/training/pictures.h"

namespace deweather {
namespace {

using testing::HasSubstr;

std::string Fixture(const std::string& name) {
  return DW_SOURCE_DIR "/tests/model/fixtures/" + name + ".safetensors";
}

TEST(ToolsTest, ImportedCheckpointIsInspected) {
  const std::string path = NewFolder() + "/imported.safetensors";
  const auto unused = ImportFile(Fixture("fme_top4of8"), path);
  ASSERT_TRUE(unused.ok()) << unused.status();
  EXPECT_FALSE(unused->empty());
  const auto inspection = InspectFile(path);
  ASSERT_TRUE(inspection.ok()) << inspection.status();
  EXPECT_EQ(inspection->config.experts, 8);
  EXPECT_EQ(inspection->config.kept, 4);
  EXPECT_EQ(inspection->config.first_expert, FirstExpert::kGelu);
  EXPECT_EQ(inspection->version.size(), 12);
}

TEST(ToolsTest, BrokenSourcesLeaveNoOutput) {
  const std::string folder = NewFolder();
  const std::string source = folder + "/broken.safetensors", out = folder + "/out.safetensors";
  const std::string whole = ReadFile(Fixture("fme")).value();
  ASSERT_TRUE(WriteFileAtomically(source, whole.substr(0, whole.size() / 2)).ok());
  const auto imported = ImportFile(source, out);
  EXPECT_EQ(imported.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(imported.status().message()), HasSubstr(source));
  EXPECT_EQ(ImportFile(folder + "/absent", out).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(out));
  // A checkpoint of ours is not one of theirs.
  ASSERT_TRUE(ImportFile(Fixture("fme"), out).ok());
  EXPECT_FALSE(ImportFile(out, folder + "/twice.safetensors").ok());
}

TEST(ToolsTest, SynthesizeIsRepeatable) {
  const std::string folder = NewFolder();
  WritePicture(folder + "/clean.png", Picture(64, 48, 0));
  const auto rain = [&](const std::string& name, uint64_t seed) {
    EXPECT_TRUE(SynthesizeFile(folder + "/clean.png", folder + name, Weather::kRain, seed).ok());
    return ReadFile(folder + name).value();
  };
  EXPECT_EQ(rain("/a.png", 3), rain("/b.png", 3));
  EXPECT_NE(rain("/a.png", 3), rain("/c.png", 4));
  EXPECT_TRUE(rain("/d.jpg", 3).starts_with("\xff\xd8"));
}

TEST(ToolsTest, SynthesizeRefusesWhatItCannotWrite) {
  const std::string folder = NewFolder();
  WritePicture(folder + "/clean.png", Picture(16, 16, 0));
  EXPECT_FALSE(SynthesizeFile(folder + "/clean.png", folder + "/out.xyz", Weather::kRain, 0).ok());
  EXPECT_FALSE(
      SynthesizeFile(folder + "/clean.png", folder + "/no/out.png", Weather::kRain, 0).ok());
  EXPECT_FALSE(SynthesizeFile(folder + "/absent.png", folder + "/out.png", Weather::kRain, 0).ok());
  EXPECT_FALSE(std::filesystem::exists(folder + "/out.png"));
}

}  // namespace
}  // namespace deweather
