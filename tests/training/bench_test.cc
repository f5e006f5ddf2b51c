#include "training/bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/parameters.h"
#include "tests/model/tiny.h"

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
  refused([](auto& o) { o.model = "absent"; }, "absent");
}

}  // namespace
}  // namespace deweather
