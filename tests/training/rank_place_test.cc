#include "training/rank_place.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

namespace deweather {
namespace {

using testing::HasSubstr;
using Variables = std::map<std::string, std::string>;

absl::StatusOr<RankPlace> Read(const Variables& variables) {
  return ReadRankPlace([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

const Variables kSecondOfTwo = {{"RANK", "1"},
                                {"WORLD_SIZE", "2"},
                                {"LOCAL_RANK", "1"},
                                {"MASTER_ADDR", "10.0.0.1"},
                                {"MASTER_PORT", "29500"}};

TEST(RankPlaceTest, RanksAsALauncherSaysThem) {
  const auto place = Read(kSecondOfTwo);
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_EQ(place->rank, 1);
  EXPECT_EQ(place->count, 2);
  EXPECT_EQ(place->local_rank, 1);
  EXPECT_EQ(place->address, "10.0.0.1");
  EXPECT_EQ(place->port, 29500);
  EXPECT_FALSE(place->store_is_there);
  EXPECT_EQ(place->local_count, 1);
}

TEST(RankPlaceTest, TorchrunHoldsTheStore) {
  Variables variables = kSecondOfTwo;
  variables["TORCHELASTIC_USE_AGENT_STORE"] = "True";
  variables["LOCAL_WORLD_SIZE"] = "2";
  const auto place = Read(variables);
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_TRUE(place->store_is_there);
  EXPECT_EQ(place->local_count, 2);
}

TEST(RankPlaceTest, AloneNeedsNoAddress) {
  for (const Variables& variables : {Variables{}, Variables{{"WORLD_SIZE", "1"}, {"RANK", "0"}},
                                     Variables{{"MASTER_ADDR", "10.0.0.1"}}}) {
    const auto place = Read(variables);
    ASSERT_TRUE(place.ok()) << place.status();
    EXPECT_EQ(place->count, 1);
    EXPECT_EQ(place->rank, 0);
  }
}

TEST(RankPlaceTest, OneRankOfALauncherKnowsItsStore) {
  Variables variables = kSecondOfTwo;
  variables["RANK"] = "0";
  variables["WORLD_SIZE"] = "1";
  variables["TORCHELASTIC_USE_AGENT_STORE"] = "True";
  const auto place = Read(variables);
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_TRUE(place->store_is_there);
  EXPECT_EQ(place->address, "10.0.0.1");
  EXPECT_EQ(place->port, 29500);
}

struct BadCase {
  const char* variable;
  const char* value;  // null: not set
  const char* message;
};

class BadRankPlaceTest : public testing::TestWithParam<BadCase> {};

TEST_P(BadRankPlaceTest, NamesVariableAndValue) {
  Variables variables = kSecondOfTwo;
  variables.erase(GetParam().variable);
  if (GetParam().value != nullptr) variables[GetParam().variable] = GetParam().value;
  const absl::Status status = Read(variables).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Variables, BadRankPlaceTest,
    testing::Values(BadCase{"MASTER_ADDR", nullptr, "WORLD_SIZE is '2' but MASTER_ADDR is not set"},
                    BadCase{"MASTER_ADDR", "", "WORLD_SIZE is '2' but MASTER_ADDR is not set"},
                    BadCase{"MASTER_PORT", nullptr, "WORLD_SIZE is '2' but MASTER_PORT is not set"},
                    BadCase{"RANK", nullptr, "WORLD_SIZE is '2' but RANK is not set"},
                    BadCase{"WORLD_SIZE", nullptr, "RANK is '1' but WORLD_SIZE is not set"},
                    BadCase{"WORLD_SIZE", "", "RANK is '1' but WORLD_SIZE is not set"},
                    BadCase{"RANK", "2", "RANK is '2'; it must be a whole number from 0 to 1"},
                    BadCase{"RANK", "-1", "RANK is '-1'"}, BadCase{"RANK", "one", "RANK is 'one'"},
                    BadCase{"WORLD_SIZE", "0", "WORLD_SIZE is '0'"},
                    BadCase{"WORLD_SIZE", "two", "WORLD_SIZE is 'two'"},
                    BadCase{"LOCAL_RANK", "x", "LOCAL_RANK is 'x'"},
                    BadCase{"MASTER_PORT", "65536",
                            "MASTER_PORT is '65536'; it must be a whole number from 1"}));

}  // namespace
}  // namespace deweather
