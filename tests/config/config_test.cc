#include "proto/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

namespace deweather {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// What every training configuration must say, on line 1.
constexpr char kNeeded[] = "output_dir: 'out' data { clean { dir: 'photos' } }\n";

std::string ServerError(const std::string& text) {
  return std::string(ParseServerConfig(text, "s.textproto").status().message());
}

std::string TrainError(const std::string& text) {
  return std::string(ParseTrainConfig(kNeeded + text, "t.textproto").status().message());
}

TEST(ServerConfigTest, EmptyFileIsTheDefaults) {
  const auto options = ParseServerConfig("", "empty");
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(*options, ServerOptions());
}

constexpr char kEveryField[] = R"(
    listen: "[::1]:1" metrics_listen: "" http_listen: "[::1]:2" model: "m" data_dir: "d" device: "cuda:3"
    precision: PRECISION_BF16
    threads { model: 1 workers: 2 }
    limits { max_image_pixels: 3 max_receive_bytes: 4000 max_send_bytes: 5000
             max_concurrent_streams: 6 max_transport_bytes: 70000000
             max_large_bytes: 7000 max_stream_idle { seconds: 7 }
             max_model_bytes: 8000000 }
    drain { delay { nanos: 8 } timeout { seconds: 9 } }
    admission { max_bytes: 1048577 max_tiles: 10 max_caller_percent: 11 }
    batching { max_tiles: 12 max_delay { nanos: 13 } window_tiles: 14 }
    training { enabled: false max_running: 15 max_queued: 16 max_failures: 17 first_retry { seconds: 18 }
               stop_grace { seconds: 19 } launch: ["torchrun", "--nproc-per-node=2"] idle: false
               niceness: 1 threads: 20 gpu: "0,1" max_memory_bytes: 70000001
               max_time { seconds: 21 } max_log_bytes: 4097 max_disk_bytes: 1048577
               min_free_bytes: 22 keep_versions: 28 }
    datasets { registered { name: "r" dir: "/r" } registered { name: "s" dir: "s" } max_bytes: 23
               max_files: 24 max_file_bytes: 1025 min_free_bytes: 26 }
    promotion { dataset: "r" max_regression_db: 0.5 timeout { seconds: 27 } })";

TEST(ServerConfigTest, EveryFieldArrives) {
  const auto options = ParseServerConfig(kEveryField, "all");
  ASSERT_TRUE(options.ok()) << options.status();
  ServerOptions expected;
  expected.listen = "[::1]:1";
  expected.metrics_listen = "";
  expected.http_listen = "[::1]:2";
  expected.model = "m";
  expected.data_dir = "d";
  expected.device = "cuda:3";
  expected.precision = Precision::kBf16;
  expected.threads = {1, 2};
  expected.limits = {3, 4000, 5000, 6, 70'000'000, 7000, absl::Seconds(7), 8'000'000};
  expected.drain = {absl::Nanoseconds(8), absl::Seconds(9)};
  expected.admission = {1048577, 10, 11};
  expected.batching = {12, absl::Nanoseconds(13), 14};
  expected.training = {.enabled = false,
                       .max_running = 15,
                       .max_queued = 16,
                       .max_failures = 17,
                       .first_retry = absl::Seconds(18),
                       .stop_grace = absl::Seconds(19),
                       .launch = {"torchrun", "--nproc-per-node=2"},
                       .idle = false,
                       .niceness = 1,
                       .threads = 20,
                       .gpu = "0,1",
                       .max_memory_bytes = 70'000'001,
                       .max_time = absl::Seconds(21),
                       .max_log_bytes = 4097,
                       .max_disk_bytes = 1048577,
                       .min_free_bytes = 22,
                       .keep_versions = 28};
  expected.datasets = {.registered = {{"r", "/r"}, {"s", "s"}},
                       .max_bytes = 23,
                       .max_files = 24,
                       .max_file_bytes = 1025,
                       .max_image_pixels = 3,  // limits' own
                       .min_free_bytes = 26};
  expected.promotion = {"r", 0.5, absl::Seconds(27)};
  EXPECT_EQ(*options, expected);
}

// The loader of training reads no larger ones.
TEST(ServerConfigTest, PicturesOfDataSetsAreNoLargerThanTrainingReads) {
  const auto options = ParseServerConfig("limits { max_image_pixels: 900000000 }", "s");
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->datasets.max_image_pixels, 200'000'000);
}

struct Mistake {
  std::string text;
  std::vector<std::string> said;
};

void ExpectSaid(const std::string& error, const Mistake& mistake) {
  for (const std::string& words : mistake.said) {
    EXPECT_THAT(error, HasSubstr(words)) << mistake.text;
  }
  EXPECT_THAT(error, testing::Not(HasSubstr("\n"))) << mistake.text;
}

TEST(ServerConfigTest, MistakesNameFileLineFieldValueAndLimit) {
  const std::vector<Mistake> mistakes = {
      {"listen: '127.0.0.1'", {"s.textproto:1: ", "listen is '127.0.0.1'", "HOST:PORT"}},
      {"\nlisten: ':80'", {"s.textproto:2: ", "listen is ':80'"}},
      {"listen: 'a:65536'", {":1: listen is 'a:65536'", "[0, 65535]"}},
      {"listen: 'a:-1'", {"listen is 'a:-1'"}},
      {"listen: '::1:80'", {"listen is '::1:80'"}},
      {"metrics_listen: 'x'", {"metrics_listen is 'x'"}},
      {"http_listen: 'x'", {"http_listen is 'x'"}},
      {"device: 'gpu'", {"device is 'gpu'", "auto, cpu, cuda"}},
      {"device: 'cuda:'", {"device is 'cuda:'"}},
      {"device: 'cuda:1x'", {"device is 'cuda:1x'"}},
      {"threads {\n  workers: 1025\n}", {":2: threads.workers is 1025", "[0, 1024]"}},
      {"threads { model: -1 }", {"threads.model is -1", "[0, 1024]"}},
      {"limits {\n\n max_image_pixels: 0 }", {":3: limits.max_image_pixels is 0", "2000000000"}},
      {"limits { max_receive_bytes: 2147483648 }", {"is 2147483648", "[1024, 2147483647]"}},
      {"limits { max_send_bytes: 1 }", {"limits.max_send_bytes is 1", "[1024, 2147483647]"}},
      {"limits { max_concurrent_streams: 0 }", {"max_concurrent_streams is 0", "[1, 65536]"}},
      {"limits { max_transport_bytes: 5 }", {"max_transport_bytes is 5", "[67108864, "}},
      {"admission { max_bytes: 5 }", {"admission.max_bytes is 5", "[1048576, 1099511627776]"}},
      {"admission {\n max_tiles: 0 }", {":2: admission.max_tiles is 0", "[1, 1048576]"}},
      {"admission { max_caller_percent: 101 }", {"max_caller_percent is 101", "[1, 100]"}},
      {"batching { max_tiles: 257 }", {"batching.max_tiles is 257", "[1, 256]"}},
      {"batching { max_delay { seconds: 2 } }", {"batching.max_delay is 2s", "[0s, 1s]"}},
      {"batching { window_tiles: 0 }", {"batching.window_tiles is 0", "[1, 4096]"}},
      {"limits { max_large_bytes: 1023 }", {"max_large_bytes is 1023", "[1024, 68719476736]"}},
      {"limits { max_model_bytes: 9 }", {"max_model_bytes is 9", "[1048576, 1099511627776]"}},
      {"limits { max_stream_idle { nanos: 5 } }", {"max_stream_idle is 5ns", "[1s, 1h]"}},
      {"drain { delay { seconds: -1 } }", {"drain.delay is -1s", "[0s, 1h]"}},
      {"drain {\n timeout {\n seconds: 3601 } }", {":2: drain.timeout is 1h1s", "[0s, 1h]"}},
      {"drain { delay { seconds: 1 nanos: -1 } }", {"drain.delay", "one sign"}},
      {"drain { delay { seconds: 400000000000 } }", {"drain.delay is 400000000000 seconds"}},
      {"precision: PRECISION_F16",
       {":1: ", "PRECISION_F16", "precision takes one of PRECISION_AUTO, PRECISION_F32"}},
      {"precision: PRECISION_F16\n\nmodel: 'm'", {"s.textproto:1: ", "PRECISION_F16"}},
      {"precision: 9", {":1: precision is 9", "PRECISION_BF16"}},
  };
  for (const Mistake& mistake : mistakes) ExpectSaid(ServerError(mistake.text), mistake);
}

TEST(ServerConfigTest, MistakesOfTraining) {
  const std::vector<Mistake> mistakes = {
      {"training {\n max_running: 65 }", {"s.textproto:2: training.max_running is 65", "[0, 64]"}},
      {"training { max_queued: 0 }", {"training.max_queued is 0", "[1, 1000000]"}},
      {"training { max_failures: 0 }", {"training.max_failures is 0", "[1, 1000]"}},
      {"training { first_retry { seconds: 601 } }", {"first_retry is 10m1s", "[0s, 10m]"}},
      {"training { stop_grace { seconds: -1 } }", {"stop_grace is -1s", "[0s, 1h]"}},
      {"training { launch: [''] }", {"training.launch[0] is ''", "a program"}},
      {"training { niceness: -1 }", {"training.niceness is -1", "[0, 19]"}},
      {"training { threads: 1025 }", {"training.threads is 1025", "[0, 1024]"}},
      {"training { gpu: '0 1' }", {"training.gpu is '0 1'", "letters, digits"}},
      {"training { max_memory_bytes: 9 }", {"max_memory_bytes is 9", "[67108864, "}},
      {"training { max_time { } }", {"training.max_time is '0'", "longer than 0s"}},
      {"training { max_log_bytes: 9 }", {"max_log_bytes is 9", "[4096, 1073741824]"}},
      {"training { max_disk_bytes: 9 }", {"max_disk_bytes is 9", "[1048576, 1099511627776000]"}},
      {"training { min_free_bytes: -1 }", {"training.min_free_bytes is -1", "[0, 1099511627776]"}},
      {"training { keep_versions: -1 }", {"training.keep_versions is -1", "[0, 1000000]"}},
      {"datasets {\n registered { name: 'a' dir: 'x' }\n registered { name: 'a' dir: 'y' } }",
       {"datasets.registered[1].name is 'a'", "another"}},
      {"datasets {\n registered {\n name: '../a' dir: 'x' } }",
       {":3: datasets.registered[0].name is "}},
      {"datasets { registered { dir: 'x' } }", {"datasets.registered[0].name is 0 bytes long"}},
      {"datasets { registered { name: 'a' } }", {"datasets.registered[0].dir is ''", "a folder"}},
      {"datasets { max_bytes: -1 }", {"datasets.max_bytes is -1", "[0, 1099511627776000]"}},
      {"datasets { max_files: 0 }", {"datasets.max_files is 0", "[1, 10000000]"}},
      {"datasets { max_file_bytes: 9 }", {"max_file_bytes is 9", "[1024, 2147483647]"}},
      {"datasets { min_free_bytes: -1 }", {"datasets.min_free_bytes is -1"}},
      {"promotion { dataset: 'a/b' }", {"promotion.dataset is 'a/b'; it must be made of"}},
      {"promotion { max_regression_db: nan }", {"max_regression_db is nan", "[0, 100]"}},
      {"promotion { max_regression_db: -0.1 }", {"max_regression_db is -0.1", "[0, 100]"}},
      {"promotion { timeout { } }", {"promotion.timeout is 0", "[1s, 24h]"}},
  };
  for (const Mistake& mistake : mistakes) ExpectSaid(ServerError(mistake.text), mistake);
}

TEST(ServerConfigTest, NoMemoryLimitIsZero) {
  EXPECT_TRUE(ParseServerConfig("training { max_memory_bytes: 0 }", "s").ok());
}

TEST(ServerConfigTest, SyntaxErrorsSayWhatTheFieldTakes) {
  const std::vector<Mistake> mistakes = {
      {"\nlisen: 'a:1'", {"s.textproto:2: ", "no field named \"lisen\"", "it has listen, "}},
      {"threads { cores: 1 }", {"no field named \"cores\"", "it has model, workers"}},
      {"listen: 5", {"Expected string, got: 5", "'listen: 5'", "listen takes a quoted string"}},
      {"threads { model: many }", {"got: many", "model takes "}},
      {"threads { workers: 99999999999 }",
       {"(99999999999)", "workers takes an integer in [-2147483648, 2147483647]"}},
      {"limits: 3", {"Expected \"{\"", "limits takes { ... } with max_image_pixels"}},
      {"model: 'a' model: 'b'", {"\"model\" is specified multiple times"}},
      {"drain {", {"s.textproto:1: "}},
      {"}", {"s.textproto:1: "}},
      {"listen: 'a", {"s.textproto:1: "}},
  };
  for (const Mistake& mistake : mistakes) ExpectSaid(ServerError(mistake.text), mistake);
}

TEST(TrainConfigTest, WhatIsNotSaidIsTheDefault) {
  const auto options = ParseTrainConfig(kNeeded, "t");
  ASSERT_TRUE(options.ok()) << options.status();
  const TrainOptions defaults;
  EXPECT_EQ(options->name, defaults.name);
  ModelConfig model;
  model.name = defaults.name;
  EXPECT_EQ(options->model, model);
  EXPECT_EQ(options->batch, defaults.batch);
  EXPECT_EQ(options->steps, defaults.steps);
  EXPECT_EQ(options->max_time, absl::InfiniteDuration());
  EXPECT_EQ(options->optimizer.learning_rate, defaults.optimizer.learning_rate);
  EXPECT_EQ(options->ema_decay, defaults.ema_decay);
  EXPECT_EQ(options->loss, LossKind::kSmoothL1);
  EXPECT_EQ(options->precision, TrainPrecision::kF32);
  EXPECT_EQ(options->data.crop_px, defaults.data.crop_px);
  EXPECT_TRUE(options->data.augment);
  EXPECT_TRUE(options->evaluate.pairs_dirs.empty());
  EXPECT_FALSE(options->resume);
}

TEST(TrainConfigTest, ModelArrives) {
  const auto options = ParseTrainConfig(std::string(kNeeded) + R"(
    name: "rain"
    model { kind: KIND_FME embed_dim: 192 depth: 3 heads: 4 head_dim: 48 patch: 4 channels: 16
            tail_scale: 2 mlp_ratio: 3 experts: 8 kept: 2 stem: STEM_NONE
            first_expert: FIRST_EXPERT_GELU gate: GATE_PAPER residual: true tile_px: 128
            overlap_px: 16 })",
                                        "t");
  ASSERT_TRUE(options.ok()) << options.status();
  const ModelConfig expected = {.name = "rain",
                                .kind = ExpertKind::kFme,
                                .embed_dim = 192,
                                .depth = 3,
                                .heads = 4,
                                .head_dim = 48,
                                .patch = 4,
                                .channels = 16,
                                .tail_scale = 2,
                                .mlp_ratio = 3,
                                .experts = 8,
                                .kept = 2,
                                .stem = Stem::kNone,
                                .first_expert = FirstExpert::kGelu,
                                .gate = Gate::kPaper,
                                .residual = true,
                                .tile_px = 128,
                                .overlap_px = 16};
  EXPECT_EQ(options->model, expected);
}

TEST(TrainConfigTest, DenseNetworkHasNoExperts) {
  const auto options = ParseTrainConfig(std::string(kNeeded) + "model { kind: KIND_DENSE }", "t");
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->model.experts, 0);
  EXPECT_EQ(options->model.kept, 0);
}

TEST(TrainConfigTest, RouterArrives) {
  const auto options = ParseTrainConfig(std::string(kNeeded) + R"(
    model { kind: KIND_FFN kept: 1 experts_by_block: [4, 8] residual_ffn: true
            tasks: "rain" tasks: "snow" calibration: CALIBRATION_CONFIDENCE router_passes: 7
            router_dropout: 0.25 })",
                                        "t");
  ASSERT_TRUE(options.ok()) << options.status();
  ModelConfig expected;
  expected.name = "model";
  expected.kind = ExpertKind::kFfn;
  expected.experts = 8;  // the largest block's
  expected.kept = 1;
  expected.experts_by_block = {4, 8};
  expected.residual_ffn = true;
  expected.tasks = {"rain", "snow"};
  expected.calibration = Calibration::kConfidence;
  expected.router_passes = 7;
  expected.router_dropout = 0.25;
  EXPECT_EQ(options->model, expected);
  const auto paper = ParseTrainConfig(std::string(kNeeded) + R"(
    model { calibration: CALIBRATION_PAPER })",
                                      "t");
  EXPECT_EQ(paper->model.calibration, Calibration::kPaper);
}

TEST(TrainConfigTest, ObjectiveAndRanksArrive) {
  const auto options = ParseTrainConfig(std::string(kNeeded) + R"(
    balance: BALANCE_PAPER balance_weight: 0.5 uncertainty_weight: 0.005
    distill { teacher: "teacher" weight: 0.25 }
    device: "cuda:1" rank_timeout { seconds: 30 })",
                                        "t");
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->balance, BalanceKind::kPaper);
  EXPECT_EQ(options->balance_weight, 0.5);
  EXPECT_EQ(options->uncertainty_weight, 0.005);
  EXPECT_EQ(options->distill.teacher, "teacher");
  EXPECT_EQ(options->distill.weight, 0.25);
  EXPECT_EQ(options->device, "cuda:1");
  EXPECT_EQ(options->rank_timeout, absl::Seconds(30));
}

TEST(TrainConfigTest, DataArrives) {
  const auto options = ParseTrainConfig(R"(
    output_dir: "out"
    data {
      pairs { dir: "a" weight: 2 }
      pairs { input_dir: "b" truth_dir: "c" }
      clean { dir: "d" weight: 3 weather: "rain" untouched_share: 0.25 }
      crop_px: 64
      augment: false
    })",
                                        "t");
  ASSERT_TRUE(options.ok()) << options.status();
  const DataOptions& data = options->data;
  ASSERT_EQ(data.pairs.size(), 2u);
  EXPECT_EQ(data.pairs[0].input_dir, "a/input");
  EXPECT_EQ(data.pairs[0].truth_dir, "a/gt");
  EXPECT_EQ(data.pairs[0].weight, 2);
  EXPECT_EQ(data.pairs[1].input_dir, "b");
  EXPECT_EQ(data.pairs[1].truth_dir, "c");
  EXPECT_EQ(data.pairs[1].weight, 1);
  ASSERT_EQ(data.clean.size(), 1u);
  EXPECT_EQ(data.clean[0].dir, "d");
  EXPECT_EQ(data.clean[0].untouched_share, 0.25);
  EXPECT_EQ(data.crop_px, 64);
  EXPECT_FALSE(data.augment);
}

TEST(TrainConfigTest, ScheduleArrives) {
  const auto options = ParseTrainConfig(std::string(kNeeded) + R"(
    batch: 2 steps: 3 max_time { seconds: 1200 } loss: LOSS_CHARBONNIER ema_decay: 0.5
    optimizer { learning_rate: 0.1 min_learning_rate: 0.01 warmup_steps: 7 weight_decay: 0.2
                beta1: 0.3 beta2: 0.4 clip_norm: 0.6 }
    precision: PRECISION_BF16 seed: 18446744073709551615 threads: 5 checkpoint_every_steps: 6
    log_every_steps: 8 evaluate { pairs_dir: "e" every_steps: 9 } init_from: "i" resume: true)",
                                        "t");
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->batch, 2);
  EXPECT_EQ(options->steps, 3);
  EXPECT_EQ(options->max_time, absl::Minutes(20));
  EXPECT_EQ(options->loss, LossKind::kCharbonnier);
  EXPECT_EQ(options->ema_decay, 0.5);
  EXPECT_EQ(options->optimizer.learning_rate, 0.1);
  EXPECT_EQ(options->optimizer.min_learning_rate, 0.01);
  EXPECT_EQ(options->optimizer.warmup_steps, 7);
  EXPECT_EQ(options->optimizer.weight_decay, 0.2);
  EXPECT_EQ(options->optimizer.beta1, 0.3);
  EXPECT_EQ(options->optimizer.beta2, 0.4);
  EXPECT_EQ(options->optimizer.clip_norm, 0.6);
  EXPECT_EQ(options->precision, TrainPrecision::kBf16);
  EXPECT_EQ(options->seed, UINT64_MAX);
  EXPECT_EQ(options->threads, 5);
  EXPECT_EQ(options->checkpoint_every_steps, 6);
  EXPECT_EQ(options->log_every_steps, 8);
  EXPECT_EQ(options->evaluate.pairs_dirs, std::vector<std::string>{"e"});
  EXPECT_EQ(options->evaluate.every_steps, 9);
  EXPECT_EQ(options->init_from, "i");
  EXPECT_TRUE(options->resume);
}

TEST(TrainConfigTest, MistakesNameFileLineFieldValueAndLimit) {
  const std::vector<Mistake> mistakes = {
      {"batch: 0", {"t.textproto:2: batch is 0", "[1, 4096]"}},
      {"steps: 0", {":2: steps is 0"}},
      {"max_time { }", {":2: max_time is 0"}},
      {"ema_decay: 1", {"ema_decay is 1"}},
      {"ema_decay: nan", {"ema_decay is nan"}},
      {"model {\n embed_dim: 0 }", {":3: ", "embed_dim is 0", "[1, 4096]"}},
      {"model { experts: 4 kept: 5 }", {":2: ", "kept is 5", "[1, 4]"}},
      {"model { kind: KIND_DENSE experts: 3 }", {":2: ", "experts", "is 3"}},
      {"optimizer {\n learning_rate: 2 }", {":3: optimizer.learning_rate is 2"}},
      {"optimizer { min_learning_rate: 1 }", {"optimizer.min_learning_rate is 1"}},
      {"optimizer {\n learning_rate: 1e-8 }", {":2: optimizer.min_learning_rate is 1e-06"}},
      {"optimizer { beta2: 1 }", {"optimizer.beta2 is 1"}},
      {"evaluate { every_steps: 3 }", {":2: evaluate needs a pairs_dir"}},
      {"loss: 7", {":2: loss is 7", "LOSS_L1"}},
      {"resume: maybe", {":2: ", "maybe", "resume takes true or false"}},
      {"data { crop_px: 64 }", {":2: ", "\"data\" is specified multiple times"}},
      {"seed: -1", {":2: ", "seed takes an integer in [0, 2^64 - 1]"}},
      {"model {\n experts_by_block: [4, 8]\n experts: 4 }",
       {":4: model.experts is 4", "the largest of experts_by_block, 8"}},
      {"model {\n experts_by_block: 4\n experts_by_block: 300 }",
       {":4: model.experts_by_block[1] is 300", "[4, 256]"}},
      {"model { kind: KIND_DENSE\n experts_by_block: [4, 8] }",
       {":3: model.experts_by_block has 2 numbers", "no router"}},
      {"model {\n residual_ffn: true }", {":3: model.residual_ffn is true", "kind is fme"}},
      {"model { tasks: 'rain'\n tasks: 'rain' }", {":3: model.tasks[1] is 'rain'", "once"}},
      {"model { tasks: 'snow' }", {"data.clean[0].weather is 'rain'", "model.tasks: snow"}},
      {"model { calibration: CALIBRATION_BAYES }",
       {":2: ", "CALIBRATION_BAYES", "CALIBRATION_PAPER, CALIBRATION_CONFIDENCE"}},
      {"model {\n router_passes: 1 }", {":3: model.router_passes is 1", "[2, 64]"}},
      {"model {\n router_dropout: nan }", {":3: model.router_dropout is nan", "[0, 0.9]"}},
      {"balance: 3", {":2: balance is 3", "BALANCE_GSHARD"}},
      {"uncertainty_weight: 1001", {":2: uncertainty_weight is 1001", "[0, 1000]"}},
      {"distill { weight: 2 }", {":2: distill needs a teacher"}},
      {"distill {\n teacher: 't' weight: -1 }", {":3: distill.weight is -1", "[0, 1000]"}},
      {"device: 'gpu'", {":2: device is 'gpu'", "auto, cpu, cuda"}},
      {"rank_timeout { }", {":2: rank_timeout is 0", "[1s, 24h]"}},
  };
  for (const Mistake& mistake : mistakes) ExpectSaid(TrainError(mistake.text), mistake);
}

TEST(TrainConfigTest, MistakesInDataNameTheEntry) {
  const std::vector<Mistake> mistakes = {
      {"output_dir: 'o'", {"data names no pairs and no clean pictures"}},
      {"data { clean { dir: 'a' } }", {"output_dir is empty"}},
      {"output_dir: 'o' data {\n clean { dir: 'a' }\n clean { weight: 2 }\n}",
       {"t:3: data.clean[1] needs a dir"}},
      {"output_dir: 'o' data {\n clean { dir: 'a'\n weight: 0 } }",
       {"t:3: data.clean[0].weight is 0"}},
      {"output_dir: 'o' data { clean { dir: 'a' }\n clean { dir: 'a'\n weather: 'hail' } }",
       {"t:3: data.clean[1].weather is 'hail'", "rain, drops, snow, haze or mixed"}},
      {"output_dir: 'o' data {\n pairs { dir: 'a' }\n pairs { input_dir: 'b' }\n}",
       {"t:3: data.pairs[1] needs a dir, or both"}},
      {"output_dir: 'o' data { pairs {\n dir: 'a' truth_dir: 'b' } }",
       {"t:2: data.pairs[0].dir is 'a' beside"}},
      {"output_dir: 'o' data { pairs { dir: 'a' }\n crop_px: 60 }",
       {"t:2: data.crop_px is 60", "multiple of the patch, 8"}},
  };
  for (const Mistake& mistake : mistakes) {
    ExpectSaid(std::string(ParseTrainConfig(mistake.text, "t").status().message()), mistake);
  }
}

TEST(LoadConfigTest, MissingFileAndFolder) {
  const absl::Status missing = LoadServerConfig("/nowhere/s.textproto").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("/nowhere/s.textproto"));
  EXPECT_FALSE(LoadServerConfig(testing::TempDir()).ok());
}

TEST(LoadConfigTest, FileThatIsTooLarge) {
  const std::string path = testing::TempDir() + "/large.textproto";
  std::ofstream(path) << std::string((1 << 20) + 1, ' ');
  const absl::Status status = LoadTrainConfig(path).status();
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("1048577"), HasSubstr("1048576")));
  std::remove(path.c_str());
}

TEST(LoadConfigTest, ErrorsBeginWithThePath) {
  const std::string path = testing::TempDir() + "/broken.textproto";
  std::ofstream(path) << "# a comment\nlisten: 'x'\n";
  EXPECT_THAT(std::string(LoadServerConfig(path).status().message()), StartsWith(path + ":2: "));
  std::remove(path.c_str());
}

}  // namespace
}  // namespace deweather
