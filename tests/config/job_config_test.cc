#include "proto/config/job_config.h"

#include <gmock/gmock.h>
#include <google/protobuf/unknown_field_set.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "model/base/error_reason.h"
#include "proto/config/config.h"

namespace deweather {
namespace {

using testing::HasSubstr;
using testing::Not;
using Config = v1::TrainConfig;

// A server with the pairs "rain" and the clean pictures "streets", "wet" and "dry".
absl::StatusOr<JobDataset> FindDataset(const std::string& name) {
  if (name == "rain") return JobDataset{"/data/sets/rain", true};
  if (name == "streets" || name == "wet" || name == "dry") {
    return JobDataset{"/data/sets/" + name, false};
  }
  return WithReason(absl::NotFoundError("no data set '" + name + "'"), "UNKNOWN_DATASET");
}

absl::StatusOr<std::string> FindWeights(const InitFrom& from) {
  if (from.model == "base") return "/models/base/" + from.version;
  if (!from.job.empty()) return "/jobs/" + from.job;
  return WithReason(absl::NotFoundError("unknown model '" + from.model + "'"), "UNKNOWN_MODEL");
}

JobConfigRules Rules() { return {.dataset = FindDataset, .init_from = FindWeights}; }

Config Small() {
  return ParseJobConfig("name: 'm' data { pairs { dir: 'rain' } clean { dir: 'streets' } }",
                        "small")
      .value();
}

// What the program of that job reads.
TrainOptions OptionsOf(const Config& config, const JobConfigRules& rules = Rules()) {
  const auto text = JobConfigText(config, rules, "/jobs/1/run");
  EXPECT_TRUE(text.ok()) << text.status();
  const auto options = ParseTrainConfig(text.value_or(""), "config.textproto");
  EXPECT_TRUE(options.ok()) << options.status();
  return options.value_or(TrainOptions());
}

TEST(JobConfigTest, NamesBecomeFolders) {
  const Config config = ParseJobConfig(R"(
    name: "m"
    data { pairs { dir: "rain" } pairs { dir: "rain" task: "drops" weight: 2 }
           pairs { input_dir: "wet" truth_dir: "dry" } clean { dir: "streets" weather: "snow" } }
    evaluate { pairs_dir: "rain" every_steps: 5 })",
                                       "c")
                            .value();
  EXPECT_TRUE(CheckJobConfig(config, Rules()).ok()) << CheckJobConfig(config, Rules());
  const TrainOptions options = OptionsOf(config);
  ASSERT_EQ(options.data.pairs.size(), 3u);
  EXPECT_EQ(options.data.pairs[0].input_dir, "/data/sets/rain/input");
  EXPECT_EQ(options.data.pairs[0].truth_dir, "/data/sets/rain/gt");
  EXPECT_EQ(options.data.pairs[0].task, "rain");
  EXPECT_EQ(options.data.pairs[1].task, "drops");
  EXPECT_EQ(options.data.pairs[1].weight, 2);
  EXPECT_EQ(options.data.pairs[2].input_dir, "/data/sets/wet");
  EXPECT_EQ(options.data.pairs[2].truth_dir, "/data/sets/dry");
  ASSERT_EQ(options.data.clean.size(), 1u);
  EXPECT_EQ(options.data.clean[0].dir, "/data/sets/streets");
  EXPECT_EQ(options.evaluate.pairs_dirs, std::vector<std::string>{"rain=/data/sets/rain"});
  EXPECT_EQ(options.output_dir, "/jobs/1/run");
  EXPECT_TRUE(options.resume);
}

// The folder of a set need not be called as the set is.
TEST(JobConfigTest, ATaskIsTheNameOfItsSet) {
  JobConfigRules rules = Rules();
  rules.dataset = [](const std::string&) { return JobDataset{"/data/pairs/all", true}; };
  Config config;
  config.mutable_data()->add_pairs()->set_dir("rain");
  EXPECT_EQ(OptionsOf(config, rules).data.pairs.at(0).task, "rain");
}

// The gate of pairs without a task is that of their set's name.
TEST(JobConfigTest, GatesAreOfTheNamesOfSets) {
  Config config = Small();
  config.mutable_data()->mutable_clean(0)->set_weather("snow");
  for (const char* task : {"rain", "snow"}) config.mutable_model()->add_tasks(task);
  EXPECT_EQ(OptionsOf(config).model.tasks, (std::vector<std::string>{"rain", "snow"}));
  config.mutable_model()->set_tasks(0, "drops");
  const absl::Status status = CheckJobConfig(config, Rules());
  EXPECT_EQ(status.message(),
            "config.data.pairs[0].task is 'rain'; it must be one of model.tasks: drops, snow");
}

TEST(JobConfigTest, FiguresBearTheNamesOfTheSets) {
  JobConfigRules rules = Rules();
  rules.dataset = [](const std::string& name) { return JobDataset{"/" + name + "/test", true}; };
  Config config;
  config.mutable_data()->add_pairs()->set_dir("rain");
  for (const char* name : {"a", "b"}) config.mutable_evaluate()->add_pairs_dir(name);
  EXPECT_EQ(OptionsOf(config, rules).evaluate.pairs_dirs,
            (std::vector<std::string>{"a=/a/test", "b=/b/test"}));
}

TEST(JobConfigTest, PathsOfAnyCharactersSurvive) {
  JobConfigRules rules = Rules();
  const std::string folder = "/data/it's \"here\"\\\n\xc3\xa9";
  rules.dataset = [&](const std::string& name) { return JobDataset{folder, name == "rain"}; };
  EXPECT_EQ(OptionsOf(Small(), rules).data.clean.at(0).dir, folder);
}

TEST(JobConfigTest, WeightsToStartFrom) {
  const auto start = [](const std::string& from) {
    Config config = Small();
    config.set_init_from(from);
    return OptionsOf(config).init_from;
  };
  EXPECT_EQ(start(""), "");
  EXPECT_EQ(start("base"), "/models/base/");
  EXPECT_EQ(start("base/0123456789ab"), "/models/base/0123456789ab");
  EXPECT_EQ(start("job:abcdefghijk1"), "/jobs/abcdefghijk1");
}

TEST(JobConfigTest, TeacherIsFoundAsWeightsAre) {
  const auto teacher = [](const std::string& from) {
    Config config = Small();
    config.mutable_distill()->set_teacher(from);
    return OptionsOf(config).distill.teacher;
  };
  EXPECT_EQ(teacher("base"), "/models/base/");
  EXPECT_EQ(teacher("base/0123456789ab"), "/models/base/0123456789ab");
  EXPECT_EQ(teacher("job:abcdefghijk1"), "/jobs/abcdefghijk1");
  EXPECT_EQ(OptionsOf(Small()).distill.teacher, "");
}

TEST(JobConfigTest, ThreadsAreLimited) {
  const auto threads = [](int wanted, int most) {
    Config config = Small();
    config.set_threads(wanted);
    config.mutable_data()->set_loader_threads(5);
    JobConfigRules rules = Rules();
    rules.max_threads = most;
    const TrainOptions options = OptionsOf(config, rules);
    return std::pair(options.threads, options.data.loader_threads);
  };
  EXPECT_EQ(threads(0, 0), std::pair(0, 5));
  EXPECT_EQ(threads(7, 0), std::pair(7, 5));
  EXPECT_EQ(threads(0, 2), std::pair(2, 2));
  EXPECT_EQ(threads(7, 2), std::pair(2, 2));
  EXPECT_EQ(threads(1, 6), std::pair(1, 5));
}

struct Mistake {
  std::function<void(Config&)> make;
  std::vector<std::string> said;
  absl::StatusCode code = absl::StatusCode::kInvalidArgument;
};

void ExpectRefused(const Mistake& mistake) {
  Config config = Small();
  mistake.make(config);
  const absl::Status status = CheckJobConfig(config, Rules());
  EXPECT_EQ(status.code(), mistake.code) << status << " of " << config.ShortDebugString();
  for (const std::string& words : mistake.said) {
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
  }
  EXPECT_EQ(JobConfigText(config, Rules(), "run").status(), status);
}

TEST(JobConfigTest, NamesLeadNowhereElse) {
  for (const std::string bad :
       {"../rain", "/data/sets/rain", "a/b", "..", ".tmp-x", "rain/input", "a b"}) {
    ExpectRefused({[&](auto& c) { c.mutable_data()->mutable_pairs(0)->set_dir(bad); },
                   {"config.data.pairs[0].dir is '" + bad + "'", "the name of a data set"}});
  }
  const std::string nul("rain\0/x", 7);
  ExpectRefused({[&](auto& c) { c.mutable_data()->mutable_clean(0)->set_dir(nul); },
                 {"config.data.clean[0].dir is 'rain\\x00/x'"}});
  ExpectRefused(
      {[](auto& c) { c.mutable_data()->mutable_clean(0)->set_dir(std::string(900, 'a')); },
       {"config.data.clean[0].dir is 'aaaa", "aaa...'; it must be"}});
}

TEST(JobConfigTest, WhatOnlyFilesHave) {
  ExpectRefused({[](auto& c) { c.set_output_dir("/tmp"); },
                 {"config.output_dir is '/tmp'", "must be left out"}});
  ExpectRefused({[](auto& c) { c.set_resume(true); }, {"config.resume is 'true'"}});
  for (const char* bad : {"/etc/passwd", "a/b/c", "base/", "base/1234", "base/0123456789AB",
                          "job:", "job:ABCDEFGHIJKL", "job:abc", "../x", "/0123456789ab"}) {
    ExpectRefused({[&](auto& c) { c.set_init_from(bad); },
                   {"config.init_from is '" + std::string(bad) + "'", "NAME/VERSION or job:ID"}});
    ExpectRefused({[&](auto& c) { c.mutable_distill()->set_teacher(bad); },
                   {"config.distill.teacher is '" + std::string(bad) + "'", "or job:ID"}});
  }
}

TEST(JobConfigTest, WhatIsNotThereKeepsItsReason) {
  Config config = Small();
  config.mutable_data()->mutable_clean(0)->set_dir("fog");
  absl::Status status = CheckJobConfig(config, Rules());
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ErrorReason(status), "UNKNOWN_DATASET");
  EXPECT_EQ(status.message(), "config.data.clean[0].dir: no data set 'fog'");
  config = Small();
  config.set_init_from("weights.safetensors");
  status = CheckJobConfig(config, Rules());
  EXPECT_EQ(ErrorReason(status), "UNKNOWN_MODEL");
  EXPECT_THAT(std::string(status.message()), HasSubstr("config.init_from: unknown model"));
  config = Small();
  config.mutable_distill()->set_teacher("nobody");
  status = CheckJobConfig(config, Rules());
  EXPECT_EQ(ErrorReason(status), "UNKNOWN_MODEL");
  EXPECT_EQ(status.message(), "config.distill.teacher: unknown model 'nobody'");
}

TEST(JobConfigTest, PairsAndCleanPicturesAreNotMixedUp) {
  ExpectRefused({[](auto& c) { c.mutable_data()->mutable_clean(0)->set_dir("rain"); },
                 {"config.data.clean[0].dir is 'rain'", "holds pairs"}});
  ExpectRefused({[](auto& c) { c.mutable_data()->mutable_pairs(0)->set_dir("streets"); },
                 {"config.data.pairs[0].dir is 'streets'", "one of pairs"}});
  ExpectRefused({[](auto& c) {
                   for (int i = 0; i < 2; ++i) c.mutable_evaluate()->add_pairs_dir("rain");
                 },
                 {"config.evaluate.pairs_dir[1] is 'rain'", "named once"}});
  ExpectRefused({[](auto& c) { c.mutable_evaluate()->add_pairs_dir("streets"); },
                 {"config.evaluate.pairs_dir[0] is 'streets'", "one of pairs"}});
  ExpectRefused({[](auto& c) {
                   v1::Data::Pairs* pairs = c.mutable_data()->mutable_pairs(0);
                   pairs->clear_dir();
                   pairs->set_input_dir("wet");
                   pairs->set_truth_dir("rain");
                 },
                 {"config.data.pairs[0].truth_dir is 'rain'", "one of clean pictures"}});
}

TEST(JobConfigTest, RangesAreThoseOfAFile) {
  ExpectRefused({[](auto& c) { c.set_batch(0); }, {"config.batch is 0", "[1, 4096]"}});
  ExpectRefused({[](auto& c) { c.set_name("default"); }, {"config.name is 'default'"}});
  ExpectRefused(
      {[](auto& c) { c.set_name("../m"); }, {"config.name is '../m'; it must be made of letters"}});
  ExpectRefused({[](auto& c) { c.clear_data(); }, {"config.data names no pairs"}});
  ExpectRefused({[](auto& c) { c.mutable_model()->set_depth(0); }, {"config.model.depth is 0"}});
  ExpectRefused({[](auto& c) { c.mutable_data()->mutable_clean(0)->set_weather("hail"); },
                 {"config.data.clean[0].weather is 'hail'"}});
  ExpectRefused({[](auto& c) { c.mutable_data()->mutable_pairs(0)->set_task("a/b"); },
                 {"config.data.pairs[0].task is 'a/b'"}});
  ExpectRefused(
      {[](auto& c) { c.mutable_model()->add_tasks("rain"), c.mutable_model()->add_tasks("a/b"); },
       {"config.model.tasks[1] is 'a/b'"}});
  ExpectRefused({[](auto& c) { c.mutable_distill(); }, {"config.distill needs a teacher"}});
  ExpectRefused({[](auto& c) { c.set_device("gpu"); }, {"config.device is 'gpu'"}});
  ExpectRefused({[](auto& c) { c.mutable_rank_timeout(); }, {"config.rank_timeout is 0"}});
  ExpectRefused({[](auto& c) { c.mutable_data()->mutable_pairs(0)->set_truth_dir("dry"); },
                 {"config.data.pairs[0].dir is 'rain' beside"}});
}

TEST(JobConfigTest, WhatTheWireLetsThrough) {
  ExpectRefused({[](auto& c) { c.set_loss(static_cast<Config::Loss>(99)); },
                 {"config.loss is 99", "LOSS_L1"}});
  ExpectRefused({[](auto& c) { c.mutable_max_time()->set_nanos(-2'000'000'000); },
                 {"config.max_time is 0 seconds"}});
  ExpectRefused({[](auto& c) {
                   auto* data = c.mutable_data();
                   data->GetReflection()->MutableUnknownFields(data)->AddVarint(77, 1);
                 },
                 {"config.data has a field of number 77", "it has pairs, clean"}});
}

TEST(JobConfigTest, TooLongForAFile) {
  ExpectRefused({[](auto& c) {
                   for (int i = 0; i < 30'000; ++i) c.mutable_data()->add_clean()->set_dir("dry");
                 },
                 {"config has", "it may have 1048576"}});
}

TEST(JobConfigTest, WhatIsStoredComesBack) {
  Config config = Small();
  config.mutable_optimizer()->set_learning_rate(0.1 + 0.2);
  config.set_seed(UINT64_MAX);
  config.mutable_max_time()->set_nanos(1);
  const auto back = ParseJobConfig(ToText(config), "job");
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(StableBytes(*back), StableBytes(config));
  EXPECT_THAT(std::string(ParseJobConfig("nonsense: 1", "job 7").status().message()),
              HasSubstr("job 7:1: "));
}

TEST(JobConfigTest, StableBytesTellMessagesApart) {
  Config other = Small();
  other.set_steps(3);
  EXPECT_EQ(StableBytes(Small()), StableBytes(Small()));
  EXPECT_THAT(StableBytes(other), Not(StableBytes(Small())));
}

}  // namespace
}  // namespace deweather
