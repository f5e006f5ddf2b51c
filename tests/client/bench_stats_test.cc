#include "client/bench_stats.h"

#include <gtest/gtest.h>

namespace deweather {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1000);
const absl::Time kEnd = kStart + absl::Seconds(4);

absl::Duration Ms(double ms) { return absl::Milliseconds(ms); }

void ExpectNear(absl::Duration measured, absl::Duration wanted) {
  EXPECT_GE(measured, wanted * 0.9999);
  EXPECT_LE(measured, wanted * 1.005);
}

// A good call that was due, sent and answered at these milliseconds after the start.
CallOutcome Reply(double due, double sent, double ended) {
  CallOutcome call;
  call.due = kStart + Ms(due);
  call.sent = kStart + Ms(sent);
  call.ended = kStart + Ms(ended);
  call.model = "rain 0123";
  call.tiles = 4;
  call.batches = 2;
  call.pixels = 1000;
  return call;
}

CallOutcome Failure(absl::StatusCode code, const std::string& reason, double ended) {
  CallOutcome call = Reply(0, 0, ended);
  call.code = code;
  call.reason = reason;
  return call;
}

TEST(DurationHistogramTest, QuantilesMeanAndMax) {
  DurationHistogram durations;
  for (int i = 1000; i >= 1; --i) durations.Add(Ms(i));
  EXPECT_EQ(durations.count(), 1000);
  EXPECT_EQ(durations.Mean(), Ms(500.5));
  EXPECT_EQ(durations.max(), Ms(1000));
  ExpectNear(durations.Quantile(0.5), Ms(500));
  ExpectNear(durations.Quantile(0.9), Ms(900));
  ExpectNear(durations.Quantile(0.99), Ms(990));
  ExpectNear(durations.Quantile(0.999), Ms(999));
  EXPECT_EQ(durations.Quantile(1), Ms(1000));
}

TEST(DurationHistogramTest, OneDurationIsEveryQuantile) {
  DurationHistogram durations;
  durations.Add(Ms(7));
  EXPECT_EQ(durations.Quantile(0.001), Ms(7));
  EXPECT_EQ(durations.Quantile(1), Ms(7));
}

TEST(DurationHistogramTest, NoneAndBeyondTheRange) {
  DurationHistogram durations;
  EXPECT_EQ(durations.Quantile(0.5), absl::ZeroDuration());
  EXPECT_EQ(durations.Mean(), absl::ZeroDuration());
  durations.Add(-Ms(5));
  EXPECT_EQ(durations.Quantile(1), absl::ZeroDuration());
  durations.Add(absl::Hours(1000));
  EXPECT_EQ(durations.max(), absl::Hours(1000));
  EXPECT_GT(durations.Quantile(1), absl::Hours(27));
}

TEST(BenchTallyTest, LatencyCountsFromWhenTheCallWasDue) {
  BenchTally tally(1, kStart, kEnd);
  CallOutcome late = Reply(10, 110, 150);
  late.stages.back() = Ms(30);
  tally.Add(late);
  EXPECT_EQ(tally.latency.max(), Ms(140));
  EXPECT_EQ(tally.parts()[0].latency.max(), Ms(140));
  EXPECT_EQ(tally.send_delay.max(), Ms(100));
  EXPECT_EQ(tally.transport.max(), Ms(10)) << "counts from when it was sent";
  EXPECT_EQ(tally.stages().back().max(), Ms(30));
}

TEST(BenchTallyTest, WhatWasDueInTheWarmUpDoesNotCount) {
  BenchTally tally(1, kStart, kEnd);
  tally.Add(Reply(-1, -1, 50));
  tally.AddNotSent(kStart - Ms(1));
  EXPECT_EQ(tally.sent + tally.ok + tally.not_sent, 0);
  tally.Add(Reply(0, 0, 50));
  tally.AddNotSent(kStart);
  EXPECT_EQ(tally.sent, 1);
  EXPECT_EQ(tally.ok, 1);
  EXPECT_EQ(tally.not_sent, 1);
}

TEST(BenchTallyTest, ThroughputIsOfRepliesThatEndedWithinTheWindow) {
  BenchTally tally(1, kStart, kEnd);
  tally.Add(Reply(-20, -20, -1));      // before it
  tally.Add(Reply(-1, -1, 0));         // due before it
  tally.Add(Reply(10, 10, 3999));      // within
  tally.Add(Reply(3000, 3000, 4000));  // after it
  EXPECT_EQ(tally.ok_in_window, 2);
  EXPECT_EQ(tally.pixels_in_window, 2000);
  EXPECT_EQ(tally.ok, 2) << "those that were due in it";
  EXPECT_EQ(tally.latency.max(), Ms(3989));
}

TEST(BenchTallyTest, ThroughputIsOfGoodRepliesOnly) {
  BenchTally tally(1, kStart, kEnd);
  tally.Add(Failure(absl::StatusCode::kInternal, "", 1));
  CallOutcome call = Reply(0, 0, 1);
  call.digest = 11;
  tally.Add(call);
  call.digest = 12;
  tally.Add(call);  // wrong
  call = Reply(0, 0, 1);
  call.abandoned = true;
  tally.Add(call);
  EXPECT_EQ(tally.ok_in_window, 1);
}

TEST(BenchTallyTest, SumsOfReplies) {
  BenchTally tally(2, kStart, kEnd);
  for (const size_t part : {0, 1, 1}) {
    CallOutcome call = Reply(0, 0, 1);
    call.part = part;
    tally.Add(call);
  }
  EXPECT_EQ(tally.tiles, 12);
  EXPECT_EQ(tally.batches, 6);
  EXPECT_EQ(tally.pixels_in_window, 3000);
  EXPECT_EQ(tally.parts()[0].ok, 1);
  EXPECT_EQ(tally.parts()[1].ok, 2);
  EXPECT_EQ(tally.models().at("rain 0123"), 3);
}

TEST(BenchTallyTest, ErrorsByCodeAndReason) {
  BenchTally tally(1, kStart, kEnd);
  tally.Add(Failure(absl::StatusCode::kResourceExhausted, "TILE_BUDGET", 1));
  tally.Add(Failure(absl::StatusCode::kResourceExhausted, "TILE_BUDGET", 2));
  tally.Add(Failure(absl::StatusCode::kResourceExhausted, "BYTE_BUDGET", 3));
  tally.Add(Failure(absl::StatusCode::kDeadlineExceeded, "", 4));
  EXPECT_EQ(tally.sent, 4);
  EXPECT_EQ(tally.error_count, 4);
  EXPECT_EQ(tally.latency.count(), 0) << "an error is no reply";
  const ErrorTally& full = tally.errors().at(absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(full.latency.count(), 3);
  EXPECT_EQ(full.latency.max(), Ms(3));
  EXPECT_EQ(full.reasons.at("TILE_BUDGET"), 2);
  EXPECT_EQ(full.reasons.at("BYTE_BUDGET"), 1);
  EXPECT_TRUE(tally.errors().at(absl::StatusCode::kDeadlineExceeded).reasons.empty());
}

TEST(BenchTallyTest, AReplyThatDiffersFromTheFirstIsWrong) {
  BenchTally tally(1, kStart, kEnd);
  CallOutcome call = Reply(-5, -5, -4);
  call.digest = 11;
  tally.Add(call);  // the warm-up's replies are compared with too
  call.due = kStart;
  tally.Add(call);
  EXPECT_EQ(tally.wrong, 0);
  call.digest = 12;
  tally.Add(call);
  EXPECT_EQ(tally.wrong, 1);
  EXPECT_EQ(tally.ok, 1);
  EXPECT_EQ(tally.sent, 2);
  call.due = kStart - Ms(1);
  tally.Add(call);
  EXPECT_EQ(tally.wrong_in_warmup, 1);
}

TEST(BenchTallyTest, OtherPicturesAndModelsMayDiffer) {
  BenchTally tally(1, kStart, kEnd);
  CallOutcome call = Reply(0, 0, 1);
  call.digest = 11;
  tally.Add(call);
  call.picture = 1;
  call.digest = 12;
  tally.Add(call);
  call.model = "rain 4567";
  call.digest = 13;
  tally.Add(call);
  CallOutcome failed = Failure(absl::StatusCode::kInternal, "", 1);
  failed.digest = 14;
  tally.Add(failed);
  EXPECT_EQ(tally.wrong, 0);
  EXPECT_EQ(tally.ok, 3);
}

TEST(BenchTallyTest, AbandonedCallsAreNoErrors) {
  BenchTally tally(1, kStart, kEnd);
  CallOutcome call = Failure(absl::StatusCode::kCancelled, "", 1);
  call.abandoned = true;
  tally.Add(call);
  EXPECT_EQ(tally.sent, 1);
  EXPECT_EQ(tally.abandoned, 1);
  EXPECT_EQ(tally.error_count, 0);
  EXPECT_TRUE(tally.errors().empty());
}

}  // namespace
}  // namespace deweather
