#include "server/file_limit.h"

#include <gmock/gmock.h>
#include <sys/resource.h>

#include <string>

namespace deweather {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(FileLimitTest, ConnectionsLeaveRoomForFiles) {
  EXPECT_EQ(ConnectionsWithin(100'000, 4096).value(), 4096);
  EXPECT_EQ(ConnectionsWithin(1024, 4096).value(), 768);
  EXPECT_EQ(ConnectionsWithin(257, 4096).value(), 1);
  EXPECT_EQ(ConnectionsWithin(1024, 4096, /*ports=*/2).value(), 384);
  EXPECT_FALSE(ConnectionsWithin(257, 4096, /*ports=*/2).ok());
}

TEST(FileLimitTest, TooFewFilesAreAnError) {
  const absl::Status status = ConnectionsWithin(256, 4096).status();
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("may open 256"), HasSubstr("256")));
}

TEST(FileLimitTest, IsRaisedToWhatIsAllowed) {
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit lower = {limit.rlim_max / 2, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &lower), 0);
  EXPECT_EQ(RaiseFileLimit(), static_cast<int64_t>(limit.rlim_max));
  rlimit now{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &now), 0);
  EXPECT_EQ(now.rlim_cur, limit.rlim_max);
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace
}  // namespace deweather
