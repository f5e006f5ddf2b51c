#include "training/lead.h"

#include <gtest/gtest.h>

#include "tests/training/two_ranks.h"

namespace deweather {
namespace {

std::unique_ptr<Ranks> Join(const RankPlace& place) {
  return Ranks::Join(place, at::kCPU, absl::Seconds(60)).value();
}

TEST(LeadTest, AloneItIsTheWork) {
  Ranks alone;
  const auto work = [](const TellBusy& busy) -> absl::StatusOr<std::string> {
    busy();
    return absl::NotFoundError("nothing there");
  };
  EXPECT_EQ(Lead(alone, absl::Seconds(1), work).status(), absl::NotFoundError("nothing there"));
}

TEST(LeadTest, OtherRanksGetWhatTheFirstReturns) {
  RunRanks(3, [](const RankPlace& place) {
    const auto ranks = Join(place);
    const auto lead = [&](const absl::StatusOr<std::string>& outcome) {
      return Lead(*ranks, absl::Seconds(60), [&](const TellBusy&) {
        EXPECT_EQ(place.rank, 0);
        return outcome;
      });
    };
    EXPECT_EQ(lead("3 of 4").value(), "3 of 4");
    EXPECT_EQ(lead("").value(), "");
    EXPECT_EQ(lead(absl::NotFoundError("no 'x'")).status(),
              absl::NotFoundError(place.rank == 0 ? "no 'x'" : "rank 0: no 'x'"));
  });
}

// What the first says, heard as it is: "busy" before the outcome, but not more often than it must be.
TEST(LeadTest, OtherRanksHearThatTheFirstIsBusy) {
  for (const auto& [timeout, expected] :
       {std::pair(absl::ZeroDuration(), 2), std::pair(absl::Hours(1), 0)}) {
    RunRanks(2, [timeout = timeout, expected = expected](const RankPlace& place) {
      const auto ranks = Join(place);
      int heard = 0;
      std::string text = "busy";
      if (place.rank == 0) {
        const auto work = [](const TellBusy& busy) -> absl::StatusOr<std::string> {
          busy();
          busy();
          return "done";
        };
        EXPECT_TRUE(Lead(*ranks, timeout, work).ok());
        return;
      }
      for (ranks->Share(text); text == "busy"; ranks->Share(text)) ++heard;
      EXPECT_EQ(heard, expected);
      EXPECT_EQ(text, "0 done");
    });
  }
}

}  // namespace
}  // namespace deweather
