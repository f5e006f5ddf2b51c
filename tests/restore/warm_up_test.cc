#include "server/restore/warm_up.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "model/base/device_failure.h"
#include "model/base/error_reason.h"
#include "tests/restore/fake_model.h"

namespace deweather {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

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
    const WarmUpOptions options{.batch_sizes = sizes,
                                .executor = here,
                                .stop = stop_.get_token(),
                                .log = [this](const std::string& line) { log_.push_back(line); }};
    return WarmUp(*MakeFake(model_), options, cost_, map_cost_);
  }
  // Answers `status` for batches of `size`, and notes all sizes.
  void RecordAllBut(int size, const absl::Status& status) {
    model_.on_record = [this, size, status](int batch) {
      recorded_.push_back(batch);
      runs_before_.push_back(runs_.size());
      return batch == size ? status : absl::OkStatus();
    };
  }

  FakeModel model_;
  std::vector<Run> runs_;
  std::vector<int> recorded_;
  std::vector<size_t> runs_before_;  // of each recording
  std::vector<std::string> log_;
  std::stop_source stop_;
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

TEST_F(WarmUpTest, SizesAreRecordedLargestFirstBeforeTheyAreMeasured) {
  RecordAllBut(0, absl::OkStatus());
  ASSERT_TRUE(WarmUpAll({1, 2, 4}).ok());
  EXPECT_THAT(recorded_, ElementsAre(4, 2, 1));
  EXPECT_THAT(runs_before_, ElementsAre(1, 1, 1)) << "after the cold run";
  EXPECT_EQ(runs_.size(), 4u);
  EXPECT_THAT(log_, IsEmpty());
}

TEST_F(WarmUpTest, ASizeThatCannotBeRecordedIsLoggedOnceAndServed) {
  RecordAllBut(2, absl::ResourceExhaustedError("no room for the graph"));
  ASSERT_TRUE(WarmUpAll({1, 2, 4}).ok());
  EXPECT_THAT(recorded_, ElementsAre(4, 2, 1)) << "the smaller are tried all the same";
  EXPECT_EQ(runs_.size(), 4u);
  EXPECT_THAT(log_, ElementsAre(AllOf(HasSubstr("fake version 1"), HasSubstr("batches of 2 "),
                                      HasSubstr("no room for the graph"))));
}

TEST_F(WarmUpTest, ADeviceThatBreaksOverARecordingEndsTheWarmUp) {
  RecordAllBut(4, MarkDeviceFailure(absl::InternalError("illegal address")));
  EXPECT_TRUE(IsDeviceFailure(WarmUpAll({1, 2, 4})));
  EXPECT_THAT(recorded_, ElementsAre(4));
}

TEST_F(WarmUpTest, StopsBetweenRecordings) {
  model_.on_record = [this](int batch) {
    recorded_.push_back(batch);
    stop_.request_stop();
    return absl::OkStatus();
  };
  EXPECT_TRUE(absl::IsCancelled(WarmUpAll({1, 2, 4})));
  EXPECT_THAT(recorded_, ElementsAre(4));
}

}  // namespace
}  // namespace deweather
