#include "server/restore/warm_up.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/base/error_reason.h"
#include "tests/restore/fake_model.h"

namespace deweather {
namespace {

using testing::ElementsAre;

class WarmUpTest : public testing::Test {
 protected:
  struct Run {
    std::vector<int> tasks;
    bool uncertainty = false;
  };

  void SetTasks(int count) {
    for (int i = 0; i < count; ++i) model_.tasks.push_back(std::to_string(i));
  }
  absl::Status WarmUpAll(const std::vector<int>& sizes) {
    runs_.clear();
    model_.on_options = [this](const std::vector<int>& tasks, bool uncertainty) {
      runs_.push_back({tasks, uncertainty});
    };
    const Executor here = [](const std::function<void()>& task) { task(); };
    return WarmUp(*MakeFake(model_), {.batch_sizes = sizes, .executor = here}, cost_, map_cost_);
  }

  FakeModel model_;
  std::vector<Run> runs_;
  BatchCost cost_;
  BatchCost map_cost_;
};

TEST_F(WarmUpTest, EverySizeRunsAndTheFirstTwice) {
  ASSERT_TRUE(WarmUpAll({1, 2, 4}).ok());
  EXPECT_EQ(runs_.size(), 4u);
  EXPECT_TRUE(cost_.Fit().known());
  EXPECT_FALSE(map_cost_.Fit().known());
}

TEST_F(WarmUpTest, EveryTaskRunsThoughABatchHoldsFewer) {
  SetTasks(5);
  ASSERT_TRUE(WarmUpAll({1, 2}).ok());
  ASSERT_EQ(runs_.size(), 5u);
  EXPECT_THAT(runs_[2].tasks, ElementsAre(0, 1));
  EXPECT_THAT(runs_[3].tasks, ElementsAre(2, 3));
  EXPECT_THAT(runs_[4].tasks, ElementsAre(4, 0));
}

TEST_F(WarmUpTest, ABrokenGateIsFoundWhateverTheBatch) {
  SetTasks(5);
  model_.broken_task = 4;
  for (const std::vector<int>& sizes : {std::vector{1}, std::vector{1, 2, 4}, std::vector{1, 8}}) {
    const absl::Status status = WarmUpAll(sizes);
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_EQ(ErrorReason(status), "MODEL_FAILED");
  }
}

TEST_F(WarmUpTest, UncertaintyIsMeasuredApart) {
  model_.layers = 1;
  model_.experts = 2;
  model_.kept = 1;
  ASSERT_TRUE(WarmUpAll({1, 2}).ok());
  EXPECT_EQ(std::ranges::count(runs_, true, &Run::uncertainty), 1);
  EXPECT_TRUE(runs_.back().uncertainty);
  EXPECT_TRUE(map_cost_.Fit().known());
  model_.per_image = true;
  ASSERT_TRUE(WarmUpAll({1, 2}).ok());
  EXPECT_EQ(std::ranges::count(runs_, true, &Run::uncertainty), 0) << "has no map";
}

}  // namespace
}  // namespace deweather
