#include "training/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include "tests/training/pictures.h"

namespace deweather {
namespace {

using testing::HasSubstr;

struct Crop {
  std::vector<float> input, truth;
  friend bool operator==(const Crop&, const Crop&) = default;
};

Crop Load(Dataset& dataset, int64_t step, int64_t index) {
  Crop crop{std::vector<float>(dataset.crop_elements()),
            std::vector<float>(dataset.crop_elements())};
  EXPECT_TRUE(dataset.Load(step, index, crop.input.data(), crop.truth.data()).ok());
  return crop;
}

DataOptions Options(const std::string& folder) {
  WritePictures(folder + "/clean", 3);
  WritePictures(folder + "/pairs/input", 2);
  WritePictures(folder + "/pairs/gt", 2);
  DataOptions options;
  options.pairs = {{folder + "/pairs/input", folder + "/pairs/gt", 1}};
  options.clean = {
      {.dir = folder + "/clean", .weight = 1, .weather = "rain", .untouched_share = 0.2}};
  options.crop_px = 32;
  return options;
}

TEST(DatasetTest, ACropIsAFunctionOfSeedStepAndIndex) {
  const DataOptions options = Options(NewFolder());
  const auto a = Dataset::Open(options, 1).value();
  const auto b = Dataset::Open(options, 1, /*cache_bytes=*/0).value();
  const auto other = Dataset::Open(options, 2).value();
  int different = 0;
  for (int64_t step = 4; step >= 0; --step) {
    for (int64_t index = 0; index < 4; ++index) {
      const Crop crop = Load(*a, step, index);
      EXPECT_EQ(crop, Load(*b, step, index));
      different += crop != Load(*other, step, index);
      different += crop != Load(*a, step + 100, index);
      for (const float value : crop.input) ASSERT_TRUE(value >= 0 && value <= 1);
    }
  }
  EXPECT_GT(different, 35);
}

TEST(DatasetTest, ThreadsGetTheSameCrops) {
  const DataOptions options = Options(NewFolder());
  const auto dataset = Dataset::Open(options, 1).value();
  std::vector<Crop> crops(16);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = t; i < 16; i += 4) crops[i] = Load(*dataset, 0, i);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto fresh = Dataset::Open(options, 1).value();
  for (int i = 0; i < 16; ++i) EXPECT_EQ(crops[i], Load(*fresh, 0, i));
}

TEST(DatasetTest, RainBrightensAndTheUntouchedShareStays) {
  const std::string folder = NewFolder();
  DataOptions options = Options(folder);
  options.pairs.clear();
  const auto dataset = Dataset::Open(options, 1).value();
  int untouched = 0;
  double brighter = 0;
  for (int64_t i = 0; i < 200; ++i) {
    const Crop crop = Load(*dataset, 0, i);
    untouched += crop.input == crop.truth;
    for (size_t p = 0; p < crop.input.size(); ++p) brighter += crop.input[p] - crop.truth[p];
  }
  EXPECT_NEAR(untouched, 40, 20);  // 20 %, and some crops that no streak hit
  EXPECT_GT(brighter, 0);
}

TEST(DatasetTest, WeightsAreShares) {
  const std::string folder = NewFolder();
  DataOptions options = Options(folder);
  options.pairs[0].weight = 3;  // inputs equal truths here, so equality tells the source
  options.clean[0].untouched_share = 0;
  const auto dataset = Dataset::Open(options, 1).value();
  int equal = 0;
  for (int64_t i = 0; i < 400; ++i) {
    const Crop crop = Load(*dataset, 0, i);
    equal += crop.input == crop.truth;
  }
  EXPECT_NEAR(equal, 300, 45);
}

TEST(DatasetTest, PicturesSmallerThanTheCropAreReflected) {
  const std::string folder = NewFolder();
  WritePictures(folder, 1, 10, 5);
  DataOptions options;
  options.clean = {{.dir = folder}};
  options.crop_px = 32;
  Load(*Dataset::Open(options, 1).value(), 0, 0);
}

TEST(DatasetTest, PairsOfDifferentSizesAreRefused) {
  const std::string folder = NewFolder();
  WritePicture(folder + "/input/a.png", Picture(40, 40, 0));
  WritePicture(folder + "/gt/a.png", Picture(40, 41, 0));
  DataOptions options;
  options.pairs = {{folder + "/input", folder + "/gt", 1}};
  options.crop_px = 32;
  const auto dataset = Dataset::Open(options, 1).value();
  std::vector<float> input(dataset->crop_elements()), truth(dataset->crop_elements());
  const absl::Status status = dataset->Load(0, 0, input.data(), truth.data());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("is 40x40 but"));
}

TEST(DatasetTest, FoldersThatCannotServe) {
  const std::string folder = NewFolder();
  DataOptions options;
  options.clean = {{.dir = folder + "/absent"}};
  EXPECT_EQ(Dataset::Open(options, 1).status().code(), absl::StatusCode::kNotFound);
  options.clean = {{.dir = folder}};
  EXPECT_THAT(std::string(Dataset::Open(options, 1).status().message()),
              HasSubstr("no picture in folder"));
  WritePictures(folder + "/input", 2);
  WritePictures(folder + "/gt", 1);
  options.clean.clear();
  options.pairs = {{folder + "/input", folder + "/gt", 1}};
  EXPECT_THAT(std::string(Dataset::Open(options, 1).status().message()),
              HasSubstr("1.png' has no picture of its name"));
}

TEST(DatasetTest, BrokenPictureNamesItsFile) {
  const std::string folder = NewFolder();
  ASSERT_TRUE(WriteFileAtomically(folder + "/torn.png", "\x89PNG\r\n\x1a\n torn").ok());
  DataOptions options;
  options.clean = {{.dir = folder}};
  options.crop_px = 8;
  const auto dataset = Dataset::Open(options, 1).value();
  std::vector<float> input(dataset->crop_elements()), truth(dataset->crop_elements());
  EXPECT_THAT(std::string(dataset->Load(0, 0, input.data(), truth.data()).message()),
              HasSubstr("torn.png"));
}

}  // namespace
}  // namespace deweather
