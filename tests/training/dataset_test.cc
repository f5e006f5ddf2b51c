#include "training/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <thread>

#include "tests/training/pictures.h"

namespace deweather {
namespace {

using testing::HasSubstr;

struct Crop {
  std::vector<float> input, truth;
  std::string task = {};
  std::string gate = {};
  double loss_weight = 0;
  friend bool operator==(const Crop&, const Crop&) = default;
};

absl::StatusOr<Crop> TryLoad(Dataset& dataset, int64_t step, int64_t index) {
  Crop crop{std::vector<float>(dataset.crop_elements()),
            std::vector<float>(dataset.crop_elements())};
  const auto note = dataset.Load(step, index, crop.input.data(), crop.truth.data());
  if (!note.ok()) return note.status();
  crop.task = dataset.tasks()[note->task];
  crop.gate = note->gate;
  crop.loss_weight = note->loss_weight;
  return crop;
}

Crop Load(Dataset& dataset, int64_t step, int64_t index) {
  const absl::StatusOr<Crop> crop = TryLoad(dataset, step, index);
  EXPECT_TRUE(crop.ok()) << crop.status();
  return crop.value();
}

std::string Message(const absl::Status& status) { return std::string(status.message()); }

void Tear(const std::string& path) {
  ASSERT_TRUE(WriteFileAtomically(path, "\x89PNG\r\n\x1a\n torn").ok());
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
  DataOptions uncached = options;
  uncached.cache_mebibytes = 0;
  const auto a = Dataset::Open(options, 1).value();
  const auto b = Dataset::Open(uncached, 1).value();
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

TEST(DatasetTest, CropsTakeTheGateOfTheirSourceAlsoUntouched) {
  DataOptions options = Options(NewFolder());
  options.pairs.push_back(options.pairs[0]);
  options.pairs[1].task = "drops";
  options.clean[0].untouched_share = 0.5;
  EXPECT_THAT(SourceTasks(options), testing::ElementsAre("pairs", "drops", "rain"));
  const auto dataset = Dataset::Open(options, 1).value();
  std::set<std::pair<std::string, std::string>> found;  // task, gate
  for (int64_t i = 0; i < 100; ++i) {
    const Crop crop = Load(*dataset, 0, i);
    found.emplace(crop.task, crop.gate);
  }
  EXPECT_THAT(found,
              testing::ElementsAre(testing::Pair("clean", "rain"), testing::Pair("drops", "drops"),
                                   testing::Pair("pairs", "pairs"), testing::Pair("rain", "rain")));
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

TEST(DatasetTest, PairsOfDifferentSizesAreRefusedAtTheStart) {
  const std::string folder = NewFolder();
  WritePicture(folder + "/input/a.png", Picture(40, 40, 0));
  WritePicture(folder + "/gt/a.png", Picture(40, 40, 0));
  WritePicture(folder + "/input/b.png", Picture(40, 40, 0));
  WritePicture(folder + "/gt/b.png", Picture(40, 41, 0));
  DataOptions options;
  options.pairs = {{folder + "/input", folder + "/gt", 1}};
  const absl::Status status = Dataset::Open(options, 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Message(status),
            "'" + folder + "/input/b.png' is 40x40 but '" + folder + "/gt/b.png' is 40x41");
}

TEST(DatasetTest, SizesAreFoundBehindMuchMetadata) {
  const std::string folder = NewFolder();
  Image image = Picture(40, 40, 0);
  image.icc_profile = std::string(100'000, 'p');
  WritePictures(folder + "/gt", 1, 40, 41);
  std::filesystem::create_directories(folder + "/input");
  ASSERT_TRUE(WriteFileAtomically(folder + "/input/0.jpg",
                                  EncodeImage(image, {.format = ImageFormat::kJpeg}).value())
                  .ok());
  DataOptions options;
  options.pairs = {{folder + "/input", folder + "/gt", 1}};
  EXPECT_THAT(Message(Dataset::Open(options, 1).status()), HasSubstr("0.jpg' is 40x40 but"));
}

TEST(DatasetTest, PairThatChangesItsSizeLaterIsRefusedAtItsUse) {
  const std::string folder = NewFolder();
  WritePictures(folder + "/input", 1, 40, 40);
  WritePictures(folder + "/gt", 1, 40, 40);
  DataOptions options;
  options.pairs = {{folder + "/input", folder + "/gt", 1}};
  options.crop_px = 32;
  const auto dataset = Dataset::Open(options, 1).value();
  WritePictures(folder + "/gt", 1, 40, 41);
  const absl::Status status = TryLoad(*dataset, 0, 0).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr("is 40x40 but"));
}

TEST(DatasetTest, CropsCarryTaskAndLossWeight) {
  DataOptions options = Options(NewFolder());
  options.pairs[0].task = "mine";
  options.pairs[0].loss_weight = 2;
  options.clean[0].weather = "haze";
  options.clean[0].loss_weight = 3;
  options.clean[0].untouched_share = 0.5;
  const auto dataset = Dataset::Open(options, 1).value();
  std::set<std::string> tasks;
  for (int64_t i = 0; i < 40; ++i) {
    const Crop crop = Load(*dataset, 0, i);
    tasks.insert(crop.task);
    EXPECT_EQ(crop.loss_weight, crop.task == "mine" ? 2 : 3);
    EXPECT_EQ(crop.input != crop.truth, crop.task == "haze");
  }
  EXPECT_THAT(tasks, testing::ElementsAre("clean", "haze", "mine"));
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

TEST(DatasetTest, PicturesOfOneNameAreRefused) {
  const std::string folder = NewFolder(), input = folder + "/input", truth = folder + "/gt";
  WritePictures(input, 2);
  WritePictures(truth, 2);
  ASSERT_TRUE(ListPairs(input, truth).ok());
  for (const std::string& side : {truth, input}) {
    WritePicture(side + "/0.jpeg", Picture(48, 40, 1));
    const absl::Status status = ListPairs(input, truth).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(Message(status), "'" + side + "/0.jpeg' and '" + side + "/0.png' have the same name");
    std::filesystem::remove(side + "/0.jpeg");
  }
}

TEST(DatasetTest, UnreadablePictureIsReplacedAndToldOnce) {
  const std::string folder = NewFolder();
  DataOptions options = Options(folder);
  Tear(folder + "/clean/1.png");
  Tear(folder + "/pairs/gt/0.png");
  options.max_unreadable = 2;
  const auto dataset = Dataset::Open(options, 1).value(),
             resumed = Dataset::Open(options, 1).value();
  std::vector<Crop> crops;
  for (int64_t i = 0; i < 30; ++i) crops.push_back(Load(*dataset, 0, i));
  for (int64_t i = 29; i >= 0; --i) EXPECT_EQ(Load(*resumed, 0, i), crops[i]);
  EXPECT_THAT(dataset->TakeSkipped(),
              testing::UnorderedElementsAre(HasSubstr("clean/1.png"), HasSubstr("gt/0.png")));
  Load(*dataset, 0, 0);
  EXPECT_THAT(dataset->TakeSkipped(), testing::IsEmpty());
}

TEST(DatasetTest, TooManyUnreadablePicturesNameCountLimitAndFile) {
  const std::string folder = NewFolder();
  DataOptions options = Options(folder);
  options.pairs.clear();
  options.max_unreadable = 1;
  Tear(folder + "/clean/0.png");
  Tear(folder + "/clean/1.png");
  const auto dataset = Dataset::Open(options, 1).value();
  absl::Status status;
  for (int64_t i = 0; i < 30 && status.ok(); ++i) status = TryLoad(*dataset, 0, i).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status),
              HasSubstr("2 pictures cannot be read; data.max_unreadable is 1; the last is '"));
  EXPECT_THAT(Message(status), HasSubstr("/clean/"));
}

TEST(DatasetTest, FolderWithoutAReadablePictureIsAnError) {
  const std::string folder = NewFolder();
  Tear(folder + "/torn.png");
  DataOptions options;
  options.clean = {{.dir = folder}};
  options.crop_px = 8;
  const auto dataset = Dataset::Open(options, 1).value();
  EXPECT_THAT(Message(TryLoad(*dataset, 0, 0).status()),
              HasSubstr("no picture in folder '" + folder + "' can be read"));
}

TEST(DatasetTest, CacheKeepsWhatFits) {
  const std::string folder = NewFolder();
  DataOptions options;
  options.clean = {{.dir = folder}};
  options.crop_px = 32;
  for (const int64_t mebibytes : {1, 2}) {
    WritePictures(folder, 1, 1000, 500);  // 1.5 MB
    options.cache_mebibytes = mebibytes;
    const auto dataset = Dataset::Open(options, 1).value();
    Load(*dataset, 0, 0);
    std::filesystem::remove(folder + "/0.png");
    EXPECT_EQ(TryLoad(*dataset, 0, 1).ok(), mebibytes == 2);
  }
}

TEST(DatasetTest, FingerprintTellsOtherPictures) {
  const std::string folder = NewFolder();
  const DataOptions options = Options(folder);
  const std::string before = Dataset::Open(options, 1).value()->Fingerprint();
  EXPECT_EQ(Dataset::Open(options, 2).value()->Fingerprint(), before);
  WritePicture(folder + "/clean/new.png", Picture(40, 40, 0));
  EXPECT_NE(Dataset::Open(options, 1).value()->Fingerprint(), before);
  std::filesystem::remove(folder + "/clean/new.png");
  std::filesystem::rename(folder + "/pairs/gt/0.png", folder + "/pairs/gt/0.jpg");
  EXPECT_NE(Dataset::Open(options, 1).value()->Fingerprint(), before);
}

}  // namespace
}  // namespace deweather
