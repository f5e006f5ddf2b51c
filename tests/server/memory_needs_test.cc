#include "server/memory_needs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace deweather {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr int64_t kGiB = int64_t{1} << 30;

TEST(MemoryNeedsTest, TooLittleToStartNamesLimitAndNeed) {
  ServerOptions options;
  EXPECT_TRUE(CheckStartMemory(options, std::nullopt).ok());
  EXPECT_TRUE(CheckStartMemory(options, int64_t{336} << 20).ok());
  const absl::Status status = CheckStartMemory(options, int64_t{300} << 20);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("allows 300 MiB"), HasSubstr("needs 336 MiB")));
  options.batching.max_tiles = 1;
  EXPECT_TRUE(CheckStartMemory(options, int64_t{300} << 20).ok());
  EXPECT_FALSE(CheckStartMemory(options, int64_t{100} << 20).ok());
  options.model = "north";
  options.batching.max_tiles = 8;
  EXPECT_FALSE(CheckStartMemory(options, int64_t{300} << 20).ok());
  options.model = "identity";
  EXPECT_TRUE(CheckStartMemory(options, int64_t{100} << 20).ok());
  EXPECT_FALSE(CheckStartMemory(options, int64_t{90} << 20).ok());
}

TEST(MemoryNeedsTest, TooFewAddressesAreToldBesideWhatIsMapped) {
  EXPECT_TRUE(CheckAddresses(600 << 20, std::nullopt).ok());
  EXPECT_TRUE(CheckAddresses(600 << 20, int64_t{2648} << 20).ok());
  const absl::Status status = CheckAddresses(600 << 20, int64_t{2647} << 20);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("may map 2647 MiB"), HasSubstr("has mapped 600 MiB"),
                    HasSubstr("2048 MiB more")));
}

TEST(MemoryNeedsTest, BudgetsBeyondTheLimitAreNamed) {
  ServerOptions options;
  options.admission.max_bytes = 2 * kGiB;
  options.limits.max_transport_bytes = kGiB;
  EXPECT_EQ(MemoryWarning(options, kGiB, std::nullopt), "");
  EXPECT_EQ(MemoryWarning(options, kGiB, 4 * kGiB), "");
  EXPECT_THAT(MemoryWarning(options, kGiB, 4 * kGiB - 1),
              AllOf(HasSubstr("4.0 GiB of memory may be needed"), HasSubstr("1.0 GiB now"),
                    HasSubstr("admission.max_bytes 2.0 GiB"),
                    HasSubstr("max_transport_bytes 1.0 GiB"), Not(HasSubstr("training"))));
}

TEST(MemoryNeedsTest, JobsCountWhereTheyRun) {
  ServerOptions options;
  options.training.max_running = 2;
  const int64_t limit = 8 * kGiB;
  EXPECT_EQ(MemoryWarning(options, 0, limit), "");
  options.data_dir = "data";
  EXPECT_THAT(MemoryWarning(options, 0, limit),
              AllOf(HasSubstr("19.0 GiB of"), HasSubstr("2 x training.max_memory_bytes 8.0 GiB")));
  options.training.enabled = false;
  EXPECT_EQ(MemoryWarning(options, 0, limit), "");
}

}  // namespace
}  // namespace deweather
