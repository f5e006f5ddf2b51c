#include "training/evaluate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/checkpoint.h"
#include "model/network.h"
#include "tests/model/tiny.h"
#include "tests/training/pictures.h"

namespace deweather {
namespace {

EvaluationOptions OnCpu() {
  EvaluationOptions options;
  options.load.device = "cpu";
  options.load.precision = Precision::kF32;
  return options;
}

// Truths, and inputs that are 10 grey levels brighter.
std::string BrightPairs() {
  const std::string folder = NewFolder();
  WritePictures(folder + "/gt", 2, 70, 50);
  for (int i = 0; i < 2; ++i) {
    Image bright = Picture(70, 50, i);
    for (uint8_t& sample : bright.samples) sample += 10;
    WritePicture(folder + "/input/" + std::to_string(i) + ".png", bright);
  }
  return folder;
}

TEST(EvaluateTest, IdentityScoresAsItsInputAndKeepsThePictures) {
  const std::string pairs = BrightPairs();
  std::filesystem::create_directories(pairs + "/out");
  int calls = 0;
  EvaluationOptions options = OnCpu();
  options.output_dir = pairs + "/out";
  options.progress = [&](int, int total) { calls += total; };
  const auto evaluation = Evaluate("identity", pairs, options);
  ASSERT_TRUE(evaluation.ok()) << evaluation.status();
  EXPECT_EQ(evaluation->pictures.size(), 2);
  EXPECT_EQ(calls, 4);
  EXPECT_NEAR(evaluation->input.psnr_rgb, 20 * std::log10(25.5), 1e-6);
  EXPECT_EQ(evaluation->restored.psnr_rgb, evaluation->input.psnr_rgb);
  EXPECT_EQ(evaluation->restored.ssim_y, evaluation->input.ssim_y);
  EXPECT_EQ(evaluation->pictures[1].name, "1.png");
  const Image kept = DecodeImage(ReadFile(pairs + "/out/1.png").value(), {}).value();
  EXPECT_EQ(kept.samples, DecodeImage(ReadFile(pairs + "/input/1.png").value(), {})->samples);
  options.output_dir = pairs + "/absent";
  EXPECT_FALSE(Evaluate("identity", pairs, options).ok());
}

TEST(EvaluateTest, ModelThatDarkensScoresBetter) {
  ModelConfig config = TinyConfig();
  config.residual = true;
  Parameters parameters = InitialParameters(config, 1);
  parameters["tail.conv1.bias"].fill_(-10.0 / 255);  // all else of the last layer is zero
  const std::string pairs = BrightPairs();
  const std::string path = pairs + "/dark.safetensors";
  ASSERT_TRUE(SaveCheckpoint(path, config, parameters, {}).ok());
  EXPECT_GT(Evaluate(path, pairs, OnCpu())->restored.psnr_rgb, 99);
  EXPECT_EQ(Evaluate(pairs + "/absent", pairs, OnCpu()).status().code(),
            absl::StatusCode::kNotFound);
}

// A network whose answer depends on what else is in the tile.
std::string SavedTiny(const std::string& folder) {
  const ModelConfig config = TinyConfig();
  const std::string path = folder + "/tiny.safetensors";
  EXPECT_TRUE(SaveCheckpoint(path, config, InitialParameters(config, 1), {}).ok());
  return path;
}

TEST(EvaluateTest, TilingIsTheModelsOwnUnlessChanged) {
  const std::string pairs = BrightPairs();
  const std::string model = SavedTiny(pairs);
  EvaluationOptions options = OnCpu();
  const auto own = Evaluate(model, pairs, options);
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_EQ(own->tile, TinyConfig().tile());
  options.tiling = {.tile_px = 64, .overlap_px = 16};
  const auto wide = Evaluate(model, pairs, options);
  ASSERT_TRUE(wide.ok()) << wide.status();
  EXPECT_EQ(wide->tile, (TileSpec{8, 64, 16, false}));
  EXPECT_NE(wide->restored.psnr_rgb, own->restored.psnr_rgb);
  options.tiling = {.whole_image = true};
  const auto whole = Evaluate(model, pairs, options);
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_TRUE(whole->tile.whole_image);
  EXPECT_NE(whole->restored.psnr_rgb, wide->restored.psnr_rgb);
}

TEST(EvaluateTest, TilingThatCannotBe) {
  const std::string pairs = BrightPairs();
  const std::string model = SavedTiny(pairs);
  EvaluationOptions options = OnCpu();
  for (const TilingChange& change :
       {TilingChange{.tile_px = 20}, TilingChange{.tile_px = 0}, TilingChange{.overlap_px = 17},
        TilingChange{.overlap_px = -1}}) {
    options.tiling = change;
    EXPECT_EQ(Evaluate(model, pairs, options).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(EvaluateTest, FolderWithoutPairs) {
  EXPECT_EQ(Evaluate("identity", NewFolder(), OnCpu()).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace deweather
