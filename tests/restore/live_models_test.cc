#include "server/restore/live_models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "model/base/error_reason.h"
#include "server/restore/metrics.h"
#include "tests/restore/fake_model.h"

namespace deweather {
namespace {

using testing::HasSubstr;
using testing::Not;

class LiveModelsTest : public testing::Test {
 protected:
  std::string Text() const { return prometheus::TextSerializer().Serialize(metrics_.Collect()); }

  // Runs tasks at once, and counts them.
  const Executor executor_ = [this](const std::function<void()>& task) {
    ++tasks_;
    task();
  };
  int tasks_ = 0;
  Metrics metrics_{{}};
  LiveModels models_{{.folders = {"/nowhere", testing::TempDir()}}, metrics_};
};

TEST_F(LiveModelsTest, NothingIsLiveAtFirst) {
  const absl::Status status = models_.Pin("").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrorReason(status), "NO_LIVE_MODEL");
  EXPECT_TRUE(models_.List().empty());
}

TEST_F(LiveModelsTest, TheFirstModelIsTheDefault) {
  EXPECT_TRUE(Install(models_, {.name = "rain"}, executor_).is_default);
  EXPECT_FALSE(Install(models_, {.name = "fog"}, executor_).is_default);
  EXPECT_EQ(models_.Pin("")->info.name, "rain");
  EXPECT_EQ(models_.Pin("default")->info.name, "rain");
  EXPECT_EQ(models_.Pin("fog")->info.name, "fog");
  ASSERT_EQ(models_.List().size(), 2u);
  EXPECT_EQ(models_.List()[0].name, "fog");
  EXPECT_TRUE(models_.List()[1].is_default);
}

TEST_F(LiveModelsTest, WhoWatchesHearsOfEveryNameThatIsLive) {
  Install(models_, {.name = "rain"}, executor_);
  std::vector<std::string> heard;
  models_.WatchNames([&heard](const std::string& name) { heard.push_back(name); });
  EXPECT_THAT(heard, testing::ElementsAre("rain"));
  Install(models_, {.name = "fog"}, executor_);
  EXPECT_THAT(heard, testing::ElementsAre("rain", "fog"));
  models_.WatchNames(nullptr);
  Install(models_, {.name = "snow"}, executor_);
  EXPECT_EQ(heard.size(), 2u);
}

TEST_F(LiveModelsTest, AnUnknownNameIsNotFoundAndTheKnownOnesAreNamed) {
  Install(models_, {.name = "rain"}, executor_);
  Install(models_, {.name = "fog"}, executor_);
  const absl::Status status = models_.Pin("snow").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ErrorReason(status), "UNKNOWN_MODEL");
  EXPECT_THAT(std::string(status.message()), HasSubstr("'snow'"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("fog, rain"));
  const absl::Status odd = models_.Pin("s\x1b[2J\n" + std::string(1 << 16, 'n')).status();
  EXPECT_THAT(std::string(odd.message()), HasSubstr("'s\\x1b[2J\\n"));
  EXPECT_LT(odd.message().size(), 200u);
}

TEST_F(LiveModelsTest, InfoIsTheModelsOwn) {
  const LiveModelInfo info =
      Install(models_, {.name = "rain", .version = "abc", .layers = 2, .experts = 16, .kept = 4},
              executor_);
  EXPECT_EQ(info.version, "abc");
  EXPECT_EQ(info.tile.tile_px, 32);
  EXPECT_EQ(info.layers, 2);
  EXPECT_EQ(info.experts, 16);
  EXPECT_EQ(info.kept, 4);
  EXPECT_FALSE(info.per_image);
  EXPECT_THAT(Text(), HasSubstr("deweather_model_info{model=\"rain\",version=\"abc\"} 1\n"));
  EXPECT_THAT(Text(), HasSubstr("deweather_expert_tokens_total{expert=\"15\",layer=\"1\"} 0\n"));
}

TEST_F(LiveModelsTest, APinOutlivesItsVersion) {
  auto life = std::make_shared<int>(0);
  const std::weak_ptr<int> alive = life;
  Install(models_, {.version = "1", .life = std::move(life)}, executor_);
  auto pin = models_.Pin("");
  Install(models_, {.version = "2"}, executor_);
  EXPECT_EQ(pin->info.version, "1");
  EXPECT_FALSE(alive.expired());
  EXPECT_EQ(models_.Pin("")->info.version, "2");
  EXPECT_THAT(Text(), Not(HasSubstr("version=\"1\"")));
  pin = absl::UnknownError("unpinned");
  EXPECT_TRUE(alive.expired());
}

TEST_F(LiveModelsTest, AnUnpinnedVersionIsFreedByTheExecutor) {
  std::vector<std::function<void()>> posted;
  const Executor later = [&](std::function<void()> task) { posted.push_back(std::move(task)); };
  auto life = std::make_shared<int>(0);
  const std::weak_ptr<int> alive = life;
  Install(models_, {.version = "1", .life = std::move(life)}, later);
  Install(models_, {.version = "2"}, later);
  EXPECT_FALSE(alive.expired());
  posted.clear();
  EXPECT_TRUE(alive.expired());
}

TEST_F(LiveModelsTest, LoadWarmsEveryBatchSizeOnTheExecutor) {
  const auto info = models_.Load("identity", {1, 2, 4}, executor_);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(tasks_, 4);  // the first size is cold at first
  EXPECT_TRUE(models_.Pin("identity")->cost->Fit().known());
  EXPECT_EQ(info->name, "identity");
  EXPECT_TRUE(info->is_default);
  EXPECT_TRUE(models_.Pin("identity").ok());
}

TEST_F(LiveModelsTest, AnUnknownNameToLoadSaysWhereItWasLookedFor) {
  const absl::Status status = models_.Load("no-such-model", {1}, executor_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no-such-model"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nowhere"));
}

TEST_F(LiveModelsTest, ABrokenFileLeavesWhatIsLive) {
  Install(models_, {.name = "rain"}, executor_);
  EXPECT_EQ(models_.Load("/nowhere/x.safetensors", {1}, executor_).status().code(),
            absl::StatusCode::kNotFound);
  const std::string path = testing::TempDir() + "/broken_model.safetensors";
  std::ofstream(path) << "not a checkpoint";
  const absl::Status status = models_.Load("broken_model", {1}, executor_).status();
  std::filesystem::remove(path);
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(tasks_, 0);
  EXPECT_EQ(models_.List().size(), 1u);
  EXPECT_TRUE(models_.Pin("rain").ok());
}

}  // namespace
}  // namespace deweather
