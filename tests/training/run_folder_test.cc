#include "training/run_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/training/pictures.h"

namespace deweather {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(RunFolderTest, CheckpointsAreNamedByTheirSteps) {
  EXPECT_EQ(CheckpointPath("out", 10), "out/checkpoints/step-000000010.safetensors");
  EXPECT_EQ(StepOf(CheckpointPath("out", 1'234'567'890'123)), 1'234'567'890'123);
  for (const char* name : {"step-10.safetensors", "step--00000010.safetensors", "step-000000010",
                           "step-00000001x.safetensors", "model.safetensors"}) {
    EXPECT_EQ(StepOf(name), std::nullopt) << name;
  }
}

TEST(RunFolderTest, NewestCheckpointsAreKept) {
  const std::string dir = NewFolder();
  const RunLock lock = RunLock::Take(dir).value();
  ASSERT_TRUE(AddCheckpoint(dir, 50, "of a later step, broken", 2).ok());
  for (const int64_t step : {9, 10, 11}) ASSERT_TRUE(AddCheckpoint(dir, step, "state", 2).ok());
  ASSERT_TRUE(WriteFileAtomically(dir + "/checkpoints/mine.safetensors", "").ok());
  ASSERT_TRUE(WriteFileAtomically(dir + "/checkpoints/notes.txt", "").ok());
  EXPECT_THAT(ListCheckpoints(dir).value(),
              ElementsAre(CheckpointPath(dir, 50), CheckpointPath(dir, 11), CheckpointPath(dir, 10),
                          dir + "/checkpoints/mine.safetensors"));
  ASSERT_TRUE(AddCheckpoint(dir, 60, "state", 1).ok());
  EXPECT_THAT(ListCheckpoints(dir).value(),
              ElementsAre(CheckpointPath(dir, 60), dir + "/checkpoints/mine.safetensors"));
}

TEST(RunFolderTest, TornCheckpointsAreReplaced) {
  const std::string dir = NewFolder();
  const RunLock lock = RunLock::Take(dir).value();
  for (const int64_t step : {4, 11, 12, 20}) ASSERT_TRUE(AddCheckpoint(dir, step, "", 9).ok());
  const std::vector<std::string> torn = {CheckpointPath(dir, 20), CheckpointPath(dir, 12),
                                         CheckpointPath(dir, 11)};
  ASSERT_TRUE(AddCheckpoint(dir, 12, "state", 2, torn).ok());
  EXPECT_THAT(ListCheckpoints(dir).value(),
              ElementsAre(CheckpointPath(dir, 12), CheckpointPath(dir, 4)));
}

TEST(RunFolderTest, SecondRunIsRefusedUntilTheFirstEnds) {
  const std::string dir = NewFolder();
  {
    const RunLock lock = RunLock::Take(dir).value();
    const absl::Status status = RunLock::Take(dir).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr(dir + "/.lock"));
  }
  EXPECT_TRUE(RunLock::Take(dir).ok());
  EXPECT_THAT(std::string(RunLock::Take("/dev/null/out").status().message()),
              HasSubstr("/dev/null/out"));
}

TEST(RunFolderTest, OnlyWhatKilledRunsLeftHalfWrittenIsRemoved) {
  const std::string dir = NewFolder();
  const RunLock lock = RunLock::Take(dir).value();
  const std::string half[] = {dir + "/tiny.safetensors.partial.0123456789abcdef",
                              CheckpointPath(dir, 3) + ".partial.0123456789abcdef"};
  const std::string whole[] = {dir + "/tiny.safetensors", CheckpointPath(dir, 2),
                               dir + "/notes.partial.txt", dir + "/x.partial.0123456789abcdeg"};
  for (const std::string& path : half) ASSERT_TRUE(WriteFileAtomically(path, "half").ok());
  for (const std::string& path : whole) ASSERT_TRUE(WriteFileAtomically(path, "whole").ok());
  ASSERT_TRUE(RemovePartialFiles(dir).ok());
  for (const std::string& path : half) EXPECT_FALSE(std::filesystem::exists(path)) << path;
  for (const std::string& path : whole) EXPECT_TRUE(std::filesystem::exists(path)) << path;
}

}  // namespace
}  // namespace deweather
