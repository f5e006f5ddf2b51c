#include "model/base/processors.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <string>

#include "tests/base/machine_folder.h"

namespace deweather {
namespace {

class ProcessorQuotaTest : public MachineFolderTest {};

TEST_F(ProcessorQuotaTest, VersionTwoTheLeastOfAGroupAndThoseAbove) {
  Write("/proc/self/cgroup", "0::/a/b\n");
  Write("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(ProcessorQuota(root_), 0);
  Write("/sys/fs/cgroup/a/cpu.max", "350000 100000\n");
  EXPECT_EQ(ProcessorQuota(root_), 4);
  Write("/sys/fs/cgroup/a/b/cpu.max", "150000 100000\n");
  EXPECT_EQ(ProcessorQuota(root_), 2);
}

TEST_F(ProcessorQuotaTest, VersionOneHasItInTwoFiles) {
  Write("/proc/self/cgroup", "9:cpu,cpuacct:/a/b\n4:memory:/c\n");
  Write("/sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us", "-1\n");
  Write("/sys/fs/cgroup/cpu/a/b/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(ProcessorQuota(root_), 0);
  Write("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "120000\n");
  EXPECT_EQ(ProcessorQuota(root_), 0) << "without its period it says nothing";
  Write("/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "50000\n");
  EXPECT_EQ(ProcessorQuota(root_), 3);
}

// In a container the path is the machine's, and what is mounted is the container's.
TEST_F(ProcessorQuotaTest, AContainersOwn) {
  Write("/proc/self/cgroup", "3:cpu,cpuacct:/docker/12\n");
  Write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n");
  Write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(ProcessorQuota(root_), 2);
}

TEST_F(ProcessorQuotaTest, WithoutGroupsThereIsNone) { EXPECT_EQ(ProcessorQuota(root_), 0); }

TEST(UsableProcessorsTest, AreThoseThatTheSchedulerAllows) {
  cpu_set_t all;
  ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
  EXPECT_LE(UsableProcessors(), CPU_COUNT(&all));
  int first = 0;
  while (CPU_ISSET(first, &all) == 0) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(UsableProcessors(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof(all), &all), 0);
}

}  // namespace
}  // namespace deweather
