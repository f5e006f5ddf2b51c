#include "training/tile_pass.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "model/base/random_key.h"

namespace deweather {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(TilePassTest, TasksAreFoundByName) {
  EXPECT_EQ(FindTask({"rain", "snow"}, "snow").value(), 1);
  EXPECT_EQ(FindTask({}, "anything").value(), -1);
  const absl::Status unknown = FindTask({"rain", "snow"}, "haze").status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("unknown task 'haze'; known: rain, snow"));
}

Restorer ModelWith(const std::vector<std::string>& tasks) {
  Restorer model;
  model.spec.name = "m";
  model.spec.tasks = tasks;
  return model;
}

TEST(TilePassTest, ASetsTaskIsItsNameUnlessOneIsGiven) {
  const Restorer model = ModelWith({"rain", "snow"});
  EXPECT_EQ(TaskOf(model.spec, {"snow", ""}, "").value(), 1);
  EXPECT_EQ(TaskOf(model.spec, {"snow", ""}, "rain").value(), 0);
  EXPECT_EQ(TaskOf(ModelWith({}).spec, {"frogs", ""}, "").value(), -1);
  EXPECT_THAT(TaskOf(model.spec, {"frogs", ""}, "").status().ToString(),
              HasSubstr("set 'frogs', model 'm': unknown task 'frogs'"));
}

TEST(TilePassTest, TasksAreCheckedForAllModelsAndSets) {
  const Restorer gated = ModelWith({"rain"}), plain = ModelWith({});
  EXPECT_TRUE(CheckTasks({gated, plain}, {{"any", ""}}, "rain").ok());
  EXPECT_TRUE(CheckTasks({plain}, {{"any", ""}}, "").ok());
  for (const absl::Status& wrong :
       {CheckTasks({plain}, {{"any", ""}}, "rain"), CheckTasks({gated}, {{"any", ""}}, "snow"),
        CheckTasks({plain, gated}, {{"rain", ""}, {"any", ""}}, "")}) {
    EXPECT_EQ(wrong.code(), absl::StatusCode::kInvalidArgument);
  }
}

// A tile of a batch is told the same as alone.
TEST(TilePassTest, KeysAreOfPlaces) {
  const TileGrid grid(70, 50, {8, 32, 8, false});  // x 0 19 38, y 0 18
  const ForwardOptions batch = OptionsFor(grid, 1, 4, 2);
  EXPECT_THAT(batch.keys, ElementsAre(RandomKey({0, 19, 0}), RandomKey({0, 38, 0}),
                                      RandomKey({0, 0, 18}), RandomKey({0, 19, 18})));
  EXPECT_THAT(batch.tasks, ElementsAre(2, 2, 2, 2));
  EXPECT_EQ(OptionsFor(grid, 4, 1, -1).keys[0], batch.keys[3]);
  EXPECT_THAT(OptionsFor(grid, 4, 1, -1).tasks, IsEmpty());
}

}  // namespace
}  // namespace deweather
