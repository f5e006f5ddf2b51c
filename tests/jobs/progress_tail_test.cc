#include "training/jobs/progress_tail.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using testing::SizeIs;
using testing::UnorderedElementsAre;

const absl::Time kBegin = absl::FromUnixSeconds(1'700'000'000);

absl::Time At(double seconds) { return kBegin + absl::Seconds(seconds); }

// "{"step":S,"time":...,REST}\n", written `seconds` after the beginning.
std::string Line(int64_t step, double seconds, const std::string& rest) {
  const std::string time =
      absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", At(seconds), absl::UTCTimeZone());
  return absl::StrFormat("{\"step\":%d,\"time\":\"%s\",%s}\n", step, time, rest);
}

std::string Figures(int64_t step, double seconds, double loss = 0.5) {
  return Line(step, seconds, absl::StrFormat("\"loss/all\":%g", loss));
}

std::string Started(int64_t step, double seconds) {
  return Line(step, seconds, R"("event":"started","steps":1000,"images_per_step":16)");
}

std::string Warning(double seconds, const std::string& text) {
  return Line(0, seconds, absl::StrCat(R"("event":"warning","message":")", text, "\""));
}

class ProgressTailTest : public testing::Test {
 protected:
  void Append(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }
  // As ForgetAfter does: another file in its place.
  void Replace(const std::string& text) {
    std::ofstream(path_ + ".new") << text;
    fs::rename(path_ + ".new", path_);
  }
  ProgressTail Tail(Told told = {}) { return ProgressTail(path_, told); }

  const std::string path_ = NewFolder() + "/log.jsonl";
};

// "progress 10", "evaluation 20", ...
std::vector<std::string> Words(const std::vector<JobEvent>& events) {
  std::vector<std::string> words;
  for (const JobEvent& event : events) {
    switch (event.kind) {
      case JobEventKind::kProgress:
        words.push_back(absl::StrCat("progress ", event.progress.step));
        break;
      case JobEventKind::kEvaluation:
        words.push_back(absl::StrCat("evaluation ", event.evaluation.step));
        break;
      case JobEventKind::kCheckpoint:
        words.push_back(absl::StrCat("checkpoint ", event.step));
        break;
      default:
        words.push_back(event.text);
    }
  }
  return words;
}

// --- records ---

TEST_F(ProgressTailTest, FiguresBecomeProgress) {
  ProgressTail tail = Tail();
  Append(Started(0, 0));
  Append(Line(250, 10,
              R"("loss/all":0.25,"loss/balance":1.5,"loss/uncertainty":0.01,"loss/distill":0.2,)"
              R"("loss/rain":0.125,"learning_rate":1e-3,)"
              R"("images_per_second":7.5,"skipped/steps":2,"gradient_norm":3)"));
  const std::vector<JobEvent> events = tail.Look(At(60));
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].kind, JobEventKind::kProgress);
  EXPECT_EQ(events[0].time, At(10));
  const JobProgress& progress = events[0].progress;
  EXPECT_EQ(progress.step, 250);
  EXPECT_EQ(progress.steps, 1000);
  EXPECT_EQ(progress.loss, 0.25);
  EXPECT_THAT(progress.terms, UnorderedElementsAre(Pair("balance", 1.5), Pair("uncertainty", 0.01),
                                                   Pair("distill", 0.2), Pair("loss/rain", 0.125)));
  EXPECT_EQ(progress.images_per_second, 7.5);
  EXPECT_EQ(progress.learning_rate, 1e-3);
  EXPECT_EQ(progress.bad_steps, 2);
  EXPECT_EQ(progress.remaining, absl::Seconds(30));
  EXPECT_EQ(tail.images(), 250 * 16);
}

TEST_F(ProgressTailTest, LossOfSkippedStepsIsNaN) {
  ProgressTail tail = Tail();
  Append(Line(1, 1, R"("loss/all":null,"skipped/steps":null)"));
  const std::vector<JobEvent> events = tail.Look(At(60));
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_TRUE(std::isnan(events[0].progress.loss));
  EXPECT_EQ(events[0].progress.bad_steps, 0);
  EXPECT_EQ(events[0].progress.steps, 1);  // at least what is done
  EXPECT_EQ(events[0].progress.remaining, std::nullopt);
}

TEST_F(ProgressTailTest, SetsOfOneEvaluationBelongTogether) {
  ProgressTail tail = Tail();
  Append(Line(20, 1, R"("evaluation/rain/psnr_y":30,"evaluation/rain/ssim_y":0.9)"));
  Append(Line(20, 2, R"("evaluation/snow/psnr_y":25)"));
  Append(Line(40, 3, R"("evaluation/rain/psnr_y":31)"));
  const std::vector<JobEvent> events = tail.Look(At(60));
  ASSERT_THAT(Words(events), ElementsAre("evaluation 20", "evaluation 20", "evaluation 40"));
  EXPECT_THAT(events[1].evaluation.figures,
              UnorderedElementsAre(Pair("rain/psnr_y", 30), Pair("rain/ssim_y", 0.9),
                                   Pair("snow/psnr_y", 25)));
  EXPECT_THAT(events[2].evaluation.figures, UnorderedElementsAre(Pair("rain/psnr_y", 31)));
}

TEST_F(ProgressTailTest, CheckpointsAndWarningsAreTold) {
  ProgressTail tail = Tail();
  Append(Line(30, 1, R"("event":"checkpoint","path":"x")") + Warning(2, "a\\nb") +
         Line(30, 3, R"("event":"finished","model":"m")"));
  EXPECT_THAT(Words(tail.Look(At(60))), ElementsAre("checkpoint 30", "a b"));
}

TEST_F(ProgressTailTest, PaceIsThatOfThisLife) {
  ProgressTail tail = Tail();
  Append(Started(0, 0) + Figures(100, 100) + Started(100, 5000) + Figures(200, 5010));
  const std::vector<JobEvent> events = tail.Look(At(9999));
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].progress.remaining, absl::Seconds(80));
}

// --- what is no record ---

TEST_F(ProgressTailTest, GarbageIsSkipped) {
  ProgressTail tail = Tail();
  Append(
      "\n[]\n{}\nnull\n\xff\xfe\n{\"step\":1}\n{\"step\":-1,\"time\":\"2026-01-01T00:00:00Z\"}\n");
  Append("{\"step\":1e400,\"time\":\"2026-01-01T00:00:00Z\"}\n");
  Append("{\"step\":99999999999999999999,\"time\":\"2026-01-01T00:00:00Z\",\"loss/all\":1}\n");
  Append("{\"step\":1,\"time\":\"infinite-past\",\"loss/all\":1}\n");
  Append("{\"step\":1,\"time\":\"yesterday\",\"loss/all\":1}\n");
  Append(std::string(1000, '[') + "\n" + std::string("\0\0\n", 3));
  EXPECT_THAT(tail.Look(At(60)), IsEmpty());
  Append(Figures(7, 1));
  EXPECT_THAT(Words(tail.Look(At(60))), ElementsAre("progress 7"));
}

TEST_F(ProgressTailTest, TimeFromTheFutureIsNow) {
  ProgressTail tail = Tail();
  Append("{\"step\":1,\"time\":\"infinite-future\",\"loss/all\":1}\n");
  const std::vector<JobEvent> events = tail.Look(At(60));
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].time, At(60));
}

TEST_F(ProgressTailTest, LinesOfTenMegabytesAreSkipped) {
  ProgressTail tail = Tail();
  Append(Figures(1, 1) + Warning(2, std::string(10 << 20, 'x')) + Figures(2, 3));
  std::vector<std::string> words;
  for (int look = 0; look < 12; ++look) {
    for (const std::string& word : Words(tail.Look(At(60 + look)))) words.push_back(word);
  }
  EXPECT_THAT(words, ElementsAre("progress 1", "progress 2"));
}

TEST_F(ProgressTailTest, EndOfALongLineIsNoLine) {
  ProgressTail tail = Tail();
  Append(std::string(kMaxLineBytes + 1, 'x'));
  EXPECT_THAT(tail.Look(At(60)), IsEmpty());
  Append(Figures(1, 1));
  EXPECT_THAT(tail.Look(At(62)), IsEmpty());
  Append(Figures(2, 2));
  EXPECT_THAT(Words(tail.Look(At(64))), ElementsAre("progress 2"));
}

TEST_F(ProgressTailTest, LongWarningsAreCutAndWhole) {
  ProgressTail tail = Tail();
  std::string text = "x";
  for (int i = 0; i < 2000; ++i) text += "ü";
  Append(Warning(1, text));
  const std::vector<JobEvent> events = tail.Look(At(60));
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_LE(events[0].text.size(), kMaxShownBytes + 2);
  EXPECT_TRUE(events[0].text.starts_with("xüü"));
  EXPECT_TRUE(events[0].text.ends_with("ü\xef\xbf\xbd"));  // the half one
}

TEST_F(ProgressTailTest, ManyFiguresAreCut) {
  ProgressTail tail = Tail();
  std::string rest = "\"loss/all\":1";
  for (int i = 0; i < 1000; ++i) absl::StrAppend(&rest, ",\"loss/x", i, "\":1");
  Append(Line(1, 1, rest));
  const std::vector<JobEvent> events = tail.Look(At(60));
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_THAT(events[0].progress.terms, SizeIs(testing::Le(256u)));
}

TEST_F(ProgressTailTest, WarningsAreBounded) {
  ProgressTail tail = Tail();
  std::string text;
  for (int i = 0; i < 3 * kMaxWarnings; ++i) text += Warning(1, "w");
  Append(text + Line(5, 2, R"("event":"checkpoint")"));
  const std::vector<std::string> words = Words(tail.Look(At(60)));
  ASSERT_THAT(words, SizeIs(kMaxWarnings + 1));
  EXPECT_THAT(words[kMaxWarnings - 1], testing::HasSubstr("too many warnings"));
  EXPECT_EQ(words.back(), "checkpoint 5");
}

// --- following ---

TEST_F(ProgressTailTest, MissingFileSaysNothing) {
  ProgressTail tail = Tail();
  EXPECT_THAT(tail.Look(At(1)), IsEmpty());
  Append(Figures(1, 1));
  EXPECT_THAT(Words(tail.Look(At(2))), ElementsAre("progress 1"));
}

TEST_F(ProgressTailTest, WhatIsNoFileIsNotOpened) {
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_THAT(Tail().Look(At(1)), IsEmpty());
  fs::remove(path_);
  fs::create_symlink("/dev/zero", path_);
  EXPECT_THAT(Tail().Look(At(1)), IsEmpty());
}

TEST_F(ProgressTailTest, TornLineIsReadWhenItIsWhole) {
  ProgressTail tail = Tail();
  const std::string line = Figures(1, 1);
  Append(line.substr(0, 20));
  EXPECT_THAT(tail.Look(At(2)), IsEmpty());
  Append(line.substr(20));
  EXPECT_THAT(Words(tail.Look(At(3))), ElementsAre("progress 1"));
}

TEST_F(ProgressTailTest, ReplacedLogTellsOnlyWhatIsNew) {
  ProgressTail tail = Tail();
  const std::string kept = Started(0, 0) + Line(10, 1, R"("event":"checkpoint")");
  Append(kept + Line(15, 2, R"("event":"checkpoint")"));
  EXPECT_THAT(Words(tail.Look(At(3))), ElementsAre("checkpoint 10", "checkpoint 15"));
  Replace(kept);
  EXPECT_THAT(tail.Look(At(4)), IsEmpty());
  Append(Started(10, 5) + Line(15, 6, R"("event":"checkpoint")"));
  EXPECT_THAT(Words(tail.Look(At(7))), ElementsAre("checkpoint 15"));
}

TEST_F(ProgressTailTest, LogThatWasCutIsReadAnew) {
  ProgressTail tail = Tail();
  Append(Warning(1, "long enough") + Warning(2, "second"));
  EXPECT_THAT(tail.Look(At(3)), SizeIs(2));
  fs::resize_file(path_, 0);
  Append(Warning(4, "third"));
  EXPECT_THAT(Words(tail.Look(At(5))), ElementsAre("third"));
}

TEST_F(ProgressTailTest, RestartTellsNothingTwice) {
  Append(Started(0, 0) + Figures(10, 1) + Line(10, 2, R"("event":"checkpoint")"));
  std::vector<JobEvent> told = Tail().Look(At(3));
  ASSERT_THAT(Words(told), ElementsAre("progress 10", "checkpoint 10"));
  ProgressTail tail = Tail(ToldOf(Job{.create_time = kBegin}, told));
  EXPECT_THAT(tail.Look(At(4)), IsEmpty());
  Append(Figures(20, 5));
  const std::vector<JobEvent> events = tail.Look(At(6));
  ASSERT_THAT(Words(events), ElementsAre("progress 20"));
  EXPECT_EQ(events[0].progress.steps, 1000);  // what the old lines say is known
  EXPECT_EQ(tail.images(), 10 * 16);
}

TEST_F(ProgressTailTest, LogOfTheJobThatItGoesOnFromIsNotItsOwn) {
  Append(Started(0, -100) + Figures(500, -50));
  Job job{.create_time = kBegin};
  job.submitted.resumed_from = "abcdefghijkl";
  ProgressTail tail = Tail(ToldOf(job, {}));
  EXPECT_THAT(tail.Look(At(1)), IsEmpty());
  Append(Started(500, 2) + Figures(510, 3));
  EXPECT_THAT(Words(tail.Look(At(4))), ElementsAre("progress 510"));
}

TEST_F(ProgressTailTest, LookIsBoundedAndFinishReadsAll) {
  std::string text;
  for (int i = 0; i < 60'000; ++i) text += Figures(i, i);  // 4 MB
  Append(text);
  ProgressTail tail = Tail();
  const std::vector<JobEvent> first = tail.Look(At(100'000));
  ASSERT_THAT(first, SizeIs(1));
  EXPECT_LT(first[0].progress.step, 30'000);
  EXPECT_THAT(Words(tail.Finish(At(100'000))), ElementsAre("progress 59999"));
}

// --- one progress a second ---

TEST_F(ProgressTailTest, LastProgressOfASecondCounts) {
  ProgressTail tail = Tail();
  Append(Figures(1, 1) + Figures(2, 1.1));
  EXPECT_THAT(Words(tail.Look(At(2))), ElementsAre("progress 2"));
  Append(Figures(3, 2.1));
  EXPECT_THAT(tail.Look(At(2.2)), IsEmpty());
  Append(Figures(4, 2.3));
  EXPECT_THAT(tail.Look(At(2.9)), IsEmpty());
  EXPECT_THAT(Words(tail.Look(At(3))), ElementsAre("progress 4"));
}

TEST_F(ProgressTailTest, ProgressIsToldBeforeWhatFollowsIt) {
  ProgressTail tail = Tail();
  Append(Figures(1, 1));
  EXPECT_THAT(tail.Look(At(2)), SizeIs(1));
  Append(Figures(2, 2.1));
  EXPECT_THAT(tail.Look(At(2.2)), IsEmpty());
  Append(Line(2, 2.3, R"("event":"checkpoint")") + Figures(3, 2.4));
  EXPECT_THAT(Words(tail.Look(At(2.5))), ElementsAre("progress 2", "checkpoint 2"));
}

TEST_F(ProgressTailTest, LastProgressIsTold) {
  ProgressTail tail = Tail();
  Append(Figures(1, 1));
  EXPECT_THAT(tail.Look(At(2)), SizeIs(1));
  Append(Figures(2, 2.1));
  EXPECT_THAT(Words(tail.Finish(At(2.2))), ElementsAre("progress 2"));
}

// --- the end of a run ---

TEST_F(ProgressTailTest, EndIsThatOfTheNewestLife) {
  ProgressTail tail = Tail();
  Append(Started(0, 1) +
         Line(5, 2, R"("event":"failed","code":"INTERNAL","message":"no luck","exit_status":1)"));
  tail.Look(At(3));
  ASSERT_TRUE(tail.end().has_value());
  EXPECT_FALSE(tail.end()->finished);
  EXPECT_EQ(tail.end()->exit_status, 1);
  EXPECT_EQ(tail.end()->message, "INTERNAL: no luck");
  EXPECT_EQ(tail.end()->time, At(2));
  Append(Started(5, 4));
  tail.Look(At(5));
  EXPECT_FALSE(tail.end().has_value());
  Append(Line(10, 6, R"("event":"finished","model":"rain.safetensors")"));
  tail.Finish(At(7));
  ASSERT_TRUE(tail.end().has_value());
  EXPECT_TRUE(tail.end()->finished);
}

TEST_F(ProgressTailTest, SavedIsWhatIsFurtherThanTheBeginning) {
  ProgressTail tail = Tail();
  Append(Started(5, 1) + Line(5, 2, R"("event":"checkpoint")"));
  tail.Look(At(3));
  EXPECT_FALSE(tail.saved());
  Append(Line(6, 4, R"("event":"checkpoint")"));
  tail.Look(At(5));
  EXPECT_TRUE(tail.saved());
}

}  // namespace
}  // namespace deweather
