#include "server/http/body_budget.h"

#include <gtest/gtest.h>

namespace deweather {
namespace {

TEST(BodyBudgetTest, RoomIsTakenAndGivenBack) {
  BodyBudget budget(100);
  {
    BodyBudget::Share one(budget);
    EXPECT_TRUE(one.Take(60));
    BodyBudget::Share two(budget);
    EXPECT_FALSE(two.Take(41));
    EXPECT_EQ(budget.held_bytes(), 60);
    EXPECT_TRUE(two.Take(40));
    EXPECT_FALSE(one.Take(1));
    one.Return();
    EXPECT_TRUE(two.Take(60));
  }
  EXPECT_EQ(budget.held_bytes(), 0);
}

TEST(BodyBudgetTest, RepliesAreNotRefused) {
  BodyBudget budget(100);
  BodyBudget::Share reply(budget);
  reply.TakeAnyway(1000);
  BodyBudget::Share request(budget);
  EXPECT_FALSE(request.Take(1));
  reply.Return();
  EXPECT_TRUE(request.Take(100));
}

}  // namespace
}  // namespace deweather
