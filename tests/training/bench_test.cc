#include "training/bench.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "model/base/file.h"
#include "model/checkpoint.h"
#include "model/network.h"
#include "model/parameters.h"
#include "model/safetensors.h"
#include "tests/model/tiny.h"
#include "tests/training/tiny_run.h"
#include "tests/training/two_ranks.h"

namespace deweather {
namespace {

BenchOptions Options() {
  BenchOptions options;
  options.config = TinyConfig();
  options.size_px = 32;
  options.batch = 2;
  options.runs = 3;
  options.threads = 1;
  options.load = {"cpu", Precision::kF32};
  return options;
}

TEST(BenchTest, SaysWhatItMeasured) {
  for (const bool train : {false, true}) {
    BenchOptions options = Options();
    options.train = train;
    const auto result = RunBench(options);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_GT(result->min_ms_per_tile, 0);
    EXPECT_GE(result->median_ms_per_tile, result->min_ms_per_tile);
    EXPECT_EQ(result->parameters, CountParameters(options.config));
    EXPECT_EQ(result->device, "cpu");
    EXPECT_EQ(result->precision, "f32");
    EXPECT_EQ(result->threads, 1);
  }
}

TEST(BenchTest, SavesWhatAnotherProgramNeedsToComputeTheSame) {
  BenchOptions options = Options();
  options.save = (std::filesystem::path(NewFolder()) / "saved.safetensors").string();
  ASSERT_TRUE(RunBench(options).ok()) << RunBench(options).status();
  const std::string file = *ReadFile(options.save);
  const auto saved = ParseSafetensors(file);
  ASSERT_TRUE(saved.ok()) << saved.status();
  Parameters parameters;
  for (const ParameterSpec& spec : ListParameters(options.config)) {
    parameters[spec.name] = *ToTensor(spec.name, saved->tensors.at(spec.name));
  }
  const at::Tensor tiles = *ToTensor("tiles", saved->tensors.at("tiles"));
  const at::Tensor restored = *ToTensor("restored", saved->tensors.at("restored"));
  EXPECT_EQ(tiles.sizes(), at::IntArrayRef({2, 3, 32, 32}));
  const at::Tensor again =
      Forward(BindNetwork(options.config, CastParameters(parameters, at::kFloat)), tiles).pictures;
  EXPECT_TRUE(at::allclose(restored, again.clamp(0, 1), 1e-5, 1e-5));
}

TEST(BenchTest, TimesEveryStageThatItCounts) {
  BenchOptions options = Options();
  options.stages = true;
  const auto result = RunBench(options);
  ASSERT_TRUE(result.ok()) << result.status();
  const auto counted = CountStages(options.config, options.size_px, options.batch, 4);
  ASSERT_EQ(result->stages.size(), counted.size());
  for (size_t i = 0; i < counted.size(); ++i) {
    EXPECT_EQ(result->stages[i].cost.stage, counted[i].stage);
    EXPECT_EQ(result->stages[i].cost.macs, counted[i].macs);
    EXPECT_GT(result->stages[i].milliseconds, 0) << counted[i].stage;
  }
  EXPECT_GT(result->peak.gflops, 0);
  EXPECT_GT(result->peak.gigabytes_a_second, 0);
}

TEST(BenchTest, SaysWhatMemoryItTook) {
  const auto result = RunBench(Options());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GT(result->resident_bytes_first, 10'000'000);
  EXPECT_GE(result->peak_resident_bytes, result->resident_bytes_last);
  EXPECT_GE(result->minor_faults_per_run, 0);
  EXPECT_EQ(result->peak_device_bytes, 0);
}

TEST(BenchTest, InferenceIsHeldAgainstTraining) {
  BenchOptions options = Options();
  EXPECT_LT(RunBench(options)->distance, 1e-4);
  options.load.precision = Precision::kBf16;
  const auto rounded = RunBench(options);
  ASSERT_TRUE(rounded.ok()) << rounded.status();
  EXPECT_GT(rounded->distance, 1e-4);
  EXPECT_LT(rounded->distance, 0.03);
}

TEST(BenchTest, ANetworkWithAGateForEachTask) {
  for (const bool train : {false, true}) {
    BenchOptions options = Options();
    options.config.tasks = {"rain", "snow"};
    options.train = train;
    EXPECT_TRUE(RunBench(options).ok()) << RunBench(options).status();
  }
}

TEST(BenchTest, TheStepOfARun) {
  BenchOptions options = Options();
  options.run.emplace();
  options.run->model = TinyConfig();
  options.run->batch = 3;
  options.run->precision = TrainPrecision::kBf16;
  options.run->data.crop_px = 16;
  options.load.precision = Precision::kAuto;
  const auto result = RunBench(options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->batch, 3);
  EXPECT_EQ(result->size_px, 16);
  EXPECT_EQ(result->precision, "bf16");
  EXPECT_EQ(result->run_ms.size(), 3);
  options.threads = 0;
  options.run->threads = 3;
  EXPECT_EQ(RunBench(options)->threads, 3);
}

TEST(BenchTest, LoadingAgainstOneBatch) {
  TrainOptions run = TinyRun(NewFolder());
  run.accumulate = 2;
  const auto rounds = RunLoadingBench(run, /*rounds=*/2, /*steps=*/3);
  ASSERT_TRUE(rounds.ok()) << rounds.status();
  ASSERT_EQ(rounds->size(), 2);
  for (const LoadingRound& round : *rounds) {
    EXPECT_GT(round.loading_steps_per_second, 0);
    EXPECT_GT(round.cached_steps_per_second, 0);
  }
  EXPECT_FALSE(std::filesystem::exists(run.output_dir));
  EXPECT_EQ(RunLoadingBench(run, 0, 3).status().code(), absl::StatusCode::kInvalidArgument);
  run.data.clean[0].dir = "absent";
  EXPECT_EQ(RunLoadingBench(run, 1, 1).status().code(), absl::StatusCode::kNotFound);
}

TEST(BenchTest, StepOfTwoRanks) {
  RunRanks(2, [](const RankPlace& place) {
    BenchOptions options = Options();
    options.train = true;
    options.place = place;
    const auto result = RunBench(options);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_GT(result->min_ms_per_tile, 0);
  });
}

TEST(BenchTest, OptionsOutOfRange) {
  const auto refused = [](auto change, const std::string& message) {
    BenchOptions options = Options();
    change(options);
    EXPECT_THAT(std::string(RunBench(options).status().message()), testing::HasSubstr(message));
  };
  refused([](auto& o) { o.size_px = 30; }, "size is 30; it must be a multiple of 8");
  refused([](auto& o) { o.batch = 0; }, "batch is 0");
  refused([](auto& o) { o.runs = 0; }, "runs is 0");
  refused([](auto& o) { o.threads = -3; }, "threads is -3");
  refused([](auto& o) { o.train = true, o.load.device = "cuda:99"; },
          "device 'cuda:99' is not there");
  refused([](auto& o) { o.model = "absent"; }, "absent");
}

}  // namespace
}  // namespace deweather
