#include "model/base/control_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/base/machine_folder.h"

namespace deweather {
namespace {

using testing::ElementsAre;

class ControlGroupTest : public MachineFolderTest {};

TEST_F(ControlGroupTest, VersionTwoTheLeastOfAGroupAndThoseAbove) {
  Write("/proc/self/cgroup", "0::/a/b\n");
  Write("/sys/fs/cgroup/a/b/memory.max", "max\n");
  EXPECT_EQ(MemoryLimitBytes(root_), std::nullopt);
  Write("/sys/fs/cgroup/a/memory.max", "2000000\n");
  EXPECT_EQ(MemoryLimitBytes(root_), 2'000'000);
  Write("/sys/fs/cgroup/a/b/memory.max", "3000000\n");
  EXPECT_EQ(MemoryLimitBytes(root_), 2'000'000);
  Write("/sys/fs/cgroup/a/b/memory.max", "1000000\n");
  EXPECT_EQ(MemoryLimitBytes(root_), 1'000'000);
  EXPECT_THAT(ControlGroupTexts("", "memory.max", root_),
              ElementsAre("1000000\n", "2000000\n", ""));
}

TEST_F(ControlGroupTest, VersionOneHasAHierarchyOfItsOwn) {
  Write("/proc/self/cgroup", "9:cpu,cpuacct:/x\n4:memory:/docker/12\n0::/\n");
  Write("/sys/fs/cgroup/memory/docker/12/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(MemoryLimitBytes(root_), std::nullopt);
  // In a container the path is the machine's, and what is mounted is the container's.
  Write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "5000000\n");
  EXPECT_EQ(MemoryLimitBytes(root_), 5'000'000);
}

TEST_F(ControlGroupTest, WithoutGroupsThereIsNoLimit) {
  EXPECT_EQ(MemoryLimitBytes(root_), std::nullopt);
  Write("/proc/self/cgroup", "nonsense\n:\n0::\n");
  EXPECT_EQ(MemoryLimitBytes(root_), std::nullopt);
}

}  // namespace
}  // namespace deweather
