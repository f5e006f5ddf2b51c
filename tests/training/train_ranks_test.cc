// Training by several ranks, which are threads here; tests/e2e/ranks_test.py has the processes.

#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "model/base/file.h"
#include "model/checkpoint.h"
#include "model/network.h"
#include "tests/training/tiny_run.h"
#include "tests/training/two_ranks.h"
#include "training/dataset.h"
#include "training/learn.h"
#include "training/loader.h"
#include "training/loss.h"
#include "training/ranks.h"
#include "training/run_folder.h"
#include "training/train.h"
#include "training/train_state.h"

namespace deweather {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TrainState LastState(const TrainOptions& options) {
  const std::string path = ListCheckpoints(options.output_dir)->front();
  return ParseState(ReadFile(path).value())->state;
}

// Two ranks train with half the batch; what each returns. The second has a folder of its own, which stays
// empty, and `sinks` may tell of both.
std::vector<absl::Status> TrainOnTwo(TrainOptions options,
                                     const std::function<TrainSink(int rank)>& sinks = nullptr,
                                     const std::function<void(TrainOptions&)>& change = nullptr) {
  options.batch /= 2;
  std::vector<absl::Status> results(2);
  RunRanks(2, [&](const RankPlace& place) {
    TrainOptions mine = options;
    if (place.rank == 1) mine.output_dir += "_of_rank_1";
    if (place.rank == 1 && change) change(mine);
    const TrainSink sink = sinks ? sinks(place.rank) : TrainSink{};
    results[place.rank] = Train(mine, sink, place).status();
  });
  EXPECT_FALSE(std::filesystem::exists(options.output_dir + "_of_rank_1"));
  return results;
}

TrainSink Losses(std::vector<TrainProgress>& out) {
  return {.progress = [&out](const TrainProgress& at) { out.push_back(at); }};
}

// --- two ranks are as one with twice the batch ---

struct SameCase {
  const char* name;
  int accumulate = 1;
  int experts = 4;
  int kept = 2;
  BalanceKind balance = BalanceKind::kGshard;
  Calibration calibration = Calibration::kNone;
};

class TwoRanksTest : public testing::TestWithParam<SameCase> {
 protected:
  TrainOptions Options() const {
    TrainOptions options = TinyRun(NewFolder());
    options.model.experts = GetParam().experts;
    options.model.kept = GetParam().kept;
    options.model.calibration = GetParam().calibration;
    options.uncertainty_weight = GetParam().calibration == Calibration::kNone ? 0 : 0.1;
    options.balance = GetParam().balance;
    options.balance_weight = 0.1;
    options.accumulate = GetParam().accumulate;
    options.batch = 4;
    options.steps = 20;
    options.checkpoint_every_steps = 20;
    return options;
  }
};

TEST_P(TwoRanksTest, RanksLearnAsOneWithTwiceTheBatch) {
  const TrainOptions options = Options();
  TrainOptions two = options;
  two.output_dir += "_two";
  std::vector<TrainProgress> expected, first, second;
  ASSERT_TRUE(Train(options, Losses(expected)).ok());
  const std::vector<absl::Status> results =
      TrainOnTwo(two, [&](int rank) { return Losses(rank == 0 ? first : second); });
  ASSERT_THAT(results, ElementsAre(absl::OkStatus(), absl::OkStatus()));
  ASSERT_EQ(expected.size(), 20);
  ASSERT_EQ(first.size(), 20);
  for (int step = 0; step < 20; ++step) {
    EXPECT_NEAR(first[step].loss, expected[step].loss, 1e-5) << step;
    EXPECT_NEAR(first[step].balance, expected[step].balance, 1e-5) << step;
    EXPECT_NEAR(first[step].gradient_norm, expected[step].gradient_norm, 1e-4) << step;
    for (const auto& [task, loss] : expected[step].task_loss) {
      EXPECT_NEAR(first[step].task_loss[task], loss, 1e-5) << step;
    }
    EXPECT_EQ(first[step].loss, second[step].loss) << step;
  }
  const Parameters one = LastState(options).average, both = LastState(two).average;
  for (const auto& [name, tensor] : one) {
    // Of a gradient that is rounding alone AdamW makes a step of learning_rate, 1e-3, in the direction of its sign.
    const auto off = (tensor - both.at(name)).abs();
    EXPECT_LT((off > 1e-5).to(at::kDouble).mean().item<double>(), 0.02) << name;
    EXPECT_LT(off.max().item<double>(), 1e-4) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Runs, TwoRanksTest,
                         testing::Values(SameCase{"plain"}, SameCase{"two_passes", 2},
                                         SameCase{"experts_without_tokens", 1, 32, 1},
                                         SameCase{"experts_without_tokens_in_two_passes", 2, 32, 1},
                                         SameCase{"paper_balance", 1, 4, 2, BalanceKind::kPaper},
                                         SameCase{"dropout", 2, 4, 2, BalanceKind::kGshard,
                                                  Calibration::kConfidence}),
                         [](const auto& param_info) { return std::string(param_info.param.name); });

// What the case above is about: of 32 experts, some have tokens on one rank alone.
TEST(TrainRanksTest, RanksHaveExpertsWithoutTokens) {
  TrainOptions options = TinyRun(NewFolder());
  options.model.experts = 32;
  options.model.kept = 1;
  const auto dataset = Dataset::Open(options.data, options.seed).value();
  const Network network =
      BindNetwork(options.model, InitialParameters(options.model, options.seed));
  std::vector<at::Tensor> counts;
  for (const int rank : {0, 1}) {
    Loader loader(options, *dataset, 0, rank, 2);
    const Batch* batch = loader.Next().value();
    EXPECT_EQ(batch->first_crop, rank * options.batch);
    const at::Tensor input =
        at::from_blob(const_cast<float*>(batch->input.data()), {2, 3, 32, 32}, at::kFloat);
    counts.push_back(KeptCounts(Forward(network, input).gates)[0]);
  }
  EXPECT_GT(((counts[0] > 0) != (counts[1] > 0)).sum().item<int64_t>(), 0);
}

TEST(TrainRanksTest, RanksSkipAStepTogether) {
  const TrainOptions options = TinyRun(NewFolder());
  const auto dataset = Dataset::Open(options.data, options.seed).value();
  RunRanks(2, [&](const RankPlace& place) {
    const auto ranks = Ranks::Join(place, at::kCPU, absl::Seconds(60)).value();
    TrainState state = BeginState(options).value();
    Loader loader(options, *dataset, 0, place.rank, 2);
    Batch batch = *loader.Next().value();
    if (place.rank == 1) batch.input[0] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(LearnFrom(options, batch, state, nullptr, ranks.get()).total));
    for (const auto& [name, weight] : state.weights) EXPECT_FALSE(weight.grad().defined()) << name;
  });
}

// --- who decides, and what may change ---

TEST(TrainRanksTest, StopOfOneRankEndsAll) {
  const TrainOptions options = TinyRun(NewFolder());
  const std::vector<absl::Status> results = TrainOnTwo(options, [](int rank) {
    return TrainSink{.stop = [rank](int64_t step) { return rank == 1 && step == 2; }};
  });
  for (const absl::Status& status : results) EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_EQ(LastState(options).step, 2);
}

TEST(TrainRanksTest, RanksResumeAsWasAndWithAnotherCount) {
  TrainOptions options = TinyRun(NewFolder());
  std::vector<TrainProgress> whole, rest, alone;
  TrainOnTwo(options, [&](int rank) { return rank == 0 ? Losses(whole) : TrainSink{}; });
  options.output_dir += "_halves";
  TrainOnTwo(options,
             [](int) { return TrainSink{.stop = [](int64_t step) { return step == 3; }}; });
  options.resume = true;
  options.steps = 5;
  std::vector<std::string> warnings;
  TrainOnTwo(options, [&](int rank) { return rank == 0 ? Losses(rest) : TrainSink{}; });
  ASSERT_EQ(rest.size(), 2);
  EXPECT_EQ(rest[0].loss, whole[3].loss);  // to the bit: fewer steps bend the schedule from here on
  options.steps = 6;
  options.batch = 1;
  TrainSink sink = Losses(alone);
  sink.warned = [&](const std::string& line) { warnings.push_back(line); };
  ASSERT_TRUE(Train(options, sink).ok());
  EXPECT_THAT(warnings, Contains(HasSubstr("ranks was '2' and is now '1'")));
  EXPECT_EQ(alone.size(), 1);
}

TEST(TrainRanksTest, RanksWaitForAnEvaluationAndEndWithIt) {
  TrainOptions options = TinyRun(NewFolder());
  const std::string pairs = options.output_dir + "_pairs";
  WritePictures(pairs + "/input", 2);
  WritePictures(pairs + "/gt", 2);
  options.evaluate.pairs_dirs = {pairs};
  options.evaluate.every_steps = 1;
  options.evaluate.patience = 2;
  options.optimizer.learning_rate = 1e-9;  // nothing gets better than the first
  options.optimizer.min_learning_rate = 0;
  options.ema_decay = 0;
  options.steps = 100;
  std::vector<int64_t> steps;
  const std::vector<absl::Status> results = TrainOnTwo(options, [&](int rank) {
    TrainSink sink;
    if (rank == 0) {
      sink.evaluated = [&](int64_t step, const Evaluation&) { steps.push_back(step); };
    }
    return sink;
  });
  ASSERT_THAT(results, ElementsAre(absl::OkStatus(), absl::OkStatus()));
  EXPECT_GE(steps.size(), 3);
  EXPECT_LT(steps.size(), 20);
}

// Longer than rank_timeout as a whole, but not from picture to picture.
TEST(TrainRanksTest, RanksOutwaitALongEvaluation) {
  TrainOptions options = TinyRun(NewFolder());
  const std::string pairs = options.output_dir + "_pairs";
  WritePictures(pairs + "/input", 3);
  WritePictures(pairs + "/gt", 3);
  options.evaluate.pairs_dirs = {pairs};
  options.steps = 1;
  options.rank_timeout = absl::Seconds(4);
  absl::Time begin = absl::InfiniteFuture(), end = absl::InfinitePast();
  const std::vector<absl::Status> results = TrainOnTwo(options, [&](int rank) {
    TrainSink sink;
    if (rank == 1) return sink;
    sink.progress = [&](const TrainProgress&) { begin = absl::Now(); };
    sink.evaluated = [&](int64_t, const Evaluation&) { end = absl::Now(); };
    sink.stop = [&](int64_t) {
      if (absl::Now() > begin && end == absl::InfinitePast()) absl::SleepFor(absl::Seconds(1));
      return false;
    };
    return sink;
  });
  ASSERT_THAT(results, ElementsAre(absl::OkStatus(), absl::OkStatus()));
  EXPECT_GT(end - begin, options.rank_timeout);
}

TEST(TrainRanksTest, RanksOfDifferentRunsAreRefused) {
  const TrainOptions options = TinyRun(NewFolder());
  const auto refused = [&](const std::function<void(TrainOptions&)>& change) {
    const std::vector<absl::Status> results = TrainOnTwo(options, nullptr, change);
    for (const absl::Status& status : results) EXPECT_TRUE(absl::IsInvalidArgument(status));
    EXPECT_EQ(results[0], results[1]);
    EXPECT_THAT(ListCheckpoints(options.output_dir).value(), IsEmpty());
    return Message(results[0]);
  };
  EXPECT_THAT(refused([](TrainOptions& other) { other.optimizer.learning_rate = 0.5; }),
              HasSubstr("optimizer.learning_rate is '0.5' on rank 1 and '0.001' on rank 0"));
  EXPECT_THAT(refused([](TrainOptions& other) { other.log_every_steps = 7; }),
              HasSubstr("log_every_steps is '7' on rank 1"));
  const std::string elsewhere = options.output_dir + "_elsewhere";
  WritePictures(elsewhere, 3);
  EXPECT_THAT(refused([&](TrainOptions& other) { other.data.clean[0].dir = elsewhere; }),
              HasSubstr("data.pictures is '"));
}

TEST(TrainRanksTest, RanksOfDifferentTeachersAreRefused) {
  const std::string folder = NewFolder();
  TrainOptions options = TinyRun(folder);
  for (const uint64_t seed : {8, 9}) {
    const Parameters weights = InitialParameters(options.model, seed);
    const std::string path = absl::StrCat(folder, "/", seed, ".safetensors");
    ASSERT_TRUE(SaveCheckpoint(path, options.model, weights, {}).ok());
  }
  options.distill.teacher = folder + "/8.safetensors";
  for (const std::string& other : {folder + "/9.safetensors", std::string()}) {
    const std::vector<absl::Status> results =
        TrainOnTwo(options, nullptr, [&](TrainOptions& mine) { mine.distill.teacher = other; });
    for (const absl::Status& status : results) {
      EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
      EXPECT_THAT(Message(status), HasSubstr("distill.teacher_version is "));
    }
  }
}

// To read the sets may take long: the others must have been heard before, and wait.
TEST(TrainRanksTest, RanksAgreeBeforeTheFirstReadsItsSets) {
  TrainOptions options = TinyRun(NewFolder());
  options.evaluate.pairs_dirs = {"absent"};
  std::vector<absl::Status> results = TrainOnTwo(
      options, nullptr, [](TrainOptions& other) { other.optimizer.learning_rate = 0.5; });
  for (const absl::Status& status : results) {
    EXPECT_THAT(Message(status), HasSubstr("optimizer.learning_rate is '0.5' on rank 1"));
  }
  results = TrainOnTwo(options);
  for (const absl::Status& status : results) EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_THAT(Message(results[1]), HasSubstr("rank 0: cannot list folder 'absent/input'"));
}

TEST(TrainRanksTest, RankWithoutItsDataIsNamed) {
  const std::vector<absl::Status> results =
      TrainOnTwo(TinyRun(NewFolder()), nullptr,
                 [](TrainOptions& other) { other.data.clean[0].dir = "/nowhere"; });
  for (const absl::Status& status : results) EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_THAT(Message(results[0]), HasSubstr("rank 1: cannot list folder '/nowhere'"));
}

TEST(TrainRanksTest, RankThatIsLostLeavesACheckpoint) {
  TrainOptions options = TinyRun(NewFolder());
  options.steps = 100;
  options.checkpoint_every_steps = 100;
  options.data.max_unreadable = 0;
  options.data.cache_mebibytes = 0;
  const std::string clean = options.data.clean[0].dir, copy = options.output_dir + "_copy";
  std::filesystem::copy(clean, copy, std::filesystem::copy_options::recursive);
  const std::vector<absl::Status> results = TrainOnTwo(
      options,
      [&](int rank) {
        TrainSink sink;
        sink.stop = [&, rank](int64_t step) {
          if (rank == 1 && step == 5) std::filesystem::remove_all(copy);
          return false;
        };
        return sink;
      },
      [&](TrainOptions& other) { other.data.clean[0].dir = copy; });
  EXPECT_TRUE(absl::IsUnavailable(results[0])) << results[0];
  EXPECT_THAT(Message(results[0]), HasSubstr("other ranks ended in step"));
  EXPECT_THAT(Message(results[0]), HasSubstr("rank 1: "));
  EXPECT_THAT(Message(results[1]), HasSubstr("cannot be read"));
  EXPECT_GE(LastState(options).step, 5);
}

}  // namespace
}  // namespace deweather
