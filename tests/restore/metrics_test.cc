#include "server/restore/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace deweather {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string Text(const Metrics& metrics) {
  return prometheus::TextSerializer().Serialize(metrics.Collect());
}

// Lines that are no comment.
size_t SeriesCount(const std::string& text) {
  size_t count = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    if (line.front() != '#') ++count;
  }
  return count;
}

TEST(MetricsTest, SeriesExistFromTheStartAtZero) {
  const std::string text = Text(Metrics({.build_version = "1.2.3"}));
  for (const char* line :
       {"deweather_restore_requests_total{code=\"OK\"} 0\n",
        "deweather_restore_requests_total{code=\"DEADLINE_EXCEEDED\"} 0\n",
        "deweather_restore_refused_total{reason=\"byte_budget\"} 0\n",
        "deweather_restore_refused_total{reason=\"draining\"} 0\n",
        "deweather_tiles_dropped_total{reason=\"cancelled\"} 0\n",
        "deweather_batch_padding_tiles_total 0\n",
        "deweather_restore_seconds_count{priority=\"normal\"} 0\n",
        "deweather_stage_seconds_count{stage=\"decode\"} 0\n",
        "deweather_stage_seconds_count{stage=\"encode\"} 0\n", "deweather_batch_tiles_count 0\n",
        "deweather_queue_tiles 0\n", "deweather_queue_oldest_seconds 0\n",
        "deweather_build_info{version=\"1.2.3\"} 1\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(MetricsTest, ProcessAndDiskAreReadAtAScrape) {
  const std::string text = Text(Metrics({}));
  for (const auto& [name, least] :
       std::vector<std::pair<std::string, double>>{{"process_resident_memory_bytes", 1e5},
                                                   {"process_start_time_seconds", 1.6e9},
                                                   {"process_open_fds", 3},
                                                   {"process_max_fds", 4},
                                                   {"deweather_data_free_bytes", 1e5},
                                                   {"deweather_data_size_bytes", 1e5}}) {
    const size_t at = text.find(absl::StrCat("\n", name, " "));
    ASSERT_NE(at, std::string::npos) << name;
    EXPECT_GE(std::stod(text.substr(at + name.size() + 2)), least) << name;
  }
  EXPECT_THAT(text, HasSubstr("# TYPE process_cpu_seconds_total counter"));
}

TEST(MetricsTest, ADiskThatCannotBeReadIsNotAFullOne) {
  const std::string text = Text(Metrics({.data_dir = "/nonexistent"}));
  EXPECT_THAT(text, HasSubstr("deweather_data_free_bytes Nan\n"));
  EXPECT_THAT(text, HasSubstr("deweather_data_size_bytes Nan\n"));
}

TEST(MetricsTest, CpuSecondsNeverFall) {
  const Metrics metrics({});
  double before = 0;
  for (int i = 0; i < 5; ++i) {
    const std::string text = Text(metrics);
    const char name[] = "\nprocess_cpu_seconds_total ";
    const double now = std::stod(text.substr(text.find(name) + sizeof(name) - 1));
    EXPECT_GE(now, before);
    before = now;
  }
}

TEST(MetricsTest, GpuSeriesOnlyWithAGpu) {
  EXPECT_THAT(Text(Metrics({})), Not(HasSubstr("deweather_gpu_memory_bytes")));
  MetricsOptions options;
  options.gpu_memory_bytes = [] { return int64_t{4096}; };
  EXPECT_THAT(Text(Metrics(options)), HasSubstr("deweather_gpu_memory_bytes 4096\n"));
}

TEST(MetricsTest, AtMost300SeriesAndTwoForEachExpert) {
  Metrics metrics({});
  metrics.AddModel("a", "1");
  EXPECT_LE(SeriesCount(Text(metrics)), 240u) << "leave room for training's";
  metrics.DeclareRouting({128, 128});
  EXPECT_LE(SeriesCount(Text(metrics)), 300u + 2 * 2 * 128);
}

TEST(MetricsTest, RoutingOfABatchIsAdded) {
  Metrics metrics({});
  metrics.DeclareRouting({2, 2});
  EXPECT_THAT(Text(metrics),
              HasSubstr("deweather_expert_tokens_total{expert=\"1\",layer=\"1\"} 0\n"));
  const BatchRouting batch{.layers = 2,
                           .experts = 2,
                           .tokens = {10, 20, 30, 0},
                           .gate = {1.5, 2.5, 3.5, 0},
                           .entropy = {0.25, 0.75}};
  metrics.AddRouting(batch);
  metrics.AddRouting(batch);
  const std::string text = Text(metrics);
  EXPECT_THAT(text, HasSubstr("deweather_expert_tokens_total{expert=\"1\",layer=\"0\"} 40\n"));
  EXPECT_THAT(text, HasSubstr("deweather_expert_tokens_total{expert=\"0\",layer=\"1\"} 60\n"));
  EXPECT_THAT(text, HasSubstr("deweather_expert_gate_total{expert=\"0\",layer=\"1\"} 7\n"));
  EXPECT_THAT(text, HasSubstr("deweather_router_entropy_ratio{layer=\"1\"} 0.75\n"));
}

TEST(MetricsTest, ALargerModelAddsToTheSeriesOfASmallerOne) {
  Metrics metrics({});
  metrics.DeclareRouting({2});
  metrics.AddRouting({.layers = 1, .experts = 2, .tokens = {1, 2}, .gate = {1, 2}, .entropy = {0}});
  metrics.DeclareRouting({3, 3});
  metrics.DeclareRouting({1});
  metrics.AddRouting({.layers = 1, .experts = 2, .tokens = {1, 2}, .gate = {1, 2}, .entropy = {0}});
  const std::string text = Text(metrics);
  EXPECT_THAT(text, HasSubstr("deweather_expert_tokens_total{expert=\"1\",layer=\"0\"} 4\n"));
  EXPECT_THAT(text, HasSubstr("deweather_expert_tokens_total{expert=\"2\",layer=\"0\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("deweather_expert_tokens_total{expert=\"2\",layer=\"1\"} 0\n"));
}

TEST(MetricsTest, ALayerHasSeriesForItsOwnExpertsOnly) {
  Metrics metrics({});
  metrics.DeclareRouting({1, 3});
  metrics.AddRouting({.layers = 2,
                      .experts = 3,
                      .tokens = {6, 0, 0, 1, 2, 3},
                      .gate = {6, 0, 0, 1, 2, 3},
                      .entropy = {0, 1}});
  const std::string text = Text(metrics);
  EXPECT_THAT(text, HasSubstr("deweather_expert_tokens_total{expert=\"0\",layer=\"0\"} 6\n"));
  EXPECT_THAT(text, Not(HasSubstr("{expert=\"1\",layer=\"0\"}")));
  EXPECT_THAT(text, HasSubstr("deweather_expert_gate_total{expert=\"2\",layer=\"1\"} 3\n"));
}

TEST(MetricsTest, UncertaintyIsOfTheLastBatchThatHasIt) {
  Metrics metrics({});
  metrics.DeclareRouting({1, 1});
  EXPECT_THAT(Text(metrics), HasSubstr("deweather_router_uncertainty{layer=\"1\"} 0\n"));
  BatchRouting batch{
      .layers = 2, .experts = 1, .tokens = {1, 1}, .gate = {1, 1}, .entropy = {0, 0}};
  batch.uncertainty = {0.25, 0.75};
  metrics.AddRouting(batch);
  batch.uncertainty = {};
  metrics.AddRouting(batch);
  EXPECT_THAT(Text(metrics), HasSubstr("deweather_router_uncertainty{layer=\"1\"} 0.75\n"));
}

TEST(MetricsTest, ARetiredVersionLeaves) {
  Metrics metrics({});
  metrics.AddModel("rain", "1");
  metrics.AddModel("rain", "2");
  metrics.RemoveModel("rain", "1");
  const std::string text = Text(metrics);
  EXPECT_THAT(text, Not(HasSubstr("version=\"1\"")));
  EXPECT_THAT(text, HasSubstr("deweather_model_info{model=\"rain\",version=\"2\"} 1\n"));
}

TEST(MetricsTest, EachVersionCountsItsRequests) {
  Metrics metrics({});
  metrics.AddModel("rain", "1");
  metrics.AddModel("rain", "2");
  EXPECT_THAT(Text(metrics), HasSubstr("deweather_model_requests_total{code=\"INTERNAL\","
                                       "model=\"rain\",version=\"2\"} 0\n"));
  for (int i = 0; i < 3; ++i) {
    metrics.CountOfModel("rain", "1", absl::StatusCode::kOk, absl::Milliseconds(250));
  }
  metrics.CountOfModel("rain", "2", absl::StatusCode::kOk, absl::Seconds(1));
  metrics.CountOfModel("rain", "2", absl::StatusCode::kInternal, absl::Seconds(1));
  metrics.CountOfModel("rain", "2", absl::StatusCode::kDataLoss, absl::Seconds(1));
  metrics.CountOfModel("rain", "3", absl::StatusCode::kOk, absl::Seconds(1));
  const std::string text = Text(metrics);
  const std::string requests = "deweather_model_requests_total{code=";
  EXPECT_THAT(text, HasSubstr(requests + "\"OK\",model=\"rain\",version=\"1\"} 3\n"));
  EXPECT_THAT(text, HasSubstr(requests + "\"OK\",model=\"rain\",version=\"2\"} 1\n"));
  EXPECT_THAT(text, HasSubstr(requests + "\"INTERNAL\",model=\"rain\",version=\"2\"} 1\n"));
  EXPECT_THAT(text, HasSubstr(requests + "\"UNKNOWN\",model=\"rain\",version=\"2\"} 1\n"));
  const std::string seconds = "deweather_model_request_seconds_sum{model=\"rain\",version=";
  EXPECT_THAT(text, HasSubstr(seconds + "\"1\"} 0.75\n"));
  EXPECT_THAT(text, HasSubstr(seconds + "\"2\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("version=\"3\"")));
}

TEST(MetricsTest, AVersionHas19SeriesWhichLeaveWithIt) {
  Metrics metrics({});
  const size_t before = SeriesCount(Text(metrics));
  for (int round = 0; round < 3; ++round) {
    metrics.AddModel("rain", std::to_string(round));
    EXPECT_EQ(SeriesCount(Text(metrics)), before + 19);
    metrics.RemoveModel("rain", std::to_string(round));
    EXPECT_EQ(SeriesCount(Text(metrics)), before);
  }
  metrics.RemoveModel("rain", "7");
  EXPECT_EQ(SeriesCount(Text(metrics)), before);
}

TEST(MetricsTest, TheLoadIsAskedAtEachScrape) {
  Metrics metrics({});
  int64_t tiles = 7;
  metrics.SetLoadProbe([&tiles] { return Load{{tiles, absl::Milliseconds(1500)}, 3, 4096}; });
  EXPECT_THAT(Text(metrics), HasSubstr("deweather_queue_tiles 7\n"));
  EXPECT_THAT(Text(metrics), HasSubstr("deweather_queue_oldest_seconds 1.5\n"));
  EXPECT_THAT(Text(metrics), HasSubstr("deweather_inflight_requests 3\n"));
  EXPECT_THAT(Text(metrics), HasSubstr("deweather_inflight_bytes 4096\n"));
  tiles = 0;
  EXPECT_THAT(Text(metrics), HasSubstr("deweather_queue_tiles 0\n"));
  tiles = 9;
  metrics.SetLoadProbe(nullptr);
  EXPECT_THAT(Text(metrics), HasSubstr("deweather_queue_tiles 0\n"));
}

TEST(MetricsTest, TheHeartbeatOfADeviceStandsWhileItRuns) {
  Metrics metrics({});
  const Pulse runs = {Pulse::Of::kBatch, absl::FromUnixMillis(1'000'500)};
  metrics.SetLoadProbe([&runs] { return Load{.queue = {}, .devices = {Pulse(), runs}}; });
  const std::string text = Text(metrics);
  const char name[] = "deweather_batch_heartbeat_timestamp_seconds";
  EXPECT_THAT(text, HasSubstr(absl::StrCat("\n", name, "{device=\"1\"} 1000.5\n")));
  const std::string waits = absl::StrCat("\n", name, "{device=\"0\"} ");
  ASSERT_THAT(text, HasSubstr(waits));
  EXPECT_GT(std::stod(text.substr(text.find(waits) + waits.size())), 1.6e9) << "it is now";
}

TEST(MetricsTest, AnUnheardOfCodeIsUnknown) {
  const Metrics metrics({});
  metrics.requests(static_cast<absl::StatusCode>(99)).Increment();
  EXPECT_EQ(metrics.requests(absl::StatusCode::kUnknown).Value(), 1);
}

}  // namespace
}  // namespace deweather
