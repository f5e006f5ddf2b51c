// A network that cannot learn four crops by heart learns nothing: the real Train, from random weights,
// on four rainy crops of scenes of our own.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "tests/training/pictures.h"
#include "training/evaluate.h"
#include "training/train.h"
#include "training/weather/random.h"
#include "training/weather/weather.h"

namespace deweather {
namespace {

constexpr int kSide = 64;

// Colours that change slowly, behind three discs with hard edges.
RgbImage Scene(uint64_t seed) {
  Random random(seed);
  RgbImage scene{kSide, kSide, std::vector<float>(3 * kSide * kSide)};
  const double tilt = random.Uniform(0.02, 0.1);
  double disc[3][6];  // x, y, radius, colour
  for (auto& [x, y, radius, red, green, blue] : disc) {
    x = random.Uniform(0, kSide);
    y = random.Uniform(0, kSide);
    radius = random.Uniform(6, 20);
    for (double* part : {&red, &green, &blue}) *part = random.Uniform(0.1, 0.8);
  }
  for (int i = 0; i < 3 * kSide * kSide; ++i) {
    const int x = i / 3 % kSide, y = i / 3 / kSide, c = i % 3;
    double value = 0.4 + 0.25 * std::sin(tilt * (x + (c + 1) * y) + static_cast<double>(seed));
    for (const auto& at : disc) {
      if (std::hypot(x - at[0], y - at[1]) < at[2]) value = at[3 + c];
    }
    scene.pixels[i] = static_cast<float>(value);
  }
  return scene;
}

Image InEightBits(const RgbImage& picture) {
  Image image;
  image.width = picture.width;
  image.height = picture.height;
  for (const float value : picture.pixels) {
    image.samples.push_back(static_cast<uint8_t>(std::lround(std::clamp(value, 0.f, 1.f) * 255)));
  }
  return image;
}

void WriteRainyPairs(const std::string& folder) {
  for (int i = 0; i < 4; ++i) {
    const RgbImage scene = Scene(i);
    const std::string name = "/" + std::to_string(i) + ".png";
    WritePicture(folder + "/gt" + name, InEightBits(scene));
    WritePicture(folder + "/input" + name,
                 InEightBits(AddWeather(scene, Weather::kRain, 40 + i).value()));
  }
}

TrainOptions Options(const std::string& folder) {
  TrainOptions options;
  options.name = "overfit";
  options.model = {.name = "overfit",
                   .embed_dim = 64,
                   .depth = 1,
                   .heads = 2,
                   .head_dim = 32,
                   .channels = 8,
                   .tail_scale = 2,
                   .experts = 4,
                   .kept = 2,
                   .residual = true,
                   .tile_px = kSide,
                   .overlap_px = 0};
  options.data.pairs = {{.input_dir = folder + "/input", .truth_dir = folder + "/gt"}};
  options.data.crop_px = kSide;
  options.data.augment = false;
  options.batch = 4;
  options.steps = 600;
  options.optimizer.learning_rate = 4e-3;
  options.optimizer.weight_decay = 0;
  options.loss = LossKind::kSmoothL1;  // PSNR is of squares
  options.ema_decay = 0.98;
  options.threads = 1;
  options.output_dir = folder + "/out";
  return options;
}

TEST(OverfitTest, FourCropsToFortyDecibels) {
  const std::string folder = NewFolder();
  WriteRainyPairs(folder);
  const auto model = Train(Options(folder), {});
  ASSERT_TRUE(model.ok()) << model.status();
  EvaluationOptions evaluate;
  evaluate.load = {"cpu", Precision::kF32};
  const auto evaluation = Evaluate(*model, folder, evaluate);
  ASSERT_TRUE(evaluation.ok()) << evaluation.status();
  ASSERT_EQ(evaluation->pictures.size(), 4);
  EXPECT_LT(evaluation->input.psnr_rgb, 30);  // there is rain to take away, 27 dB
  for (const EvaluatedPicture& picture : evaluation->pictures) {
    EXPECT_GE(picture.restored.psnr_rgb, 40) << picture.name;
  }
}

}  // namespace
}  // namespace deweather
