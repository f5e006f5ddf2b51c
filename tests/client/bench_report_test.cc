#include "client/bench_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace deweather {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const absl::Time kStart = absl::FromUnixSeconds(1000);
const absl::Time kEnd = kStart + absl::Seconds(4);

CallOutcome Reply(size_t part, absl::Duration latency) {
  CallOutcome call;
  call.part = part;
  call.due = call.sent = kStart;
  call.ended = kStart + latency;
  call.pixels = 2'000'000;
  call.tiles = 6;
  call.batches = 3;
  call.stages.back() = latency / 2;
  call.model = "rain 0123";
  return call;
}

CallOutcome Refusal() {
  CallOutcome call = Reply(0, absl::Milliseconds(1));
  call.code = absl::StatusCode::kResourceExhausted;
  call.reason = "TILE_BUDGET";
  return call;
}

BenchTally TwoRepliesAndARefusal() {
  BenchTally tally(2, kStart, kEnd);
  tally.Add(Reply(0, absl::Milliseconds(10)));
  tally.Add(Reply(1, absl::Milliseconds(40)));
  tally.Add(Refusal());
  return tally;
}

json Report(const BenchFlags& flags) {
  return BenchJson(flags, ParseMix("8x8=3,rain.png").value(),
                   {TwoRepliesAndARefusal(), absl::Seconds(4)});
}

TEST(BenchJsonTest, RatesAndCounts) {
  const json report = Report({});
  EXPECT_EQ(report["seconds"], 4);
  EXPECT_EQ(report["sent"], 3);
  EXPECT_EQ(report["ok"], 2);
  EXPECT_EQ(report["errors"], 1);
  EXPECT_EQ(report["ok_per_second"], 0.5);
  EXPECT_EQ(report["megapixels_per_second"], 1.0);
  EXPECT_EQ(report["tiles_per_reply"], 6);
  EXPECT_EQ(report["batches_per_reply"], 3);
  EXPECT_EQ(report["models"], json({{"rain 0123", 2}}));
}

TEST(BenchJsonTest, RatesAreOfRepliesThatEndedInTheWindow) {
  BenchTally tally = TwoRepliesAndARefusal();
  tally.Add(Reply(0, absl::Seconds(5)));
  const json report = BenchJson({}, ParseMix("8x8,9x9").value(), {tally, absl::Seconds(4)});
  EXPECT_EQ(report["ok"], 3);
  EXPECT_EQ(report["ok_in_window"], 2);
  EXPECT_EQ(report["ok_per_second"], 0.5);
  EXPECT_EQ(report["megapixels_per_second"], 1.0);
}

TEST(BenchJsonTest, SaysThatItWasInterrupted) {
  EXPECT_EQ(Report({})["interrupted"], false);
  const json report =
      BenchJson({}, ParseMix("8x8").value(), {BenchTally(1, kStart, kEnd), absl::Seconds(1), true});
  EXPECT_EQ(report["interrupted"], true);
  EXPECT_THAT(BenchTable(report), HasSubstr("0 errors, interrupted\n"));
}

TEST(BenchJsonTest, TimesAreInMilliseconds) {
  const json report = Report({});
  EXPECT_EQ(report["latency_ms"]["max"], 40.0);
  EXPECT_EQ(report["latency_ms"]["p999"], 40.0);
  EXPECT_EQ(report["latency_ms"]["mean"], 25.0);
  EXPECT_EQ(report["stages_ms"]["total"]["mean"], 12.5);
  EXPECT_EQ(report["stages_ms"]["transport"]["mean"], 12.5);
  for (const char* const stage : kBenchStages) {
    EXPECT_TRUE(report["stages_ms"].contains(stage)) << stage;
  }
}

TEST(BenchJsonTest, ErrorsAndPartsOfTheMix) {
  const json report = Report({});
  const json& refused = report["errors_by_code"]["RESOURCE_EXHAUSTED"];
  EXPECT_EQ(refused["count"], 1);
  EXPECT_EQ(refused["reasons"], json({{"TILE_BUDGET", 1}}));
  EXPECT_EQ(refused["latency_ms"]["p99"], 1.0);
  EXPECT_EQ(report["mix"][0]["name"], "8x8");
  EXPECT_EQ(report["mix"][0]["weight"], 3);
  EXPECT_EQ(report["mix"][0]["format"], "png");
  EXPECT_EQ(report["mix"][0]["sent"], 2);
  EXPECT_EQ(report["mix"][1]["latency_ms"]["p50"], 40.0);
  EXPECT_FALSE(report["mix"][1].contains("format")) << "a file has its own";
}

TEST(BenchJsonTest, SetupOfBothLoops) {
  BenchFlags flags;
  flags.connections = 0;
  const json closed = Report(flags)["setup"];
  EXPECT_EQ(closed["loop"], "closed");
  EXPECT_EQ(closed["concurrency"], 8);
  EXPECT_EQ(closed["connections"], 8);
  flags.rate = 20;
  const json open = Report(flags)["setup"];
  EXPECT_EQ(open["loop"], "open");
  EXPECT_EQ(open["rate"], 20);
  EXPECT_FALSE(open.contains("concurrency"));
}

TEST(BenchJsonTest, NothingHappened) {
  const json report =
      BenchJson({}, ParseMix("8x8").value(), {BenchTally(1, kStart, kEnd), absl::ZeroDuration()});
  EXPECT_EQ(report["ok_per_second"], 0);
  EXPECT_EQ(report["tiles_per_reply"], 0);
  EXPECT_EQ(report["errors_by_code"], json::object());
  for (const char* const figure : {"p50", "p90", "p99", "p999", "max", "mean"}) {
    EXPECT_TRUE(report["latency_ms"][figure].is_null()) << figure;
    EXPECT_TRUE(report["mix"][0]["latency_ms"][figure].is_null()) << figure;
  }
  EXPECT_TRUE(report["stages_ms"]["infer"]["mean"].is_null());
  EXPECT_TRUE(report["send_delay_ms"]["p99"].is_null());
}

TEST(BenchTableTest, SaysTheSame) {
  const std::string table = BenchTable(Report({}));
  EXPECT_THAT(table, HasSubstr("4.0 s, 3 sent, 2 ok, 1 errors\n"));
  EXPECT_THAT(table,
              HasSubstr("0.50 good replies/s, 1.000 megapixels/s, 6.0 tiles in 3.0 batches"));
  EXPECT_THAT(table, AllOf(HasSubstr("p99.9"), HasSubstr("8x8"), HasSubstr("rain.png")));
  EXPECT_THAT(table, AllOf(HasSubstr("transport"), HasSubstr("decode")));
  EXPECT_THAT(table,
              HasSubstr("RESOURCE_EXHAUSTED           1      1.00      1.00  TILE_BUDGET 1"));
  EXPECT_THAT(table, Not(HasSubstr("not_sent")));
}

TEST(BenchTableTest, ADashWhereNothingWasTimed) {
  const std::string table = BenchTable(
      BenchJson({}, ParseMix("8x8").value(), {BenchTally(1, kStart, kEnd), absl::Seconds(1)}));
  EXPECT_THAT(table, HasSubstr("all                  -         -         -         -         -"));
  EXPECT_THAT(table, HasSubstr("infer                -         -         -"));
}

TEST(BenchTableTest, NamesWhatWentWrongOnlyIfItDid) {
  BenchTally tally(1, kStart, kEnd);
  tally.AddNotSent(kStart);
  const std::string table =
      BenchTable(BenchJson({}, ParseMix("8x8").value(), {tally, absl::Seconds(1)}));
  EXPECT_THAT(table, HasSubstr("1 not_sent"));
  EXPECT_THAT(table, Not(HasSubstr("wrong")));
}

TEST(BenchExitStatusTest, OneGoodReplyAndNoWrongOne) {
  BenchTally tally(2, kStart, kEnd);
  EXPECT_EQ(BenchExitStatus(tally), 1);
  tally.Add(Refusal());
  EXPECT_EQ(BenchExitStatus(tally), 1);
  tally.Add(Reply(0, absl::Milliseconds(1)));
  EXPECT_EQ(BenchExitStatus(tally), 0);
  tally.wrong_in_warmup = 1;
  EXPECT_EQ(BenchExitStatus(tally), 1);
  tally.wrong_in_warmup = 0;
  tally.wrong = 1;
  EXPECT_EQ(BenchExitStatus(tally), 1);
}

}  // namespace
}  // namespace deweather
