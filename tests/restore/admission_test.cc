#include "server/restore/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "model/base/error_reason.h"

namespace deweather {
namespace {

using testing::HasSubstr;
using Share = std::unique_ptr<Admission::Share>;

constexpr int kMaxBatch = 8;

Admission::Demand Bytes(int64_t bytes, const std::string& caller = "a") {
  return {.caller = caller, .bytes = bytes, .window_tiles = 1, .tiles = 1};
}

Admission::Demand Tiles(int64_t window_tiles, const std::string& caller = "a") {
  return {.caller = caller, .bytes = 1, .window_tiles = window_tiles, .tiles = window_tiles};
}

// Tiles of one megapixel that take a second each.
Admission::Demand Seconds(int64_t tiles, absl::Time deadline, const std::string& caller = "a",
                          Priority priority = Priority::kNormal) {
  return {.caller = caller,
          .priority = priority,
          .bytes = 1,
          .window_tiles = 1,
          .tiles = tiles,
          .tile_pixels = 1'000'000,
          .cost = {.fixed = absl::ZeroDuration(), .per_megapixel = absl::Seconds(1)},
          .deadline = deadline};
}

class AdmissionTest : public testing::Test {
 protected:
  // Whether it was let in; its share is kept.
  bool Admit(const Admission::Demand& demand) {
    absl::StatusOr<Share> share = admission_.Admit(demand, now_);
    last_ = share.status();
    if (share.ok()) shares_.push_back(*std::move(share));
    return last_.ok();
  }

  Admission admission_{{.max_bytes = 1000, .max_tiles = 100, .max_caller_percent = 50},
                       kMaxBatch,
                       /*workers=*/2};
  const absl::Time now_ = absl::Now();
  absl::Status last_;
  std::vector<Share> shares_;
};

TEST_F(AdmissionTest, SharesAddUpToTheByteBudget) {
  EXPECT_TRUE(Admit(Bytes(400, "a")));
  EXPECT_TRUE(Admit(Bytes(400, "b")));
  EXPECT_FALSE(Admit(Bytes(201, "c")));
  EXPECT_EQ(last_.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorReason(last_), "BYTE_BUDGET");
  EXPECT_THAT(std::string(last_.message()), HasSubstr("201 bytes"));
  EXPECT_THAT(std::string(last_.message()), HasSubstr("800 of 1000"));
  EXPECT_TRUE(Admit(Bytes(200, "c"))) << "a refusal takes nothing";
}

TEST_F(AdmissionTest, SharesAddUpToTheTileBudget) {
  EXPECT_TRUE(Admit(Tiles(40, "a")));
  EXPECT_TRUE(Admit(Tiles(40, "b")));
  EXPECT_FALSE(Admit(Tiles(21, "c")));
  EXPECT_EQ(ErrorReason(last_), "TILE_BUDGET");
  EXPECT_THAT(std::string(last_.message()), HasSubstr("80 of 100"));
  EXPECT_TRUE(Admit(Tiles(20, "c")));
}

TEST_F(AdmissionTest, OneCallerCannotTakeAll) {
  EXPECT_TRUE(Admit(Bytes(400)));
  EXPECT_FALSE(Admit(Bytes(101)));
  EXPECT_EQ(ErrorReason(last_), "CALLER_QUOTA");
  EXPECT_THAT(std::string(last_.message()), HasSubstr("400 of 500"));
  EXPECT_TRUE(Admit(Bytes(101, "another")));
  EXPECT_TRUE(Admit(Bytes(100)));
  EXPECT_TRUE(Admit(Tiles(47, "another")));
  EXPECT_FALSE(Admit(Tiles(3, "another")));
  EXPECT_EQ(ErrorReason(last_), "CALLER_QUOTA");
}

TEST_F(AdmissionTest, WhatIsLargerThanABudgetIsServedAlone) {
  Admission::Demand huge = Bytes(5000);
  huge.window_tiles = 5000;
  EXPECT_TRUE(Admit(huge));
  EXPECT_FALSE(Admit(Bytes(1, "b")));
  shares_.clear();
  EXPECT_TRUE(Admit(Bytes(1, "b")));
  EXPECT_FALSE(Admit(huge)) << "not alone";
}

TEST_F(AdmissionTest, WhatIsLargerThanAQuotaIsServedBesideOthers) {
  EXPECT_TRUE(Admit(Bytes(10, "b")));
  EXPECT_TRUE(Admit(Bytes(900)));
}

TEST_F(AdmissionTest, WhatACallerMayEverHoldTogether) {
  EXPECT_TRUE(Admit(Bytes(500)));
  EXPECT_TRUE(admission_.CheckTogether({.bytes = 500, .window_tiles = 50}).ok())
      << "whatever is held now";
  const absl::Status bytes = admission_.CheckTogether({.bytes = 501});
  EXPECT_EQ(bytes.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(bytes.message()),
              HasSubstr("need 501 bytes together; a caller may hold 500"));
  EXPECT_THAT(std::string(admission_.CheckTogether({.window_tiles = 51}).message()),
              HasSubstr("need 51 tiles together; a caller may hold 50"));
}

TEST_F(AdmissionTest, EverythingComesBack) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(Admit(Tiles(50, "a")));
    EXPECT_TRUE(Admit(Bytes(500, "b")));
    EXPECT_EQ(admission_.held().requests, 2);
    EXPECT_EQ(admission_.held().bytes, 501);
    EXPECT_EQ(admission_.held().tiles, 51);
    shares_.clear();
    EXPECT_EQ(admission_.held().requests, 0);
    EXPECT_EQ(admission_.held().bytes, 0);
    EXPECT_EQ(admission_.held().tiles, 0);
  }
}

TEST_F(AdmissionTest, AReservationIsExchangedInOneStep) {
  ASSERT_TRUE(Admit({.caller = "a", .bytes = 400}));
  ASSERT_TRUE(Admit(Bytes(500, "b")));
  auto share = admission_.Admit(Bytes(450), now_, std::exchange(shares_[0], nullptr));
  ASSERT_TRUE(share.ok()) << share.status();
  EXPECT_EQ(admission_.held().bytes, 950);
  EXPECT_EQ(admission_.held().requests, 2);
}

TEST_F(AdmissionTest, ARefusedReservationIsGivenBack) {
  ASSERT_TRUE(Admit({.caller = "a", .bytes = 400}));
  ASSERT_TRUE(Admit(Bytes(500, "b")));
  EXPECT_FALSE(admission_.Admit(Bytes(501), now_, std::exchange(shares_[0], nullptr)).ok());
  EXPECT_EQ(admission_.held().bytes, 500);
}

TEST_F(AdmissionTest, ADeadlineThatHasPassedIsNotARefusal) {
  EXPECT_FALSE(Admit(Seconds(1, now_)));
  EXPECT_EQ(last_.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(AdmissionTest, TheWorkAheadDecides) {
  ASSERT_TRUE(Admit(Seconds(10, absl::InfiniteFuture())));
  EXPECT_FALSE(Admit(Seconds(2, now_ + absl::Milliseconds(4900))))
      << "turns: 2 own, 2 of the other";
  EXPECT_EQ(ErrorReason(last_), "DEADLINE_TOO_SHORT");
  EXPECT_THAT(std::string(last_.message()), HasSubstr("2 tiles take about 4s"));
  EXPECT_EQ(RetryDelay(last_), absl::Milliseconds(100));
  EXPECT_TRUE(Admit(Seconds(2, now_ + absl::Milliseconds(5100))));
}

TEST_F(AdmissionTest, CallersTakeTurns) {
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(Admit(Seconds(1, absl::InfiniteFuture(), "many")));
  EXPECT_TRUE(Admit(Seconds(1, now_ + absl::Milliseconds(2600), "one")))
      << "one of theirs, then it";
  EXPECT_FALSE(Admit(Seconds(1, now_ + absl::Milliseconds(2600), "many")));
}

TEST_F(AdmissionTest, TheFixedPartCountsForEachBatch) {
  ASSERT_TRUE(Admit(Seconds(1, absl::InfiniteFuture(), "b")));
  Admission::Demand demand = Seconds(kMaxBatch + 1, now_ + absl::Milliseconds(14'900));
  demand.cost.fixed = absl::Seconds(1);
  EXPECT_FALSE(Admit(demand));
  demand.deadline = now_ + absl::Milliseconds(15'100);
  EXPECT_TRUE(Admit(demand));
}

TEST_F(AdmissionTest, BackgroundWaitsForAllThatIsNormal) {
  ASSERT_TRUE(Admit(Seconds(5, absl::InfiniteFuture(), "a")));
  EXPECT_FALSE(Admit(Seconds(1, now_ + absl::Milliseconds(7400), "b", Priority::kBackground)));
  EXPECT_TRUE(Admit(Seconds(1, now_ + absl::Milliseconds(7600), "b", Priority::kBackground)));
  EXPECT_TRUE(Admit(Seconds(1, now_ + absl::Milliseconds(2600), "c"))) << "it is not in the way";
}

TEST_F(AdmissionTest, FinishedTilesAreNotAhead) {
  ASSERT_TRUE(Admit(Seconds(3, absl::InfiniteFuture())));
  for (int i = 0; i < 2; ++i) shares_[0]->TileDone();
  EXPECT_TRUE(Admit(Seconds(2, now_ + absl::Milliseconds(3800))));
}

TEST_F(AdmissionTest, WhatWorkersHaveToDoIsAheadToo) {
  admission_.LearnCodec(1'000'000, absl::Seconds(2));
  Admission::Demand demand = Seconds(1, absl::InfiniteFuture());
  demand.picture_pixels = 1'000'000;
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(Admit(demand));
  demand.caller = "b";  // own tile and one of theirs, own codec and four of theirs on two workers
  demand.deadline = now_ + absl::Milliseconds(9900);
  EXPECT_FALSE(Admit(demand));
  demand.deadline = now_ + absl::Milliseconds(10'100);
  EXPECT_TRUE(Admit(demand));
}

TEST_F(AdmissionTest, SmallPicturesDoNotCondemnLargeOnes) {
  for (int i = 0; i < 100; ++i) admission_.LearnCodec(1000, absl::Milliseconds(5));
  ASSERT_TRUE(Admit(Seconds(1, absl::InfiniteFuture())));
  Admission::Demand large = Seconds(1, now_ + absl::Seconds(3), "b");
  large.picture_pixels = 24'000'000;
  EXPECT_TRUE(Admit(large)) << "not 24 000 times as long";
}

TEST_F(AdmissionTest, AReservationDoesNotKeepAWrongPredictionAlive) {
  ASSERT_TRUE(Admit({.caller = "b", .bytes = 1}));
  EXPECT_TRUE(Admit(Seconds(100, now_ + absl::Seconds(1))));
}

TEST_F(AdmissionTest, OddNumbersOfTilesEndAtNothing) {
  for (int i = 0; i < 3; ++i) {
    const absl::Time start = now_ - absl::Seconds(21);  // predicted: 7
    absl::StatusOr<Share> share = admission_.Admit(Seconds(7, absl::InfiniteFuture()), start);
    ASSERT_TRUE(share.ok());
    for (int tile = 0; tile < 7; ++tile) (*share)->TileDone();
  }
  ASSERT_TRUE(Admit(Tiles(1, "b")));
  ASSERT_TRUE(Admit(Seconds(1, absl::InfiniteFuture(), "c")));
  EXPECT_FALSE(Admit(Seconds(1, now_ + absl::Seconds(7)))) << "1 of its own, 1 of c, three times";
}

TEST_F(AdmissionTest, PredictionsThatCameTrueEarlyAreCorrectedToo) {
  const absl::Time start = now_ - absl::Seconds(5);  // predicted: 10
  absl::StatusOr<Share> early = admission_.Admit(Seconds(10, absl::InfiniteFuture()), start);
  ASSERT_TRUE(early.ok());
  for (int tile = 0; tile < 10; ++tile) (*early)->TileDone();
  early->reset();
  ASSERT_TRUE(Admit(Seconds(1, absl::InfiniteFuture(), "c")));
  EXPECT_TRUE(Admit(Seconds(1, now_ + absl::Milliseconds(1400)))) << "half of two, and a quarter";
}

TEST_F(AdmissionTest, OthersShareTheFixedPartOfABatch) {
  Admission::Demand demand = Seconds(1, absl::InfiniteFuture());
  demand.cost = {.fixed = absl::Seconds(8), .per_megapixel = absl::Seconds(1)};
  for (int i = 0; i < 7; ++i) ASSERT_TRUE(Admit(demand));
  demand.caller =
      "b";  // 9 alone, and an eighth of a full batch of 16 for the one that it waits for
  demand.deadline = now_ + absl::Milliseconds(14'000);
  EXPECT_TRUE(Admit(demand));
  demand.caller = "c";
  demand.deadline = now_ + absl::Milliseconds(11'000);
  EXPECT_FALSE(Admit(demand));
}

TEST_F(AdmissionTest, LongPicturesLetOthersPass) {
  admission_.LearnCodec(1'000'000, absl::Seconds(2));
  Admission::Demand demand = Seconds(1, absl::InfiniteFuture());
  demand.picture_pixels = 1'000'000;
  demand.overtaken = true;
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(Admit(demand));
  demand.caller = "b";
  demand.overtaken = false;
  demand.deadline = now_ + absl::Milliseconds(5100);
  EXPECT_TRUE(Admit(demand));
}

TEST_F(AdmissionTest, AloneOrUnmeasuredNothingIsHopeless) {
  EXPECT_TRUE(Admit(Seconds(100, now_ + absl::Seconds(1)))) << "a wrong cost must be found out";
  Admission::Demand unknown = Seconds(100, now_ + absl::Seconds(1));
  unknown.cost = {};
  EXPECT_TRUE(Admit(unknown));
}

TEST_F(AdmissionTest, PredictionsThatCameTrueLateAreCorrected) {
  const absl::Time start = now_ - absl::Seconds(3);  // it was predicted to take one
  absl::StatusOr<Share> late = admission_.Admit(Seconds(1, absl::InfiniteFuture()), start);
  ASSERT_TRUE(late.ok());
  (*late)->TileDone();
  late->reset();
  ASSERT_TRUE(Admit(Seconds(1, absl::InfiniteFuture(), "c")));
  EXPECT_FALSE(Admit(Seconds(2, now_ + absl::Milliseconds(11'000)))) << "three times as long";
  EXPECT_TRUE(Admit(Seconds(2, now_ + absl::Milliseconds(11'600))));
}

TEST_F(AdmissionTest, ACancelTeachesNothing) {
  absl::StatusOr<Share> left =
      admission_.Admit(Seconds(5, absl::InfiniteFuture()), now_ - absl::Seconds(3));
  ASSERT_TRUE(left.ok());
  left->reset();
  ASSERT_TRUE(Admit(Seconds(1, absl::InfiniteFuture(), "c")));
  EXPECT_TRUE(Admit(Seconds(2, now_ + absl::Milliseconds(3900))));
}

}  // namespace
}  // namespace deweather
