#include "server/restore/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <thread>

#include "server/restore/error_reason.h"

namespace deweather {
namespace {

using testing::HasSubstr;

TEST(BudgetTest, SharesAddUpToTheLimit) {
  Budget budget(100, 10);
  const auto first = budget.Take(60, 5);
  ASSERT_TRUE(first.ok());
  const auto second = budget.Take(40, 5);
  EXPECT_TRUE(second.ok());
  EXPECT_EQ(budget.Take(1, 1).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(BudgetTest, RefusalNamesValueLimitAndReason) {
  Budget budget(100, 10);
  const auto first = budget.Take(60, 5);
  const absl::Status bytes = budget.Take(41, 1).status();
  EXPECT_EQ(ErrorReason(bytes), "BYTE_BUDGET");
  EXPECT_THAT(std::string(bytes.message()), HasSubstr("41 bytes"));
  EXPECT_THAT(std::string(bytes.message()), HasSubstr("60 of 100"));
  const absl::Status tiles = budget.Take(1, 6).status();
  EXPECT_EQ(ErrorReason(tiles), "TILE_BUDGET");
  EXPECT_THAT(std::string(tiles.message()), HasSubstr("5 of 10"));
}

TEST(BudgetTest, ARefusalTakesNothing) {
  Budget budget(100, 10);
  const auto first = budget.Take(60, 5);
  EXPECT_FALSE(budget.Take(41, 1).ok());
  EXPECT_TRUE(budget.Take(40, 5).ok());
}

TEST(BudgetTest, WhatIsLargerThanTheBudgetIsServedAlone) {
  Budget budget(100, 10);
  auto huge = budget.Take(1000, 1000);
  ASSERT_TRUE(huge.ok());
  EXPECT_FALSE(budget.Take(1, 1).ok());
  huge = Budget::Share();
  EXPECT_TRUE(budget.Take(1, 1).ok());
}

TEST(BudgetTest, ASharesReturnIsItsOwn) {
  Budget budget(100, 10);
  std::optional<Budget::Share> moved;
  {
    auto share = budget.Take(100, 1);
    ASSERT_TRUE(share.ok());
    moved.emplace(*std::move(share));
  }
  EXPECT_FALSE(budget.Take(1, 1).ok()) << "the moved share still holds";
  moved.reset();
  EXPECT_TRUE(budget.Take(100, 10).ok());
}

TEST(OccupancyTest, CountsPlaces) {
  Occupancy occupancy;
  EXPECT_EQ(occupancy.count(), 0);
  {
    const Occupancy::Place first(occupancy);
    const Occupancy::Place second(occupancy);
    EXPECT_EQ(occupancy.count(), 2);
  }
  EXPECT_EQ(occupancy.count(), 0);
  occupancy.WaitUntilEmpty();
}

TEST(OccupancyTest, WaitsForTheLastOne) {
  Occupancy occupancy;
  auto place = std::make_unique<Occupancy::Place>(occupancy);
  std::thread leaver([&place] { place.reset(); });
  occupancy.WaitUntilEmpty();
  EXPECT_EQ(occupancy.count(), 0);
  leaver.join();
}

TEST(ErrorReasonTest, TheFirstReasonStays) {
  const absl::Status status = WithReason(absl::InternalError("x"), "MODEL_FAILED");
  EXPECT_EQ(ErrorReason(WithReason(status, "OTHER")), "MODEL_FAILED");
  EXPECT_EQ(ErrorReason(absl::CancelledError("x")), "CANCELLED");
  EXPECT_TRUE(WithReason(absl::OkStatus(), "OTHER").ok());
}

}  // namespace
}  // namespace deweather
