#include "client/bench_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace deweather {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string MixError(std::string_view text) {
  return std::string(ParseMix(text).status().message());
}

TEST(ParseMixTest, SizesFilesAndWeights) {
  const std::vector<MixPart> mix = ParseMix("256x256=8,1920x1080=0.5,a=b/rain.jpg=2,x.png").value();
  ASSERT_EQ(mix.size(), 4u);
  EXPECT_EQ(mix[0].name, "256x256");
  EXPECT_EQ(mix[0].weight, 8);
  EXPECT_TRUE(mix[0].made());
  EXPECT_EQ(mix[1].width_px, 1920);
  EXPECT_EQ(mix[1].height_px, 1080);
  EXPECT_EQ(mix[1].weight, 0.5);
  EXPECT_EQ(mix[2].name, "a=b/rain.jpg");
  EXPECT_EQ(mix[2].weight, 2);
  EXPECT_FALSE(mix[2].made());
  EXPECT_EQ(mix[3].name, "x.png");
  EXPECT_EQ(mix[3].weight, 1);
}

TEST(ParseMixTest, AFileMayLookAlmostLikeASize) {
  for (const char* const name : {"640x480.png", "x640", "640x", "1x2x3", "-1x5"}) {
    const std::vector<MixPart> mix = ParseMix(name).value();
    EXPECT_FALSE(mix.at(0).made()) << name;
  }
}

TEST(ParseMixTest, RefusesAndNamesWhatIsWrong) {
  EXPECT_THAT(MixError("0x5"), AllOf(HasSubstr("0x5"), HasSubstr("[1, 30000]")));
  EXPECT_THAT(MixError("30001x5"), HasSubstr("30001x5"));
  EXPECT_THAT(MixError("99999999999x5"), HasSubstr("99999999999x5"));
  EXPECT_THAT(MixError("30000x30000"),
              AllOf(HasSubstr("900000000"), HasSubstr("at most 200000000")));
  EXPECT_EQ(MixError("20000x10000"), "");
  EXPECT_THAT(MixError("5x5=0"), HasSubstr("'0' is no weight"));
  EXPECT_THAT(MixError("5x5=-1"), HasSubstr("'-1' is no weight"));
  EXPECT_THAT(MixError("5x5=nan"), HasSubstr("'nan' is no weight"));
  EXPECT_THAT(MixError("5x5=many"), HasSubstr("'many' is no weight"));
  EXPECT_THAT(MixError("5x5=1,,6x6"), HasSubstr("names no size"));
  EXPECT_THAT(MixError("=3"), HasSubstr("'=3' names no size"));
}

TEST(MixOfTest, FilesElseTheMixElseOneSize) {
  BenchFlags flags;
  EXPECT_EQ(MixOf(flags).value().at(0).name, "256x256");
  flags.mix = "7x9";
  EXPECT_EQ(MixOf(flags).value().at(0).height_px, 9);
  flags.inputs = {"a.png", "7x7"};
  const std::vector<MixPart> mix = MixOf(flags).value();
  ASSERT_EQ(mix.size(), 2u);
  EXPECT_FALSE(mix[1].made()) << "an input is a file whatever its name";
}

TEST(ValidateTest, RangesAndContradictions) {
  const auto error = [](auto change) {
    BenchFlags flags;
    change(flags);
    return std::string(Validate(flags).message());
  };
  EXPECT_EQ(error([](BenchFlags&) {}), "");
  EXPECT_THAT(error([](BenchFlags& f) { f.concurrency = 0; }), HasSubstr("--concurrency is 0"));
  EXPECT_THAT(error([](BenchFlags& f) { f.connections = -1; }), HasSubstr("--connections is -1"));
  EXPECT_THAT(error([](BenchFlags& f) { f.max_outstanding = 0; }), HasSubstr("--max-outstanding"));
  EXPECT_THAT(error([](BenchFlags& f) { f.rate = -1; }), HasSubstr("--rate is -1; from 0"));
  EXPECT_THAT(error([](BenchFlags& f) { f.duration = absl::ZeroDuration(); }),
              HasSubstr("--duration"));
  EXPECT_THAT(error([](BenchFlags& f) {
                f.inputs = {"a"};
                f.mix = "1x1";
              }),
              HasSubstr("not both"));
}

TEST(ArrivalsTest, KeepTheRateAndAreUneven) {
  const absl::Time start = absl::FromUnixSeconds(1000);
  Arrivals arrivals(100, 7, start);
  absl::Time last = start;
  int short_gaps = 0;
  for (int i = 0; i < 10'000; ++i) {
    const absl::Time next = arrivals.Next();
    ASSERT_GT(next, last);
    short_gaps += next - last < absl::Milliseconds(10) ? 1 : 0;
    last = next;
  }
  EXPECT_NEAR(absl::ToDoubleSeconds(last - start), 100, 4);
  EXPECT_NEAR(short_gaps, 6321, 200) << "1 - 1/e of exponential gaps are below their mean";
}

TEST(ArrivalsTest, FollowFromTheSeed) {
  const absl::Time start = absl::FromUnixSeconds(1000);
  Arrivals one(5, 1, start);
  Arrivals same(5, 1, start);
  Arrivals other(5, 2, start);
  const absl::Time first = one.Next();
  EXPECT_EQ(first, same.Next());
  EXPECT_NE(first, other.Next());
}

}  // namespace
}  // namespace deweather
